// SPDX-License-Identifier: Apache-2.0

#include <utility>
#include <vector>

#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/daemon.h"
#include "tools/jobcored/job_verbs.h"

namespace jobcored {
namespace {

namespace monitor = jobcore::monitor;
using jobcore::Job;
using jobcore::qmp::Arguments;
using jobcore::qmp::JsonArray;
using jobcore::qmp::JsonObject;
using jobcore::qmp::Reply;
using jobcore::qmp::Type;

constexpr jobcore::qmp::Field kIdFields[] = {{.name = "id", .type = &jobcore::qmp::kString}};
constexpr Type kId = jobcore::qmp::ObjectOf(kIdFields);

Reply Cancel(Daemon& daemon, Arguments args) {
  return OnJob(daemon, kJobs, args, [](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
    return monitor::Cancel(job, jobcore::CancelMode::kForce);
  });
}

Reply QueryJobs(Daemon& daemon) {
  JsonArray list;
  for (const monitor::JobInfo& job : monitor::SnapshotJobs(daemon.core)) {
    JsonObject shown = {{"id", job.id},
                        {"type", job.type},
                        {"status", jobcore::JobStatusName(job.status)},
                        {"current-progress", job.progress.current},
                        {"total-progress", job.progress.total}};
    if (job.outcome.has_value() && !job.outcome->succeeded()) {
      shown.Set("error", jobcore::qmp::ErrorText(*job.outcome));
    }
    list.push_back(std::move(shown));
  }
  return list;
}

}  // namespace

void AddJobCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add("query-jobs", "all jobs, the newest first", jobcore::qmp::kNoArguments,
            [&daemon](Arguments) { return QueryJobs(daemon); });
  table.Add("job-pause", "the job stops at its next pause point", kId,
            [&daemon](Arguments args) { return Pause(daemon, kJobs, args); });
  table.Add("job-resume", "a paused job goes on", kId,
            [&daemon](Arguments args) { return Resume(daemon, kJobs, args); });
  table.Add("job-cancel", "the job ends now, and its group with it", kId,
            [&daemon](Arguments args) { return Cancel(daemon, args); });
  table.Add("job-dismiss", "forgets a concluded job", kId,
            [&daemon](Arguments args) { return Dismiss(daemon, kJobs, args); });
  table.Add({.name = "job-complete",
             .help = "a job that is ready comes to its end",
             .arguments = &kId,
             .handler = [&daemon](Arguments args) { return Complete(daemon, kJobs, args); }});
  table.Add({.name = "job-finalize",
             .help = "a pending job, and its group, makes its result definite",
             .arguments = &kId,
             .handler = [&daemon](Arguments args) { return Finalize(daemon, kJobs, args); }});
}

}  // namespace jobcored
