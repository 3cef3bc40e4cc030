// SPDX-License-Identifier: Apache-2.0
//
// I/O errors of a job: told of, then acted upon.

#include <algorithm>
#include <system_error>
#include <utility>

#include "job-common/error_policy.h"
#include "job-monitor/job_monitor.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {

ErrorAction JobOps::HandleError(Job& job, IoOperation operation, OnError policy, int error) {
  const ErrorAction action = DecideAction(policy, error);
  IoError told{
      .operation = operation, .action = action, .error = error, .text = std::generic_category().message(error)};

  JobLock lock(job.core_);
  if (!job.internal()) {
    JobEvent& event = AppendEvent(job, Now(job.core_));
    event.kind = JobEvent::Kind::kIoError;
    event.io_error = std::move(told);
  }
  // A job that has been told to stop, or has finished, pauses no more.
  if (action != ErrorAction::kStop || job.word_.force_cancelled() || IsCompleted(job.status_)) return action;
  if (job.io_status_ == IoStatus::kOk) job.io_status_ = IoStatusOf(error);
  AddReason(job, monitor::kErrorPause);  // one, however many requests fail
  return action;
}

ErrorAction JobContext::HandleError(IoOperation operation, OnError policy, int error) {
  return JobOps::HandleError(job_, operation, policy, error);
}

}  // namespace jobcore::inline JOBCORE_ABI
