// SPDX-License-Identifier: Apache-2.0
//
// The algorithm, in short. A map says what the target lacks. Clients' writes pass a filter, which adds what they have
// changed to it, after they have changed it and before they are told. The job takes missing pieces, one after the
// other, out of the map, and then copies them: so what changes while it copies is missing again. In write-blocking mode
// the filter writes to both sides; it and the job take turns at each piece.

#include "job-driver/block/mirror.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/node_copier.h"
#include "block/piece_map.h"
#include "job-common/aio_wait.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/job_status.h"
#include "job-common/task_scope.h"
#include "job-driver/block/graph.h"
#include "job-driver/block/write_filter.h"
#include "job-driver/job_context.h"

namespace jobcore::inline JOBCORE_ABI::block {
namespace {

using Piece = PieceMap::Piece;

// What clients' writes pass, in their contexts.
class Tracker final : public WriteFilter {
 public:
  Tracker(const MirrorOptions& options, std::shared_ptr<const TargetUse> target_use)
      : map(options.source->size(), options.granularity),
        target_(options.target),
        target_use_(std::move(target_use)),
        write_blocking_(options.copy_mode == MirrorOptions::CopyMode::kWriteBlocking) {
    if (options.sync == MirrorOptions::Sync::kFull) map.Add(0, options.source->size());
  }

  Co<int> Write(const Admission& in, NodeWrite write, Below& below) override JOBCORE_EXCLUDES(job_mutex) {
    if (write_blocking_) co_return co_await WriteBoth(in, write, below);
    const int error = co_await below.Write(in, write);
    map.AddAndWake(write.offset, write.length);  // whatever has come of it
    co_return error;
  }

  // Nobody copies any more.
  void LetGoOfTarget() { target_use_.reset(); }

  PieceMap map;  // of what the target lacks

 private:
  Co<int> WriteBoth(const Admission& in, NodeWrite write, Below& below) JOBCORE_EXCLUDES(job_mutex) {
    RangeLock::Hold turn = co_await map.Acquire(write.offset, write.length);
    if (map.closed()) {  // the target is somebody else's by now
      turn.End();
      co_return co_await below.Write(in, write);
    }
    const int error = co_await below.Write(in, write);
    // If the target fails the job will come to it, too, and do what its policy says. The client does not care.
    // What was discarded may read as zeros here, and as whatever was there before on the other side.
    const bool in_both = error == 0 && write.kind != NodeWrite::Kind::kDiscard;
    int target_error = 0;
    if (in_both) target_error = co_await WriteTarget(in, write);
    if (in_both && target_error == 0) {
      map.Remove(write.offset, write.length);
    } else {
      map.Add(write.offset, write.length);
    }
    turn.End();
    map.Wake();  // it may have found nothing that it could take
    co_return error;
  }
  Co<int> WriteTarget(const Admission& in, NodeWrite write) JOBCORE_EXCLUDES(job_mutex) {
    const Admission to = co_await target_->resource().Admit(in);
    co_return co_await target_->Change(to, write);
  }

  const std::shared_ptr<Node> target_;
  std::shared_ptr<const TargetUse> target_use_;
  const bool write_blocking_;
};

class Mirror final : public JobDriver {
 public:
  Mirror(uint64_t buffer_bytes, Nanoseconds most_standstill, std::shared_ptr<MirrorPublisher> publisher,
         NodeCopier copier, std::shared_ptr<Tracker> tracker)
      : buffer_bytes_(buffer_bytes),
        most_standstill_(most_standstill),
        publisher_(std::move(publisher)),
        copier_(std::move(copier)),
        tracker_(std::move(tracker)),
        map_(tracker_->map) {}
  ~Mirror() override { StopTracking(); }

  std::string_view type() const override { return "mirror"; }

  Co<absl::Status> Run(JobContext& job) override JOBCORE_EXCLUDES(job_mutex);
  Co<void> Pause(JobContext&) override { co_await copies_.AtMost(0); }
  Co<absl::Status> Complete(JobContext& job) override JOBCORE_EXCLUDES(job_mutex);

  Co<absl::Status> Prepare() override JOBCORE_EXCLUDES(job_mutex);
  Co<void> Abort() override;
  Co<absl::Status> Commit() override JOBCORE_EXCLUDES(job_mutex);
  Co<void> Clean() override;

