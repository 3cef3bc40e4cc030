// SPDX-License-Identifier: Apache-2.0
//
// What a daemon says about its jobs, as the library says it about ours. A daemon that knows QMP only, without our
// extensions, says less; what it leaves out is empty.

#ifndef JOBCORE_TOOLS_JOBCTL_REMOTE_JOB_H_
#define JOBCORE_TOOLS_JOBCTL_REMOTE_JOB_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "job-common/clock.h"
#include "job-common/job_outcome.h"
#include "job-common/job_status.h"
#include "job-monitor/job_query.h"
#include "qmp/json_value.h"
#include "tools/jobctl/qmp_client.h"

namespace jobctl {

// A record of x-query-jobs, or of query-jobs.
jobcore::monitor::JobInfo ReadJob(const qmp::JsonObject& record);

// {"outcome": …, "error": …}, or {"error": …} alone; nothing: it has no outcome.
std::optional<jobcore::JobOutcome> ReadOutcome(const qmp::JsonObject& record);

// As they come: our daemon's x-query-jobs, or else query-jobs.
absl::StatusOr<qmp::JsonArray> QueryJobRecords(QmpClient& client);

// Oldest first.
absl::StatusOr<std::vector<jobcore::monitor::JobInfo>> QueryJobs(QmpClient& client);

// What became of the job of that name that ended last; nothing: nobody knows.
absl::StatusOr<std::optional<jobcore::JobOutcome>> QueryOutcome(QmpClient& client, const std::string& id);

// Numbered events that were lost because nobody read them in time; 0: it is another event.
uint64_t MissedEvents(const qmp::JsonObject& event);

// Something that has happened to a job.
struct RemoteEvent {
  uint64_t sequence = 0;  // 0: the daemon does not count
  jobcore::WallTime time{};
  std::string id;
  uint64_t number = 0;
  std::string kind;                          // "status", or what else there may be
  std::optional<jobcore::JobStatus> status;  // the new one; nothing: it has not changed
  std::optional<jobcore::JobOutcome> outcome;
  std::string text;      // for people
  std::string context;   // where its driver runs; empty: not known
  qmp::JsonObject data;  // for programs
};
// Nothing: it is not about a job; or, where events are numbered, one that is not says the same.
std::optional<RemoteEvent> ReadEvent(const qmp::JsonObject& event, bool numbered);

// From now on there are events, with numbers if the daemon has them.
struct Subscription {
  bool numbered = false;
  uint64_t next = 0;    // that will be sent first
  uint64_t missed = 0;  // between what was asked for and that
};
// `from`: the first one of interest, which may have happened already; 0: from now on.
absl::StatusOr<Subscription> Subscribe(QmpClient& client, uint64_t from = 0);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_REMOTE_JOB_H_
