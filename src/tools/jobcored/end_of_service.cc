// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/end_of_service.h"

#include <algorithm>
#include <chrono>

#include "absl/status/status.h"
#include "job-common/aio_wait.h"
#include "job-monitor/job_query.h"

namespace jobcored {
namespace {

using jobcore::JobStatus;

// It goes on by itself: it does not wait to be started, resumed, completed, finalised or dismissed.
bool GoesOn(const jobcore::monitor::JobInfo& job) {
  return job.status == JobStatus::kRunning || job.status == JobStatus::kWaiting || job.status == JobStatus::kAborting ||
         (job.status == JobStatus::kPending && job.auto_finalize);
}

}  // namespace

jobcore::Co<ExitCode> EndService(Daemon& daemon, const EndPolicy& policy) {
  const auto deadline = [&daemon, &policy] {
    return daemon.core.main_context().clock().Now() + std::chrono::seconds(policy.seconds);
  };
  ExitCode code = ExitCode::kDone;
  if (policy.finish) {
    const auto going_on = [&daemon, &policy]() JOBCORE_EXCLUDES(jobcore::job_mutex) {
      const auto jobs = jobcore::monitor::SnapshotJobs(daemon.core);
      return policy.finish && std::any_of(jobs.begin(), jobs.end(), GoesOn);
    };
    const absl::Status finished =
        co_await AioWaitWhile(daemon.core, going_on, {.name = "jobs to finish", .deadline = deadline()});
    if (!finished.ok() || !policy.finish) code = ExitCode::kCancelled;
  }
  const absl::Status ended = co_await daemon.EndAll(/*callers=*/0, deadline());
  co_return ended.ok() ? code : ExitCode::kStuck;
}

}  // namespace jobcored
