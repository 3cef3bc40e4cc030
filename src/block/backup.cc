// SPDX-License-Identifier: Apache-2.0
//
// The algorithm, in short. A map says which pieces of the source, as it was at the moment of the backup, the target
// lacks. The job copies them one after the other; a client's write passes a filter, which first copies those that it is
// about to overwrite. Job and clients take turns at each piece.

#include "job-driver/block/backup.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/backup_bitmap.h"
#include "block/file_error.h"
#include "block/node_copier.h"
#include "block/piece_map.h"
#include "job-common/job_core.h"
#include "job-common/task_scope.h"
#include "job-driver/block/write_filter.h"
#include "job-driver/job_context.h"

namespace jobcore::inline JOBCORE_ABI::block {
namespace {

using Piece = PieceMap::Piece;

// What clients' writes pass, in their contexts.
class CopyBeforeWrite final : public WriteFilter {
 public:
  // `bitmap`: null: none.
  CopyBeforeWrite(const BackupOptions& options, std::shared_ptr<const TargetUse> target_use,
                  std::shared_ptr<BackupBitmap> bitmap)
      : map(options.source->size(), options.granularity),
        source_(*options.source),
        target_(options.target),
        target_use_(std::move(target_use)),
        buffer_bytes_(std::max(options.granularity, NodeCopier::kPieceBytes)),
        breaks_write_(options.on_copy_error == BackupOptions::OnCopyError::kBreakWrite),
        bitmap_(std::move(bitmap)) {
    if (options.sync != BackupOptions::Sync::kBitmap) {
      map.Add(0, options.source->size());
      return;
    }
    const DirtyBitmap dirty = bitmap_->Content();
    for (std::optional<PieceMap::Range> next = dirty.Next(0, dirty.size()); next.has_value();
         next = dirty.Next(next->offset + next->length, dirty.size())) {
      map.Add(next->offset, next->length);
    }
  }

  Co<int> Write(const Admission& in, NodeWrite write, Below& below) override JOBCORE_EXCLUDES(job_mutex) {
    const uint64_t begin = map.RoundDown(write.offset);
    const uint64_t end = map.RoundUp(write.end());
    if (Lacking(begin, end).has_value()) {
      const int error = co_await CopyOld(in, begin, end);
      if (error != 0 && !breaks_write_) {
        int none = 0;
        error_.compare_exchange_strong(none, error, std::memory_order_relaxed);
      }
      // The job has less to do now; or found nothing that it could take, because we had it; or has failed.
      map.Wake();
      if (error != 0 && breaks_write_) co_return error;
    }
    if (bitmap_ != nullptr) bitmap_->NoteWrite(write.offset, write.length);
    co_return co_await below.Write(in, write);
  }

  // Why the target is not what the source was, an errno; 0: it is.
  int error() const { return error_.load(std::memory_order_relaxed); }

  // Nobody copies any more.
  void LetGoOfTarget() { target_use_.reset(); }

  PieceMap map;  // of what the target lacks

 private:
  // What of the range the target lacks, if that matters any more.
  std::optional<PieceMap::Range> Lacking(uint64_t begin, uint64_t end) const {
    if (error() != 0 || map.closed()) return std::nullopt;
    return map.FirstIn(begin, end);
  }

  Co<int> CopyOld(const Admission& in, uint64_t begin, uint64_t end) JOBCORE_EXCLUDES(job_mutex) {
    Buffer buffer(std::min(buffer_bytes_, end - begin));
    while (const std::optional<PieceMap::Range> range = Lacking(begin, end)) {
      const uint64_t length = std::min(range->length, buffer_bytes_);
      const RangeLock::Hold turn = co_await map.Acquire(range->offset, length);
      // The job, or somebody else, may have been here before us.
      const std::optional<PieceMap::Range> left = Lacking(range->offset, range->offset + length);
      if (!left.has_value()) continue;
      const Admission to = co_await target_->resource().Admit(in);
      const CopyResult result =
          co_await CopyPart({source_, in}, {*target_, to}, left->offset, left->length, buffer, /*unmap=*/true);
      if (!result.ok()) co_return result.read_error != 0 ? result.read_error : result.write_error;
      map.Remove(left->offset, left->length);
    }
    co_return 0;
  }

