// SPDX-License-Identifier: Apache-2.0
//
// Running a job, in its own context: the first step of Run, every step after a suspension, the verbs that the
// driver has to carry out, and the end of Run.

#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/coroutine_internal.h"
#include "aio/probe.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

absl::Status CancelledFirst(const Job& job, JobVerb verb) {
  return absl::CancelledError(
      absl::StrCat("Job '", job.id(), "' was cancelled before it could be asked to ", Absl(JobVerbName(verb))));
}

}  // namespace

// A resumption needs no reference: the registry has one until Run has ended, which it cannot before this, nor while
// somebody else has the word. Whoever ends it here holds one for what comes after.
void JobOps::ResumeJob(WorkItem& item, WorkItem::Reason reason) {
  if (reason == WorkItem::Reason::kRun) Dispatch(static_cast<Job::Item&>(item).job, /*timer_fired=*/false);
}

void JobOps::PostResume(Job& job) { job.context().Post(job.item_); }

// The word says running, and this thread has it.
void JobOps::Dispatch(Job& job, bool timer_fired) {
  if (job.timer_ != nullptr) job.timer_->Disarm();
  if (job.word_.cancel_requested()) TellOfCancel(job);  // before the driver goes on, see NoteCancel
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
      Suspended(job).Resume();
      return;
    case Job::Suspension::kHalted:
      ResumeHalted(job);
      return;
    case Job::Suspension::kMove:
      Hop(job);
      return;
    case Job::Suspension::kThrottle:
      ResumeThrottled(job);
      return;
    case Job::Suspension::kNone:
      break;
  }
  internal::Die(absl::StrCat("job '", job.id_, "' was resumed while it was not suspended"));
}

void JobOps::Begin(Job& job) {
  const JobRef keep(job);
  if (job.word_.force_cancelled()) {  // the driver's code is not entered at all
    internal::Reached("run.never_entered");
    job.run_status_ = absl::CancelledError();
    job.run_returned_ = true;
    FinishRun(job);
    return;
  }
  try {
    job.run_ = job.word_.must_halt() ? ParkThenRun(job) : EnterRun(job);
  } catch (...) {  // a Run that is no coroutine itself
    job.run_status_ = StatusFromException("Run");
    job.run_returned_ = true;
    FinishRun(job);
    return;
  }
  job.run_root_.Start(job.run_);
}

// Not a coroutine: it makes Run's.
Co<absl::Status> JobOps::EnterRun(Job& job) {
  job.run_entered_ = true;
  // What was asked for before Run comes behind its first step. If that is not seen here, its item has yet to come.
  if (job.asked_.load(std::memory_order_relaxed)) {
    JobLock lock(job.core_);
    if (!job.pending_->requests.empty()) DeferVerbs(job);
  }
  return job.driver_->Run(Face(job));
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
  if (!job.serving_) {
    FinishRun(job);
  } else {
    internal::Reached("run.ended_beside_a_hook");
    root.SuspendIn("end of the hook beside it");
  }
}

void JobOps::FinishRun(Job& job) {
  std::vector<internal::PendingVerbs::Request> unanswered;
  // Freed where it was made: an allocator serves a thread best with what that thread has freed.
  const absl::Status status = std::move(job.run_status_);
  job.timer_.reset();
  {
    JobLock lock(job.core_);
    if (job.pending_ != nullptr) unanswered.swap(job.pending_->requests);
    LeaveContext(job);
    const bool cancelled = job.word_.force_cancelled() || (absl::IsCancelled(status) && job.word_.cancel_requested());
    if (status.ok() && !cancelled) {
      SetStatus(job, JobStatus::kWaiting);
    } else {
      if (!cancelled) {
        job.outcome_ = JobOutcome::Failed(status);
      } else if (status.ok() || absl::IsCancelled(status)) {
        job.outcome_ = JobOutcome::Cancelled();
      } else {
        internal::Reached("run.cancelled_then_failed");
        job.outcome_ = JobOutcome::Cancelled(absl::StrCat("cancelled; then: ", status.message()));
      }
      SetStatus(job, JobStatus::kAborting);
      if (!job.txn_->aborting_) {
        AbortGroup(*job.txn_, absl::StrCat("job '", job.id_, "' ", job.outcome_->ToString()));
      }
    }
    MaybeConverge(*job.txn_);
  }
  AnswerUnserved(job, std::move(unanswered));
}

// --- Verbs that the driver carries out ---

internal::PendingVerbs& JobOps::Pending(Job& job) {
  if (job.pending_ == nullptr) job.pending_ = std::make_unique<internal::PendingVerbs>(&CarryOutVerbs, job);
  return *job.pending_;
}

void JobOps::DeferVerbs(Job& job) {
  if (std::exchange(Pending(job).posted, true)) return;
  AddRef(job);
  Defer(job.core_, job.context(), job.pending_->item);
}

// The driver's Cancel hook, once per mode. In the job's context.
void JobOps::TellOfCancel(Job& job) {
  if (job.cancel_untold_.load(std::memory_order_relaxed) == 0) return;
  // Not of a cancel that is just being recorded, and that the driver could not see yet: that one's item is to come.
  const unsigned seen = (job.word_.cancel_requested() ? CancelBit(CancelMode::kSoft) : 0) |
                        (job.word_.force_cancelled() ? CancelBit(CancelMode::kForce) : 0);
  const unsigned untold = job.cancel_untold_.fetch_and(~seen, std::memory_order_relaxed) & seen;
  for (const CancelMode mode : {CancelMode::kSoft, CancelMode::kForce}) {
    // No hook outside of Run. A hook may end Run, so this is looked at again before each.
    if ((untold & CancelBit(mode)) != 0 && IsInRun(job)) job.driver_->Cancel(Face(job), mode);
  }
}