 private:
  Co<absl::Status> CopyUntilToldToEnd(JobContext& job) JOBCORE_EXCLUDES(job_mutex);
  std::optional<Piece> TakeNext();
  void Spawn(JobContext& job, Piece piece, bool ask) JOBCORE_EXCLUDES(job_mutex);
  Co<void> CopyPiece(JobContext& job, Piece piece, bool ask) JOBCORE_EXCLUDES(job_mutex);
  void NoteEnded() JOBCORE_EXCLUDES(job_mutex) { copier_.source().core().main_context().wait_domain().Kick(); }
  // The end.
  Co<absl::Status> CopyRest() JOBCORE_EXCLUDES(job_mutex);
  Co<void> FlushAtEnd() JOBCORE_EXCLUDES(job_mutex);
  Co<void> PublishAtEnd() JOBCORE_EXCLUDES(job_mutex);
  Co<void> Revoke();
  // When no more than so many of copies_ are left; or why that is not waited for any longer.
  Co<absl::Status> EndedAllBut(size_t left) JOBCORE_EXCLUDES(job_mutex);
  absl::Status CheckMayGoOn() const JOBCORE_EXCLUDES(job_mutex);
  bool IsGroupAborted() const JOBCORE_EXCLUDES(job_mutex);
  bool IsInSync() const;
  bool IsToldToEnd(const JobContext& job) const { return ready_ && (complete_ || job.cancel_requested()); }
  uint64_t Remaining() const { return map_.missing_bytes() + copying_bytes_; }
  void StopTracking() {
    copier_.source().RemoveFilter(*tracker_);
    map_.Close();
  }

  const uint64_t buffer_bytes_;
  const Nanoseconds most_standstill_;  // of clients, while the rest is copied
  const std::shared_ptr<MirrorPublisher> publisher_;
  NodeCopier copier_;
  const std::shared_ptr<Tracker> tracker_;
  PieceMap& map_;