  Node& source_;  // whose filter this is
  const std::shared_ptr<Node> target_;
  std::shared_ptr<const TargetUse> target_use_;
  const uint64_t buffer_bytes_;
  const bool breaks_write_;
  const std::shared_ptr<BackupBitmap> bitmap_;
  std::atomic<int> error_{0};
};

class Backup final : public JobDriver {
 public:
  Backup(BackupOptions::Sync sync, NodeCopier copier, std::shared_ptr<CopyBeforeWrite> filter,
         std::shared_ptr<BackupBitmap> bitmap)
      : sync_(sync),
        copier_(std::move(copier)),
        filter_(std::move(filter)),
        bitmap_(std::move(bitmap)),
        map_(filter_->map),
        missing_(map_.missing_bytes()) {}
  ~Backup() override {
    StopFiltering();
    if (bitmap_ != nullptr) bitmap_->Release();  // of one that was abandoned
  }

  std::string_view type() const override { return "backup"; }

  Co<absl::Status> Run(JobContext& job) override JOBCORE_EXCLUDES(job_mutex);
  Co<void> Pause(JobContext&) override { co_await copies_.AtMost(0); }
  Co<absl::Status> Commit() override {
    if (bitmap_ != nullptr) bitmap_->Commit();
    return {};
  }
  // What was copied counts only if it is on stable storage.
  Co<void> Abort() override {
    if (bitmap_ != nullptr && lacking_.has_value()) bitmap_->Abort(*lacking_);
    return {};
  }
  Co<void> Clean() override;

 private:
  Co<absl::Status> CopyAll(JobContext& job) JOBCORE_EXCLUDES(job_mutex);
  std::optional<Piece> TakeNext();
  Co<void> CopyPiece(JobContext& job, Piece piece) JOBCORE_EXCLUDES(job_mutex);
  void ShowProgress(JobContext& job);
  void StopFiltering() {
    copier_.source().RemoveFilter(*filter_);
    map_.Close();
  }

  const BackupOptions::Sync sync_;
  NodeCopier copier_;
  const std::shared_ptr<CopyBeforeWrite> filter_;
  const std::shared_ptr<BackupBitmap> bitmap_;  // null: none
  PieceMap& map_;

  // Only touched in the job's context, while Run goes on.
  TaskScope copies_;
  uint64_t cursor_ = 0;  // where to look for the next piece
  uint64_t missing_;     // as it was shown last