void JobOps::CarryOutVerbs(WorkItem& item, WorkItem::Reason reason) {
  Job& job = static_cast<internal::PendingVerbs::Item&>(item).job;
  const JobRef keep = Adopt(job);
  bool over, requests;
  std::vector<internal::PendingVerbs::Request> unserved;
  {
    JobLock lock(job.core_);
    internal::PendingVerbs& pending = *job.pending_;
    pending.posted = false;
    // It will never run (any more), or the loop that it lives in won't.
    over = job.word_.activity() == JobWord::Activity::kDone || job.context().closed();
    if (!over) {
      if (job.word_.activity() == JobWord::Activity::kNotStarted) {  // requests are for Run, see EnterRun
        internal::Reached("verbs.before_start");
        return;
      }
      const bool at_home = reason == WorkItem::Reason::kRun && job.context().IsHome();
      if (at_home) HopParked(job);
      if (!at_home || !job.context().IsHome()) {  // it has just moved, or had before this came here
        internal::Reached("verbs.sent_after_the_job");
        DeferVerbs(job);
        return;
      }
    }
    requests = !pending.requests.empty() && !over;
    if (over) unserved.swap(pending.requests);
  }
  AnswerUnserved(job, std::move(unserved));
  if (over) return;
  TellOfCancel(job);
  if (requests && IsInRun(job) && !std::exchange(job.serving_, true)) Spawn("requests to a job", ServeRequests(keep));
}

Co<absl::Status> JobDriver::Complete(JobContext& job) {
  co_return absl::UnimplementedError(
      absl::StrCat("Job '", job.id(), "' cannot be completed on demand: its driver does not implement it"));
}

Co<absl::Status> JobDriver::Change(JobContext& job, const JobOptions&) {
  co_return absl::UnimplementedError(
      absl::StrCat("Job type does not support change; job '", job.id(), "' is of type '", Absl(job.job().type()), "'"));
}

// Serves what has been asked, first come, first served, until there is nothing more or Run has ended. In the
// job's context, beside Run.
Co<void> JobOps::ServeRequests(JobRef job) {
  const CoRoot* const root = co_await internal::ThisRoot();
  while (!job->run_returned_) {
    JobVerb verb;
    JobOptions options;
    bool accepted;
    {
      JobLock lock(job->core_);
      internal::PendingVerbs& pending = *job->pending_;
      if (pending.requests.empty()) break;
      verb = pending.requests.front().verb;  // stays there while its hook runs: it has been asked for
      options = std::move(pending.requests.front().options);
      accepted = pending.complete_accepted;
      pending.serving = root;
      pending.serving_hook = verb == JobVerb::kComplete ? "Complete" : "Change";
    }
    absl::Status status;
    try {
      if (job->word_.force_cancelled()) {
        internal::Reached("verbs.cancelled_first");
        status = CancelledFirst(*job, verb);
      } else if (verb == JobVerb::kComplete) {
        if (!accepted) status = co_await job->driver_->Complete(Face(*job));
      } else {
        status = co_await job->driver_->Change(Face(*job), options);
      }
    } catch (...) {
      status = StatusFromException(verb == JobVerb::kComplete ? "Complete" : "Change");
    }
    VerbReply reply;
    {
      JobLock lock(job->core_);
      internal::PendingVerbs& pending = *job->pending_;
      reply = std::move(pending.requests.front().reply);
      pending.requests.erase(pending.requests.begin());
      if (verb == JobVerb::kComplete && status.ok()) pending.complete_accepted = true;
      NoteChange(job->core_);
    }
    // A Status of the receiver's own: it goes to another thread.
    std::move(reply).Send(absl::Status(status.code(), status.message()));
  }
  bool finished;
  {
    JobLock lock(job->core_);
    job->serving_ = false;
    job->pending_->serving = nullptr;
    finished = job->run_returned_;
    if (finished) internal::Reached("run.ended_by_a_hook");
    if (!finished) RetryMove(*job);  // from here on it may be elsewhere
  }
  if (finished) FinishRun(*job);
}

// The answer to requests that no hook will see any more, as Run has ended.
void JobOps::AnswerUnserved(Job& job, std::vector<internal::PendingVerbs::Request> requests) {
  if (requests.empty()) return;
  bool accepted;
  {
    JobLock lock(job.core_);
    accepted = job.pending_->complete_accepted;
  }
  for (internal::PendingVerbs::Request& request : requests) {
    if (request.verb == JobVerb::kComplete && accepted) {
      internal::Reached("verbs.completed_anyway");
      std::move(request.reply).Send(absl::OkStatus());
    } else {
      internal::Reached("verbs.finished_first");
      std::move(request.reply)
          .Send(absl::FailedPreconditionError(absl::StrCat(
              "Job '", job.id_, "' finished first, before it could be asked to ", Absl(JobVerbName(request.verb)))));
    }
  }
}

}  // namespace jobcore::inline JOBCORE_ABI
