// SPDX-License-Identifier: Apache-2.0
//
// What monitors ask of one job. A verb validates, records and kicks; what needs the driver, or the main
// context, happens there, later.

#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/probe.h"
#include "job-monitor/job_monitor.h"
#include "job/job_account.h"
#include "job/job_ops.h"
#include "job/resource_ops.h"

namespace jobcore::inline JOBCORE_ABI {

absl::Status JobOps::CheckVerb(const Job& job, JobVerb verb) {
  if (VerbAllowed(verb, job.status_)) return absl::OkStatus();
  std::string text = absl::StrCat("Job '", job.id_, "' in state '", Absl(JobStatusName(job.status_)),
                                  "' cannot accept command verb '", Absl(JobVerbName(verb)), "'");
  const char* separator = "; it accepts ";
  for (size_t i = 0; i < kJobVerbCount; ++i) {
    const auto other = static_cast<JobVerb>(i);
    if (!VerbAllowed(other, job.status_)) continue;
    absl::StrAppend(&text, separator, Absl(kJobVerbNames[i]));
    separator = ", ";
  }
  if (job.status_ == JobStatus::kAborting) absl::StrAppend(&text, "; wait until it has concluded");
  if (job.status_ == JobStatus::kNull) absl::StrAppend(&text, "; it is gone");
  return absl::FailedPreconditionError(text);
}

namespace {

// Resources give and take back their own.
absl::Status CheckReason(const Job& job, std::string_view reason) {
  if (!reason.starts_with(kDrainPrefix)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("Job '", job.id(), "': the pause reason '", Absl(reason),
                                                 "' belongs to the resource, and ends with its drained section"));
}

}  // namespace

void JobOps::AddReason(Job& job, std::string_view reason) {
  internal::PauseReasons& reasons = Account(job).reasons;
  if (reasons.contains(reason)) return;
  const bool is_first = reasons.empty();
  reasons.Add(reason, Now(job.core_));
  NoteChange(job.core_);
  if (is_first && job.word_.RequestPause()) DeferResume(job);
}

void JobOps::RemoveReason(Job& job, std::string_view reason) {
  if (!HasReason(job, reason)) return;
  job.account_->reasons.Remove(reason, Now(job.core_));
  NoteChange(job.core_);
  if (!job.account_->reasons.empty()) return;
  job.word_.ClearPause();
  if (IsPaused(job.status_)) Unpark(job);
}

absl::Status JobOps::Pause(Job& job, std::string_view reason) {
  if (absl::Status status = CheckReason(job, reason); !status.ok()) return status;
  if (absl::Status status = CheckVerb(job, JobVerb::kPause); !status.ok()) return status;
  if (HasReason(job, reason)) {
    return absl::FailedPreconditionError(absl::StrCat("Job is already paused; job '", job.id_, "' in state '",
                                                      Absl(JobStatusName(job.status_)), "' has the reason '",
                                                      Absl(reason), "', resume it first"));
  }
  AddReason(job, reason);
  return absl::OkStatus();
}

absl::Status JobOps::Resume(Job& job, std::string_view reason) {
  if (absl::Status status = CheckReason(job, reason); !status.ok()) return status;
  // The reference has one unit for a person's pause and for an error's: "user" stands for both.
  const bool goes = HasReason(job, reason) || (reason == monitor::kUserPause && HasReason(job, monitor::kErrorPause));
  if (!goes) {  // checked before the state there
    std::string text =
        absl::StrCat("Can't resume a job that was not paused; job '", job.id_, "' in state '",
                     Absl(JobStatusName(job.status_)), "' does not have the pause reason '", Absl(reason), "'");
    for (const std::string& r : job.pause_reasons()) absl::StrAppend(&text, ", but '", r, "'");
    return absl::FailedPreconditionError(text);
  }
  if (absl::Status status = CheckVerb(job, JobVerb::kResume); !status.ok()) return status;
  RemoveReason(job, reason);
  if (reason == monitor::kUserPause) RemoveReason(job, monitor::kErrorPause);
  if (reason == monitor::kUserPause || reason == monitor::kErrorPause) ForgetError(job);
  return absl::OkStatus();
}

void JobOps::Unpark(Job& job) {
  job.word_.Unpark();
  SetStatus(job, Unparked(job.status_));
  if (std::exchange(job.becomes_ready_, false)) SetStatus(job, JobStatus::kReady);
  DeferResume(job);
}

// The news gets to the driver with the job's resumption, if this cancel wakes the job. Else with the item of its verbs:
// that reaches one that stays parked, and one that is suspended in an await of its own.
void JobOps::NoteCancel(Job& job, CancelMode mode) {
  job.cancel_untold_.fetch_or(CancelBit(mode), std::memory_order_relaxed);
}

void JobOps::ForceCancelRunning(Job& job) {
  if (job.word_.force_cancelled()) return;
  NoteCancel(job, CancelMode::kForce);
  VoidReasons(job);
  job.word_.ClearPause();
  ForgetError(job);
  WatchCancelled(job);
  NoteChange(job.core_);
  if (job.word_.RequestForce()) {
    DeferResume(job);
  } else if (IsPaused(job.status_)) {
    internal::Reached("cancel.parked");
    Unpark(job);
  } else {
    DeferVerbs(job);
  }
}

absl::Status JobOps::Cancel(Job& job, CancelMode mode) {
  if (absl::Status status = CheckVerb(job, JobVerb::kCancel); !status.ok()) return status;
  JobTxn& txn = *job.txn_;
  if (txn.phase_ == JobTxn::Phase::kDecided) {
    internal::Reached("cancel.committing");
    return absl::FailedPreconditionError(
        absl::StrCat("Job '", job.id_, "' is committing; wait until it has concluded"));
  }
  if (mode == CancelMode::kSoft && job.capabilities_.soft_cancel) {
    if (IsCompleted(job.status_)) {
      internal::Reached("cancel.finished_consistently");
      return absl::FailedPreconditionError(
          absl::StrCat("Job '", job.id_, "' in state '", Absl(JobStatusName(job.status_)),
                       "' has already finished consistently; only a force-cancel can undo it"));
    }
    if (job.word_.cancel_requested()) return absl::OkStatus();
    NoteCancel(job, CancelMode::kSoft);
    NoteChange(job.core_);
    if (job.word_.RequestCancel()) {
      DeferResume(job);
    } else {
      DeferVerbs(job);
    }
    return absl::OkStatus();
  }
  if (txn.aborting_) return absl::OkStatus();  // it is on its way already
  AbortGroup(txn, absl::StrCat("job '", job.id_, "' was cancelled"));
  return absl::OkStatus();
}

absl::Status JobOps::Complete(Job& job, VerbReply reply) {
  if (absl::Status status = CheckVerb(job, JobVerb::kComplete); !status.ok()) return status;
  if (!job.capabilities_.complete || job.word_.cancel_requested()) {
    return absl::FailedPreconditionError(
        absl::StrCat("The active block job '", job.id_, "' cannot be completed; ",
                     job.capabilities_.complete ? "its cancellation has been asked for" : "cancel it"));
  }
  Pending(job).requests.push_back({JobVerb::kComplete, {}, std::move(reply)});
  job.asked_.store(true, std::memory_order_relaxed);
  DeferVerbs(job);
  return absl::OkStatus();
}

absl::Status JobOps::Change(Job& job, JobOptions options, VerbReply reply) {
  if (absl::Status status = CheckVerb(job, JobVerb::kChange); !status.ok()) return status;
  Pending(job).requests.push_back({JobVerb::kChange, std::move(options), std::move(reply)});
  job.asked_.store(true, std::memory_order_relaxed);
  DeferVerbs(job);
  return absl::OkStatus();
}

absl::Status JobOps::Finalize(Job& job, VerbReply reply) {
  if (absl::Status status = CheckVerb(job, JobVerb::kFinalize); !status.ok()) return status;
  JobTxn& txn = *job.txn_;
  Extra(txn).finalize_replies.push_back(std::move(reply));
  if (txn.phase_ == JobTxn::Phase::kSealed) {
    PostFinaliser(txn);
  } else {  // it is under way
    internal::Reached("finalize.joined");
  }
  return absl::OkStatus();
}

absl::Status JobOps::Dismiss(Job& job) {
  if (absl::Status status = CheckVerb(job, JobVerb::kDismiss); !status.ok()) return status;
  (void)Unregister(job);
  return absl::OkStatus();
}

void JobOps::Ready(Job& job, ReadyCapabilities capabilities) {
  job.capabilities_ = capabilities;
  // Readiness is the status itself: a second call changes nothing else.
  if (job.status_ == JobStatus::kRunning) SetStatus(job, JobStatus::kReady);
  if (job.status_ == JobStatus::kPaused) job.becomes_ready_ = true;
  NoteChange(job.core_);
}

void JobOps::PublishDetails(Job& job, std::shared_ptr<const JobDetails>& details) {
  job.details_.swap(details);
  NoteChange(job.core_);
}

// --- job-monitor/job_monitor.h ---

namespace monitor {

Job* Find(JobCore& core, std::string_view id) {
  core.mutex().AssertHeld("monitor::Find");
  return JobOps::FindById(core, id);
}

Job* Find(JobCore& core, uint64_t number) {
  core.mutex().AssertHeld("monitor::Find");
  return JobOps::Jobs(core).Find(number);
}

std::vector<Job*> FindGroup(JobCore& core, uint64_t group) {
  core.mutex().AssertHeld("monitor::FindGroup");
  std::vector<Job*> members;
  const internal::JobRegistry& jobs = JobOps::Jobs(core);
  for (auto entry = jobs.begin(); entry != jobs.end(); ++entry) {
    if (JobOps::GroupOf(*entry->job) == group) members.push_back(entry->job);
  }
  return members;
}

absl::Status Pause(Job& job, std::string_view reason) {
  job.core().mutex().AssertHeld("monitor::Pause");
  return JobOps::Pause(job, reason);
}

absl::Status Resume(Job& job, std::string_view reason) {
  job.core().mutex().AssertHeld("monitor::Resume");
  return JobOps::Resume(job, reason);
}

absl::Status Cancel(Job& job, CancelMode mode) {
  job.core().mutex().AssertHeld("monitor::Cancel");
  return JobOps::Cancel(job, mode);
}

absl::Status Complete(Job& job, VerbReply reply) {
  job.core().mutex().AssertHeld("monitor::Complete");
  return JobOps::Complete(job, std::move(reply));
}

absl::Status Change(Job& job, JobOptions options, VerbReply reply) {
  job.core().mutex().AssertHeld("monitor::Change");
  return JobOps::Change(job, std::move(options), std::move(reply));
}

absl::Status Finalize(Job& job, VerbReply reply) {
  job.core().mutex().AssertHeld("monitor::Finalize");
  return JobOps::Finalize(job, std::move(reply));
}

absl::Status Dismiss(Job& job) {
  job.core().mutex().AssertHeld("monitor::Dismiss");
  return JobOps::Dismiss(job);
}

}  // namespace monitor
}  // namespace jobcore::inline JOBCORE_ABI
