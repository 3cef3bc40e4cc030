// SPDX-License-Identifier: Apache-2.0
//
// Jobs with all that the library knows of them: see docs/monitor.md.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "job-monitor/job_history.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "qmp/job_report.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/daemon.h"
#include "tools/jobcored/job_verbs.h"

namespace jobcored {
namespace {

namespace monitor = jobcore::monitor;
using jobcore::Job;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::GenericError;
using jobcore::qmp::JsonArray;
using jobcore::qmp::kInt;
using jobcore::qmp::kString;
using jobcore::qmp::Reply;
using jobcore::qmp::Type;

constexpr Field kQueryFields[] = {
    {.name = "id", .type = &kString, .optional = true},
    {.name = "group", .type = &kInt, .optional = true},
};
constexpr Type kQuery = jobcore::qmp::ObjectOf(kQueryFields);
constexpr Field kHistoryFields[] = {
    {.name = "id", .type = &kString, .optional = true},
    {.name = "limit", .type = &kInt, .optional = true, .otherwise = int64_t{64}},
};
constexpr Type kHistory = jobcore::qmp::ObjectOf(kHistoryFields);
constexpr Field kPauseFields[] = {
    {.name = "id", .type = &kString},
    {.name = "reason", .type = &kString, .optional = true, .otherwise = monitor::kUserPause},
};
constexpr Type kPause = jobcore::qmp::ObjectOf(kPauseFields);

Reply QueryOne(Daemon& daemon, const std::string& id) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  std::optional<monitor::JobInfo> info;
  {
    jobcore::JobLock lock(daemon.core);
    if (const Job* const job = monitor::Find(daemon.core, id)) info = monitor::Query(*job);
  }
  JsonArray list;
  if (info.has_value()) list.push_back(jobcore::qmp::JobReport(*info));
  return list;
}

Reply QueryJobs(Daemon& daemon, Arguments args) {
  if (const std::optional<std::string> id = args.OptionalString("id")) return QueryOne(daemon, *id);
  const std::optional<int64_t> group = args.OptionalInt("group");
  JsonArray list;
  for (const monitor::JobInfo& job : monitor::SnapshotJobs(daemon.core)) {
    if (!group.has_value() || job.group == static_cast<uint64_t>(*group)) list.push_back(jobcore::qmp::JobReport(job));
  }
  return list;
}

Reply QueryHistory(Daemon& daemon, Arguments args) {
  const int64_t limit = args.Int("limit");
  if (limit < 0) return GenericError("Parameter 'limit' expects a non-negative value");
  const std::optional<std::string> id = args.OptionalString("id");
  JsonArray list;
  monitor::HistoryCursor cursor;
  const auto full = [&list, limit] { return list.size() >= static_cast<uint64_t>(limit); };
  while (!full()) {
    std::vector<monitor::JobRecordPtr> page;
    {
      jobcore::JobLock lock(daemon.core);
      page = monitor::HistoryPage(daemon.core, cursor);
    }
    for (const monitor::JobRecordPtr& record : page) {
      if (!full() && id.value_or(record->id) == record->id) list.push_back(jobcore::qmp::RecordReport(*record));
    }
    if (page.size() < monitor::kMaxPage) break;
  }
  return list;
}

Reply PauseFor(Daemon& daemon, Arguments args) {
  const std::string& reason = args.String("reason");
  return OnJob(daemon, kJobs, args, [&reason](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
    return monitor::Pause(job, reason);
  });
}

Reply ResumeFor(Daemon& daemon, Arguments args) {
  const std::string& reason = args.String("reason");
  return OnJob(daemon, kJobs, args, [&reason](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) -> Reply {
    return monitor::Resume(job, reason);
  });
}

}  // namespace

void AddFullJobCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add("x-query-jobs", "all jobs, or one, or those of a group, with all that is known of them", kQuery,
            [&daemon](Arguments args) { return QueryJobs(daemon, args); });
  table.Add("x-query-history", "what became of jobs, dismissed or not; the last one first", kHistory,
            [&daemon](Arguments args) { return QueryHistory(daemon, args); });
  table.Add("x-job-pause", "as job-pause, for a reason", kPause,
            [&daemon](Arguments args) { return PauseFor(daemon, args); });
  table.Add("x-job-resume", "takes a reason back; a job without any goes on", kPause,
            [&daemon](Arguments args) { return ResumeFor(daemon, args); });
}

}  // namespace jobcored
