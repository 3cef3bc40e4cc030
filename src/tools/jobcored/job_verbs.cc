// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/job_verbs.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "job-monitor/job_monitor.h"
#include "qmp/job_events.h"

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

namespace {

// What a verb is answered with later; who waits for it is woken through the core.
class LaterAnswer {
 public:
  explicit LaterAnswer(jobcore::JobCore& core) : core_(core) {}

  jobcore::VerbReply ToBeSent() {
    return jobcore::VerbReply(core_.main_context(), [answer = answer_, &core = core_](absl::Status status) {
      *answer = std::move(status);
      core.main_context().wait_domain().Kick();
    });
  }
  Co<absl::Status> Await(std::string_view name) JOBCORE_EXCLUDES(jobcore::job_mutex) {
    const auto missing = [&answer = *answer_] { return !answer.has_value(); };
    // Not watched: how long it takes is the job's business.
    absl::Status waited = co_await AioWaitWhile(core_, missing, {.name = name, .watched = false});
    if (!waited.ok()) co_return waited;
    co_return **answer_;
  }

 private:
  jobcore::JobCore& core_;
  const std::shared_ptr<std::optional<absl::Status>> answer_ = std::make_shared<std::optional<absl::Status>>();
};

}  // namespace

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
