// SPDX-License-Identifier: Apache-2.0
//
// Running a job, in its own context: the first step of Run, every step after a suspension, the verbs that the
// driver has to carry out, and the end of Run.

#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/coroutine_internal.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {

void JobOps::ResumeJob(WorkItem& item, WorkItem::Reason reason) {
  Job& job = static_cast<Job::Item&>(item).job;
  const JobRef keep = Adopt(job);
  if (reason == WorkItem::Reason::kRun) Dispatch(job, /*timer_fired=*/false);
}

void JobOps::PostResume(Job& job) {
  AddRef(job);
  job.context_->Post(job.resume_item_);
}

// The word says running, and this thread has it.
void JobOps::Dispatch(Job& job, bool timer_fired) {
  if (job.timer_ != nullptr) job.timer_->Disarm();
  switch (std::exchange(job.suspension_, Job::Suspension::kNone)) {
    case Job::Suspension::kStart:
      Begin(job);
      return;
    case Job::Suspension::kYield:
      ResumeSleeper(job, timer_fired);
      return;
    case Job::Suspension::kHook:
      ResumeHook(job, timer_fired);
      return;
    case Job::Suspension::kPlain:
      job.suspended_.Resume();
      return;
    case Job::Suspension::kNone:
      break;
  }
  internal::Die(absl::StrCat("job '", job.id_, "' was resumed while it was not suspended"));
}

void JobOps::Begin(Job& job) {
  if (job.word_.force_cancelled()) {  // the driver's code is not entered at all
    job.run_status_ = absl::CancelledError();
    job.run_returned_ = true;
    FinishRun(job);
    return;
  }
  try {
    const bool park = job.word_.must_park();
    job.run_entered_ = !park;
    job.run_ = park ? ParkThenRun(job) : job.driver_->Run(*job.face_);
  } catch (...) {  // a Run that is no coroutine itself
    job.run_status_ = StatusFromException("Run");
    job.run_returned_ = true;
    FinishRun(job);
    return;
  }
  job.run_root_.Start(job.run_);
}

Co<absl::Status> JobOps::ParkThenRun(Job& job) {
  co_await Gate(job, /*with_hooks=*/false);
  if (job.word_.force_cancelled()) co_return absl::CancelledError();
  job.run_entered_ = true;
  co_return co_await job.driver_->Run(*job.face_);
}

void JobOps::RunReturned(CoRoot& root) {
  Job& job = static_cast<Job::RunRoot&>(root).job;
  const JobRef keep(job);
  try {
    job.run_status_ = job.run_.Take();
  } catch (...) {
    job.run_status_ = StatusFromException("Run");
  }
  job.run_.Reset();  // the frame goes before anybody can see that the job has finished
  job.gate_.Reset();
  job.run_returned_ = true;
  if (!job.completing_) {
    FinishRun(job);
  } else {
    root.SuspendIn("end of its Complete hook");
  }
}

void JobOps::FinishRun(Job& job) {
  std::vector<VerbReply> unanswered;
  bool accepted = false;
  job.timer_.reset();
  {
    JobLock lock(job.core_);
    LeaveContext(job);
    if (job.pending_ != nullptr) {
      unanswered.swap(job.pending_->complete);
      accepted = job.pending_->complete_accepted;
    }
    const absl::Status& status = job.run_status_;
    const bool cancelled = job.word_.force_cancelled() || (absl::IsCancelled(status) && job.word_.cancel_requested());
    if (status.ok() && !cancelled) {
      SetStatus(job, JobStatus::kWaiting);
    } else {
      if (!cancelled) {
        job.outcome_ = JobOutcome::Failed(status);
      } else if (status.ok() || absl::IsCancelled(status)) {
        job.outcome_ = JobOutcome::Cancelled("cancelled");
      } else {
        job.outcome_ = JobOutcome::Cancelled(absl::StrCat("cancelled; then: ", status.message()));
      }
      SetStatus(job, JobStatus::kAborting);
      AbortGroup(*job.txn_, absl::StrCat("job '", job.id_, "' ", job.outcome_->ToString()));
    }
    MaybeConverge(*job.txn_);
  }
  for (VerbReply& reply : unanswered) {
    std::move(reply).Send(accepted ? absl::OkStatus()
                                   : absl::FailedPreconditionError(absl::StrCat(
                                         "Job '", job.id_, "' finished first, before it could be asked to complete")));
  }
}

// --- Verbs that the driver carries out ---

internal::PendingVerbs& JobOps::Pending(Job& job) {
  if (job.pending_ == nullptr) job.pending_ = std::make_unique<internal::PendingVerbs>(&CarryOutVerbs, job);
  return *job.pending_;
}

void JobOps::DeferVerbs(Job& job) {
  if (std::exchange(job.pending_->posted, true)) return;
  AddRef(job);
  Defer(job.core_, job.context_, job.pending_->item);
}

void JobOps::CarryOutVerbs(WorkItem& item, WorkItem::Reason reason) {
  Job& job = static_cast<internal::PendingVerbs::Item&>(item).job;
  const JobRef keep = Adopt(job);
  if (reason == WorkItem::Reason::kDrop) return;
  bool soft, force, complete;
  {
    JobLock lock(job.core_);
    internal::PendingVerbs& pending = *job.pending_;
    pending.posted = false;
    soft = std::exchange(pending.soft_cancel, false);
    force = std::exchange(pending.force_cancel, false);
    complete = !pending.complete.empty();
  }
  // No hook outside of Run. A hook may end Run, so this is looked at again before each.
  const auto runs = [&job] { return job.run_entered_ && !job.run_returned_; };
  if (soft && runs()) job.driver_->Cancel(*job.face_, CancelMode::kSoft);
  if (force && runs()) job.driver_->Cancel(*job.face_, CancelMode::kForce);
  if (complete && runs() && !job.word_.force_cancelled() && !std::exchange(job.completing_, true)) {
    Spawn("complete hook", RunComplete(keep));
  }
}

Co<absl::Status> JobDriver::Complete(JobContext& job) {
  co_return absl::UnimplementedError(
      absl::StrCat("Job '", job.id(), "' cannot be completed on demand: its driver does not implement it"));
}

Co<void> JobOps::RunComplete(JobRef job) {
  const CoRoot* const root = co_await internal::ThisRoot();
  absl::Status status;
  bool accepted;
  {
    JobLock lock(job->core_);
    accepted = job->pending_->complete_accepted;
    job->pending_->complete_hook = root;
  }
  try {
    if (!accepted) status = co_await job->driver_->Complete(*job->face_);
  } catch (...) {
    status = StatusFromException("Complete");
  }
  std::vector<VerbReply> replies;
  {
    JobLock lock(job->core_);
    replies.swap(job->pending_->complete);  // those that came meanwhile have joined
    job->pending_->complete_hook = nullptr;
    if (status.ok()) job->pending_->complete_accepted = true;
  }
  for (VerbReply& reply : replies) {
    // A Status of its own for each: they go to different threads.
    std::move(reply).Send(absl::Status(status.code(), status.message()));
  }
  job->completing_ = false;
  if (job->run_returned_) FinishRun(*job);
}

}  // namespace jobcore::inline JOBCORE_ABI
