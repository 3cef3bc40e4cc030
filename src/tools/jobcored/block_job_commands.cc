// SPDX-License-Identifier: Apache-2.0

#include <utility>

#include "absl/strings/str_cat.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "qmp/job_events.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/daemon.h"
#include "tools/jobcored/job_verbs.h"

namespace jobcored {
namespace {

namespace monitor = jobcore::monitor;
using jobcore::CancelMode;
using jobcore::Job;
using jobcore::JobStatus;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::GenericError;
using jobcore::qmp::JsonArray;
using jobcore::qmp::JsonObject;
using jobcore::qmp::kBool;
using jobcore::qmp::kInt;
using jobcore::qmp::kString;
using jobcore::qmp::Reply;
using jobcore::qmp::Type;

constexpr Field kDeviceFields[] = {{.name = "device", .type = &kString, .help = "the job"}};
constexpr Type kDevice = jobcore::qmp::ObjectOf(kDeviceFields);
constexpr Field kIdFields[] = {{.name = "id", .type = &kString}};
constexpr Type kId = jobcore::qmp::ObjectOf(kIdFields);
constexpr Field kCancelFields[] = {
    {.name = "device", .type = &kString},
    {.name = "force", .type = &kBool, .optional = true, .otherwise = false},
};
constexpr Type kCancel = jobcore::qmp::ObjectOf(kCancelFields);
constexpr Field kSetSpeedFields[] = {
    {.name = "device", .type = &kString},
    {.name = "speed", .type = &kInt, .help = "bytes per second; 0: no limit"},
};
constexpr Type kSetSpeed = jobcore::qmp::ObjectOf(kSetSpeedFields);

Reply Cancel(Daemon& daemon, Arguments args) {
  const bool force = args.Bool("force");
  return OnJob(daemon, kBlockJobs, args, [force](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
    if (!force && IsUserPaused(job)) {
      return GenericError(absl::StrCat("The block job for device '", job.id(), "' is currently paused"));
    }
    // On the wire a job can be cancelled softly only while it is ready.
    const bool soft = !force && jobcore::IsReady(job.status());
    return monitor::Cancel(job, soft ? CancelMode::kSoft : CancelMode::kForce);
  });
}

Reply SetSpeed(Daemon& daemon, Arguments args) {
  const int64_t speed = args.Int("speed");
  return OnJob(daemon, kBlockJobs, args, [speed](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
    return monitor::SetSpeed(job, speed);
  });
}

// A mirror that has done its copying is shown as paused until it ends: the reference has it stand still, and its source
// with it. (Here clients go on writing to that.)
bool IsShownPaused(const monitor::JobInfo& job) {
  const bool at_its_end = job.status == JobStatus::kWaiting || job.status == JobStatus::kPending;
  return !job.pause_reasons.empty() || (at_its_end && job.type == "mirror");
}

JsonObject Shown(const monitor::JobInfo& job) {
  JsonObject shown = {{"device", job.id},
                      {"type", job.type},
                      {"status", jobcore::JobStatusName(job.status)},
                      {"len", job.progress.total},
                      {"offset", job.progress.current},
                      {"busy", job.status == JobStatus::kRunning},
                      {"paused", IsShownPaused(job)},
                      {"speed", job.speed},
                      {"io-status", jobcore::IoStatusName(job.io_status)},
                      {"ready", jobcore::IsReady(job.status)},
                      {"auto-finalize", job.auto_finalize},
                      {"auto-dismiss", job.auto_dismiss}};
  if (job.outcome.has_value() && !job.outcome->succeeded()) {
    shown.Set("error", jobcore::qmp::ErrorText(*job.outcome));
  }
  return shown;
}

Reply QueryBlockJobs(Daemon& daemon) {
  JsonArray list;
  for (const monitor::JobInfo& job : monitor::SnapshotJobs(daemon.core)) {
    if (jobcore::qmp::IsBlockJobType(job.type)) list.push_back(Shown(job));
  }
  return list;
}

}  // namespace

void AddBlockJobCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add("query-block-jobs", "all block jobs, the newest first", jobcore::qmp::kNoArguments,
            [&daemon](Arguments) { return QueryBlockJobs(daemon); });
  table.Add("block-job-pause", "as job-pause", kDevice,
            [&daemon](Arguments args) { return Pause(daemon, kBlockJobs, args); });
  table.Add("block-job-resume", "as job-resume", kDevice,
            [&daemon](Arguments args) { return Resume(daemon, kBlockJobs, args); });
  table.Add("block-job-dismiss", "as job-dismiss", kId,
            [&daemon](Arguments args) { return Dismiss(daemon, kBlockJobsById, args); });
  table.Add("block-job-cancel", "as job-cancel; a job that is ready finishes consistently instead, without force",
            kCancel, [&daemon](Arguments args) { return Cancel(daemon, args); });
  table.Add("block-job-set-speed", "limits what the job does per second", kSetSpeed,
            [&daemon](Arguments args) { return SetSpeed(daemon, args); });
  table.Add({.name = "block-job-complete",
             .help = "as job-complete",
             .arguments = &kDevice,
             .handler = [&daemon](Arguments args) { return Complete(daemon, kBlockJobs, args); }});
  table.Add({.name = "block-job-finalize",
             .help = "as job-finalize",
             .arguments = &kId,
             .handler = [&daemon](Arguments args) { return Finalize(daemon, kBlockJobsById, args); }});
}

}  // namespace jobcored