  // Of Run, for Abort: what the target lacked when it was flushed; nothing: nobody knows what is on stable storage, or
  // whether it was ever the source's.
  std::optional<DirtyBitmap> lacking_;
};

Co<absl::Status> Backup::Run(JobContext& job) {
  job.progress().SetRemaining(missing_);  // as it was at the moment of the backup: clients may have copied since
  absl::Status status;
  std::exception_ptr thrown;
  try {
    status = co_await CopyAll(job);
  } catch (...) {
    thrown = std::current_exception();
  }
  // However that ended: nothing is in flight any more when Run returns.
  co_await copies_.AtMost(0);
  copier_.FreeBuffers();  // a job may wait long for its group
  ShowProgress(job);
  if (thrown) std::rethrow_exception(thrown);
  if (status.ok() || !copier_.status().ok()) status = copier_.status();
  if (absl::Status intact = copier_.source().CheckIntact(); !intact.ok()) co_return intact;
  if (!status.ok() && bitmap_ == nullptr) co_return status;
  // Clients go on to copy what they overwrite: that may not be flushed.
  DirtyBitmap lacking = map_.Missing();
  const absl::Status flushed = co_await copier_.FlushTarget(job);
  if (flushed.ok()) lacking_.emplace(std::move(lacking));
  co_return status.ok() ? flushed : status;
}

Co<absl::Status> Backup::CopyAll(JobContext& job) {
  for (;;) {
    co_await copies_.AtMost(copier_.in_flight() - 1);
    const bool copies = sync_ != BackupOptions::Sync::kNone;
    const uint64_t next = copies ? map_.Peek(cursor_, copier_.piece_bytes()) : 0;
    if (absl::Status s = co_await job.Throttle(next); !s.ok()) co_return s;
    ShowProgress(job);
    if (const int error = filter_->error(); error != 0) {
      co_return internal::FileError("cannot copy, before it was overwritten, a part of node", copier_.source().name(),
                                    error);
    }
    if (!copier_.status().ok()) co_return copier_.status();
    if (missing_ == 0 && copies_.size() == 0) co_return absl::OkStatus();

    if (std::optional<Piece> piece = TakeNext()) {
      copies_.Spawn(CopyPiece(job, *std::move(piece)));
      if (!copier_.IsTurnOver()) continue;
      if (absl::Status s = co_await job.Sleep(Nanoseconds(0)); !s.ok()) co_return s;
    } else if (copies_.size() > 0) {
      co_await copies_.AtMost(copies_.size() - 1);
    } else if (absl::Status s = co_await job.Yield(); !s.ok()) {  // until a client has copied
      co_return s;
    }
  }
}

std::optional<Piece> Backup::TakeNext() {
  if (sync_ == BackupOptions::Sync::kNone) return std::nullopt;
  std::optional<Piece> piece = map_.Take(cursor_, copier_.piece_bytes(), /*still_missing=*/true);
  if (!piece.has_value() && cursor_ != 0) piece = map_.Take(0, copier_.piece_bytes(), /*still_missing=*/true);
  if (piece.has_value()) cursor_ = piece->offset + piece->length;
  return piece;
}

Co<void> Backup::CopyPiece(JobContext& job, Piece piece) {
  const bool copied = co_await copier_.Copy(job, piece.offset, piece.length, /*ask=*/true);
  if (copied) {
    map_.Remove(piece.offset, piece.length);
    ShowProgress(job);  // the job may wait for long before it comes to that itself
  }
  piece.hold.End();
}

// What clients have copied counts, too.
void Backup::ShowProgress(JobContext& job) {
  const uint64_t missing = map_.missing_bytes();
  job.progress().Advance(missing_ - missing);
  missing_ = missing;
}

Co<void> Backup::Clean() {
  StopFiltering();
  // When this is to be had nobody writes to the target on our behalf any more.
  const RangeLock::Hold all = co_await map_.AcquireAll();
  if (bitmap_ != nullptr) bitmap_->Release();  // before the use of the target, which tells this job from others
  copier_.Detach();
  filter_->LetGoOfTarget();
}

}  // namespace

absl::StatusOr<JobRef> CreateBackup(JobCore& core, JobSpec spec, const BackupOptions& options,
                                    const DrainedSection& section) {
  absl::StatusOr<NodeCopier> copier = NodeCopier::Make("backup",
                                                       {.source = options.source,
                                                        .target = options.target,
                                                        .granularity = options.granularity,
                                                        .in_flight = options.in_flight,
                                                        .on_source_error = options.on_source_error,
                                                        .on_target_error = options.on_target_error,
                                                        .unmap = true},
                                                       section, spec);
  if (!copier.ok()) return copier.status();
  const BitmapUser user = {.name = absl::StrCat("job '", spec.id, "'"), .id = copier->target_use().get()};
  const absl::StatusOr<std::shared_ptr<BackupBitmap>> bitmap = BackupBitmap::Claim(options, user);
  if (!bitmap.ok()) return bitmap.status();
  const auto filter = std::make_shared<CopyBeforeWrite>(options, copier->target_use(), *bitmap);
  auto driver = std::make_unique<Backup>(options.sync, *std::move(copier), filter, *bitmap);
  return CreateFilteringJob(core, std::move(spec), *options.source, section, filter, filter->map, std::move(driver));
}

Co<absl::StatusOr<JobRef>> CreateBackup(JobCore& core, JobSpec spec, BackupOptions options, TimePoint deadline) {
  const absl::StatusOr<DrainedSection> section = co_await DrainSource("backup", spec.id, options.source, deadline);
  if (!section.ok()) co_return section.status();
  co_return CreateBackup(core, std::move(spec), options, *section);
}

}  // namespace jobcore::inline JOBCORE_ABI::block