  // Of whoever runs: the job's context during Run, the main one after it.
  JobContext* job_ = nullptr;
  TaskScope copies_;            // in the end, the flush and the publishing too
  uint64_t copying_bytes_ = 0;  // in flight
  uint64_t cursor_ = 0;         // where to look for the next piece
  int passes_ = 0;              // how often that has come to the end; below 0: once more before it counts
  size_t first_copies_ = 0;     // in flight, of what may not have been copied before
  bool ready_ = false;
  bool flushed_ = false;              // the target, once it was told to end
  bool complete_ = false;             // somebody has asked for it: users are switched at the commit
  TimePoint deadline_ = kNoDeadline;  // of Prepare
  const char* what_hangs_ = "";       // in Prepare, what is being done to the target
  bool published_ = false;            // and that may still be revoked
};

// --- While clients write ---

Co<absl::Status> Mirror::Run(JobContext& job) {
  job_ = &job;
  absl::Status status;
  std::exception_ptr thrown;
  try {
    status = co_await CopyUntilToldToEnd(job);
  } catch (...) {
    thrown = std::current_exception();
  }
  // However that ended: nothing is in flight any more when Run returns.
  co_await copies_.AtMost(0);
  copier_.FreeBuffers();  // a job may wait long for its group
  if (thrown) std::rethrow_exception(thrown);
  co_return copier_.status().ok() ? status : copier_.status();
}

Co<absl::Status> Mirror::CopyUntilToldToEnd(JobContext& job) {
  for (;;) {
    co_await copies_.AtMost(copier_.in_flight() - 1);
    // Holding nothing: whoever pauses the job may wait for a client that writes to both sides.
    const uint64_t next = map_.Peek(cursor_, copier_.piece_bytes());
    if (absl::Status s = co_await job.Throttle(next); !s.ok()) co_return s;
    if (!copier_.status().ok()) co_return copier_.status();
    job.progress().SetRemaining(Remaining());
    if (!ready_ && IsInSync()) {
      ready_ = true;
      job.Ready({.complete = true, .soft_cancel = true});
    }
    // What is missing now is no more than can be copied while clients have to wait.
    if (IsToldToEnd(job) && Remaining() <= buffer_bytes_) {
      if (copies_.size() > 0) {
        co_await copies_.AtMost(0);  // an error of theirs may stop the job yet
        continue;
      }
      if (flushed_) co_return absl::OkStatus();
      // All but what clients write from now on, so that they do not have to wait for it at the end.
      flushed_ = true;
      if (absl::Status s = co_await copier_.FlushTarget(job); !s.ok()) co_return s;
      continue;
    }

    if (std::optional<Piece> piece = TakeNext()) {
      Spawn(job, *std::move(piece), /*ask=*/true);
      if (!copier_.IsTurnOver()) continue;
      if (absl::Status s = co_await job.Sleep(Nanoseconds(0)); !s.ok()) co_return s;
    } else if (copies_.size() > 0) {
      co_await copies_.AtMost(copies_.size() - 1);
    } else if (absl::Status s = co_await job.Yield(); !s.ok()) {  // until a client writes, or has written
      co_return s;
    }
  }
}

std::optional<Piece> Mirror::TakeNext() {
  if (copying_bytes_ >= buffer_bytes_ && copying_bytes_ != 0) return std::nullopt;
  std::optional<Piece> piece = map_.Take(cursor_, copier_.piece_bytes(), /*still_missing=*/false);
  if (!piece.has_value() && cursor_ != 0) {
    ++passes_;
    cursor_ = 0;
    piece = map_.Take(cursor_, copier_.piece_bytes(), /*still_missing=*/false);
  }
  if (piece.has_value()) cursor_ = piece->offset + piece->length;
  return piece;
}

// Nothing is missing; or, while clients go on writing, no more than what they have written during the last pass, and
// that is little.
bool Mirror::IsInSync() const {
  const uint64_t remaining = Remaining();
  return remaining == 0 || (passes_ >= 2 && first_copies_ == 0 && remaining <= buffer_bytes_);
}

void Mirror::Spawn(JobContext& job, Piece piece, bool ask) {
  copying_bytes_ += piece.length;
  copies_.Spawn(CopyPiece(job, std::move(piece), ask));
}

Co<void> Mirror::CopyPiece(JobContext& job, Piece piece, bool ask) {
  const bool is_first = passes_ <= 0;
  first_copies_ += is_first ? 1 : 0;
  const bool copied = co_await copier_.Copy(job, piece.offset, piece.length, ask);
  first_copies_ -= is_first ? 1 : 0;
  copying_bytes_ -= piece.length;
  if (copied) {
    job.progress().Advance(piece.length);
  } else {
    passes_ = -1;  // it may lie behind the cursor: what is copied until that has been at the end twice may be this
    map_.AddAndWake(piece.offset, piece.length);
  }
  piece.hold.End();
  if (deadline_ != kNoDeadline) NoteEnded();
}

Co<absl::Status> Mirror::Complete(JobContext& job) {
  if (absl::Status s = CheckSwitch(copier_.source(), *copier_.target()); !s.ok()) co_return s;
  complete_ = true;
  Enter(job.job());
  co_return absl::OkStatus();
}

// --- Its end: source and target are drained, by the core ---

Co<absl::Status> Mirror::Prepare() {
  Clock& clock = copier_.source().core().main_context().clock();
  deadline_ = SaturatingAdd(clock.Now(), most_standstill_);
  if (absl::Status s = co_await CopyRest(); !s.ok()) co_return s;
  copier_.FreeBuffers();
  copier_.CheckSource();
  if (!copier_.status().ok()) co_return copier_.status();
  job_->progress().SetRemaining(0);  // clients may have copied what seemed to be left
  what_hangs_ = "flushed";
  copies_.Spawn(FlushAtEnd());
  if (absl::Status s = co_await EndedAllBut(0); !s.ok()) co_return s;
  if (!copier_.status().ok()) co_return copier_.status();
  if (complete_) {
    if (absl::Status s = CheckSwitch(copier_.source(), *copier_.target()); !s.ok()) co_return s;
  }
  if (publisher_ == nullptr) co_return absl::OkStatus();
  what_hangs_ = "published";
  copies_.Spawn(PublishAtEnd());
  if (absl::Status s = co_await EndedAllBut(0); !s.ok()) co_return s;
  co_return copier_.status();
}

Co<absl::Status> Mirror::CopyRest() {
  while (copier_.status().ok()) {
    if (absl::Status s = CheckMayGoOn(); !s.ok() && map_.missing_bytes() != 0) co_return s;
    std::optional<Piece> piece = map_.Take(0, copier_.piece_bytes(), /*still_missing=*/false);
    if (!piece.has_value()) break;
    Spawn(*job_, *std::move(piece), /*ask=*/false);
    job_->progress().SetRemaining(Remaining());
    if (absl::Status s = co_await EndedAllBut(copier_.in_flight() - 1); !s.ok()) co_return s;
  }
  if (absl::Status s = co_await EndedAllBut(0); !s.ok()) co_return s;
  co_return copier_.status();
}

Co<void> Mirror::FlushAtEnd() {
  absl::Status flushed = co_await copier_.FlushTarget(*job_);
  if (!flushed.ok()) copier_.Fail(std::move(flushed));
  NoteEnded();
}

Co<void> Mirror::PublishAtEnd() {
  absl::Status done = co_await publisher_->Publish();
  published_ = done.ok();
  if (!done.ok()) copier_.Fail(std::move(done));
  NoteEnded();
}

// Unless it is still being published.
Co<void> Mirror::Revoke() {
  if (std::exchange(published_, false)) co_await publisher_->Revoke();
}

// Unlike AtMost, it gives up on those that hang: the group aborts then. They cannot be taken back, so Clean waits for
// them, and only then does anything go that they use.
Co<absl::Status> Mirror::EndedAllBut(size_t left) {
  const auto go_on = [this, left]() JOBCORE_EXCLUDES(job_mutex) { return copies_.size() > left && !IsGroupAborted(); };
  if (copies_.size() <= left) co_return absl::OkStatus();
  const WaitOptions options = {.name = "the end of a mirror", .deadline = deadline_};
  const absl::Status waited = co_await AioWaitWhile(copier_.source().core().main_context(), go_on, options);
  if (copies_.size() <= left) co_return absl::OkStatus();
  co_return CheckMayGoOn();
}

absl::Status Mirror::CheckMayGoOn() const {
  const Node& source = copier_.source();
  if (IsGroupAborted()) return absl::CancelledError("cancelled while its end was being prepared");
  if (source.core().main_context().clock().Now() <= deadline_) return absl::OkStatus();
  const uint64_t remaining = Remaining();
  return absl::DeadlineExceededError(
      absl::StrCat("users of node '", source.name(), "' have waited for the end of the mirror for ",
                   std::chrono::duration<double>(most_standstill_).count(), " s, and ",
                   remaining != 0 ? absl::StrCat(remaining, " bytes are still to be copied")
                                  : absl::StrCat("node '", copier_.target()->name(), "' is still being ", what_hangs_),
                   "; they stay there"));
}

bool Mirror::IsGroupAborted() const {
  JobLock lock(copier_.source().core());
  return job_->job().status() == JobStatus::kAborting;
}

Co<absl::Status> Mirror::Commit() {
  // Another section over the source may be open, too, and its owner may have written there.
  if (complete_ && map_.missing_bytes() != 0) {
    co_await Revoke();
    co_return absl::AbortedError(absl::StrCat("node '", copier_.source().name(),
                                              "' was written to by somebody else who ",
                                              "has it drained, after the last copy: its users stay there"));
  }
  published_ = false;  // for good: who has been switched over writes there
  if (complete_) SwitchUsers(copier_.source(), copier_.target());
  co_return absl::OkStatus();
}

// While the source still stands still: no client of it is to find a piece taken by a copy that hangs, nor anybody else
// a copy that is older than what its clients write from now on.
Co<void> Mirror::Abort() {
  StopTracking();
  return Revoke();
}

Co<void> Mirror::Clean() {
  StopTracking();
  co_await copies_.AtMost(0);  // what Prepare has given up on
  co_await Revoke();
  // When this is to be had nobody writes to the target on our behalf any more.
  const RangeLock::Hold all = co_await map_.AcquireAll();
  copier_.Detach();
  tracker_->LetGoOfTarget();
}

}  // namespace

absl::StatusOr<JobRef> CreateMirror(JobCore& core, JobSpec spec, const MirrorOptions& options,
                                    const DrainedSection& section) {
  // The job and the clients take turns at each piece then.
  const bool write_blocking = options.copy_mode == MirrorOptions::CopyMode::kWriteBlocking;
  absl::StatusOr<NodeCopier> copier = NodeCopier::Make("mirror",
                                                       {.source = options.source,
                                                        .target = options.target,
                                                        .granularity = options.granularity,
                                                        .in_flight = options.in_flight,
                                                        .on_source_error = options.on_source_error,
                                                        .on_target_error = options.on_target_error,
                                                        .unmap = options.unmap,
                                                        .clients_wait = write_blocking},
                                                       section, spec);
  if (!copier.ok()) return copier.status();
  spec.still_at_end = spec.resources;
  const auto tracker = std::make_shared<Tracker>(options, copier->target_use());
  auto driver = std::make_unique<Mirror>(std::max(options.buffer_bytes, options.granularity), spec.drain_timeout,
                                         options.publisher, *std::move(copier), tracker);
  return CreateFilteringJob(core, std::move(spec), *options.source, section, tracker, tracker->map, std::move(driver));
}

Co<absl::StatusOr<JobRef>> CreateMirror(JobCore& core, JobSpec spec, MirrorOptions options, TimePoint deadline) {
  const absl::StatusOr<DrainedSection> section = co_await DrainSource("mirror", spec.id, options.source, deadline);
  if (!section.ok()) co_return section.status();
  co_return CreateMirror(core, std::move(spec), options, *section);
}

}  // namespace jobcore::inline JOBCORE_ABI::block
