// SPDX-License-Identifier: Apache-2.0
//
// Moving a job to another context. The old home does it, at the top of its loop, where nothing of the job is on
// any stack: the timer goes, the context is exchanged under job_mutex, and from then on the job belongs to the
// new home. A job that runs gets there through the gate, between the driver's Pause and Resume hooks; one that is
// parked through the item that carries its verbs.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/probe.h"
#include "job-monitor/job_monitor.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {

absl::Status JobOps::Move(Job& job, AioContext& target, VerbReply reply) {
  if (job.word_.activity() == JobWord::Activity::kDone) {
    return absl::FailedPreconditionError(
        absl::StrCat("Job '", job.id_, "' in state '", Absl(JobStatusName(job.status_)),
                     "' cannot be moved: its Run has ended, and it uses no context any more"));
  }
  if (!target.TryAddUser()) {
    return absl::FailedPreconditionError(
        absl::StrCat("Job '", job.id_, "' cannot be moved: I/O thread '", target.name(), "' has been stopped"));
  }
  internal::PendingVerbs& pending = Pending(job);
  if (MoveIsPending(job)) {
    internal::Reached("move.another_first");
    VoidMove(job, absl::CancelledError(absl::StrCat("Job '", job.id_, "' was sent elsewhere before it had moved")));
  }
  const std::shared_ptr<AioContext> home = target.shared_from_this();
  if (std::find(job.homes_.begin(), job.homes_.end(), home) == job.homes_.end()) job.homes_.push_back(home);
  NoteContext(job.core_, home);
  NoteChange(job.core_);

  if (job.word_.activity() == JobWord::Activity::kNotStarted || &target == &job.context()) {
    GoTo(job, target);
    Answer(job.core_, std::move(reply), absl::OkStatus());
    return absl::OkStatus();
  }
  pending.move_to = home;
  pending.move_reply = std::move(reply);
  RetryMove(job);
  return absl::OkStatus();
}

void JobOps::RetryMove(Job& job) {
  if (!MoveIsPending(job)) return;
  if (job.word_.RequestMove()) DeferResume(job);
  if (IsPaused(job.status_)) DeferVerbs(job);
}

void JobOps::VoidMove(Job& job, const absl::Status& why) {
  job.word_.ClearMove();
  std::exchange(job.pending_->move_to, nullptr)->RemoveUser();
  Answer(job.core_, std::move(job.pending_->move_reply), why);
}

void JobOps::GoTo(Job& job, AioContext& target) {
  job.context_.exchange(&target, std::memory_order_acq_rel)->RemoveUser();
}

void JobOps::CarryOutMove(Job& job) {
  job.word_.ClearMove();
  // While a hook goes on beside Run, in this home, the job has to stay; the move is retried at the hook's end.
  if (!MoveIsPending(job) || job.serving_) {
    internal::Reached("move.put_off");
    return;
  }
  internal::PendingVerbs& pending = *job.pending_;
  job.timer_.reset();                                   // it belongs to the old home
  GoTo(job, *std::exchange(pending.move_to, nullptr));  // kept by homes_
  Answer(job.core_, std::move(pending.move_reply), absl::OkStatus());
  NoteChange(job.core_);
}

void JobOps::Hop(Job& job) {
  job.suspension_ = Job::Suspension::kPlain;
  JobLock lock(job.core_);
  CarryOutMove(job);
  DeferResume(job);
}

void JobOps::HopParked(Job& job) {
  if (!IsPaused(job.status_)) return;
  if (MoveIsPending(job)) internal::Reached("move.while_parked");
  CarryOutMove(job);
}

namespace monitor {

absl::Status Move(Job& job, AioContext& target, VerbReply reply) {
  job.core().mutex().AssertHeld("monitor::Move");
  return JobOps::Move(job, target, std::move(reply));
}

}  // namespace monitor
}  // namespace jobcore::inline JOBCORE_ABI
