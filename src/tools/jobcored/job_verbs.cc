// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/job_verbs.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "job-monitor/job_monitor.h"
#include "qmp/job_events.h"
#include "tools/jobcored/later_answer.h"

namespace jobcored {

namespace monitor = jobcore::monitor;
using jobcore::Co;
using jobcore::Job;
using jobcore::qmp::Arguments;
using jobcore::qmp::Error;
using jobcore::qmp::ErrorClass;
using jobcore::qmp::Reply;

Job* Family::Find(jobcore::JobCore& core, Arguments args) const {
  Job* const job = monitor::Find(core, args.String(argument));
  if (job == nullptr || (only_block_jobs && !jobcore::qmp::IsBlockJobType(job->type()))) return nullptr;
  return job;
}

Error Family::NotFound(Arguments args) const {
  if (!only_block_jobs) return jobcore::qmp::GenericError("Job not found");
  return {ErrorClass::kDeviceNotActive, absl::StrCat("Block job '", args.String(argument), "' not found")};
}

bool IsUserPaused(const Job& job) {
  const std::vector<std::string> reasons = job.pause_reasons();
  return std::any_of(reasons.begin(), reasons.end(), [](const std::string& reason) {
    return reason == monitor::kUserPause || reason == monitor::kErrorPause;
  });
}

Reply Pause(Daemon& daemon, const Family& family, Arguments args) {
  return OnJob(daemon, family, args, [](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
    if (jobcore::VerbAllowed(jobcore::JobVerb::kPause, job.status()) && IsUserPaused(job)) {
      return jobcore::qmp::GenericError("Job is already paused");
    }
    return monitor::Pause(job);
  });
}

Reply Resume(Daemon& daemon, const Family& family, Arguments args) {
  return OnJob(daemon, family, args, [](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
    return monitor::Resume(job);
  });
}

Reply Dismiss(Daemon& daemon, const Family& family, Arguments args) {
  return OnJob(daemon, family, args, [](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
    return monitor::Dismiss(job);
  });
}

Co<Reply> Complete(Daemon& daemon, const Family& family, Arguments args) {
  LaterAnswer answer(daemon.core);
  jobcore::VerbReply later = answer.ToBeSent();
  Reply accepted =
      OnJob(daemon, family, args, [&later](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
        return monitor::Complete(job, std::move(later));
      });
  if (accepted.error() != nullptr) co_return accepted;
  const absl::Status answered = co_await answer.Await("job-complete");
  co_return answered;
}

Co<Reply> Finalize(Daemon& daemon, const Family& family, Arguments args) {
  LaterAnswer answer(daemon.core);
  jobcore::VerbReply later = answer.ToBeSent();
  Reply accepted =
      OnJob(daemon, family, args, [&later](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
        return monitor::Finalize(job, std::move(later));
      });
  if (accepted.error() != nullptr) co_return accepted;
  // How the group ends is said by its events; the command has done what it was to do.
  (void)co_await answer.Await("job-finalize");
  co_return Reply();
}

}  // namespace jobcored
