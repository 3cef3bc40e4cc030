// SPDX-License-Identifier: Apache-2.0
//
// Jobs, their history and their events in full, as the commands and events beyond the reference show them. What the
// members mean is said in docs/monitor.md.

#ifndef JOBCORE_QMP_JOB_REPORT_H_
#define JOBCORE_QMP_JOB_REPORT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_event.h"
#include "job-common/job_outcome.h"
#include "job-common/job_times.h"
#include "job-common/progress.h"
#include "job-monitor/job_history.h"
#include "job-monitor/job_query.h"
#include "qmp/json_value.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

// What an event does not carry: of its job, as it was when somebody last looked.
struct EventSubject {
  bool known = false;
  std::string type = {};
  std::string context = {};
  uint64_t group = 0;
  std::vector<std::string> pause_reasons = {};
  ProgressSnapshot progress = {};
};

JsonObject JobReport(const monitor::JobInfo& job);
JsonObject RecordReport(const monitor::JobRecord& record);
JsonObject EventReport(const JobEvent& event, WallTime time, const EventSubject& subject);

inline int64_t InNanoseconds(Nanoseconds duration) { return duration.count(); }
inline int64_t InNanoseconds(WallTime time) { return time.time_since_epoch().count(); }
JsonArray StringList(const std::vector<std::string>& strings);

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_JOB_REPORT_H_
