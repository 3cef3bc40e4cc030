// SPDX-License-Identifier: Apache-2.0
//
// What goes on at job_mutex: how often it is taken and waited for, how long it is held, and who held it longest. Off by
// default; switched on, it costs two readings of the clock for each wait and for one hold in 16.

#ifndef JOBCORE_JOB_MONITOR_CONTENTION_H_
#define JOBCORE_JOB_MONITOR_CONTENTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "job-common/clock.h"
#include "job-common/duration_stats.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"

namespace jobcore::inline JOBCORE_ABI::monitor {

struct ContentionReport {
  Nanoseconds lasted{0};  // since it was switched on
  uint64_t acquisitions = 0;
  DurationStats waits;                    // all
  DurationStats holds;                    // of one in 16
  std::vector<std::string> longest_hold;  // the call stack at its end, innermost first
};

// Any thread. Begins anew if it counts already.
void CountContention(JobCore& core, bool on) JOBCORE_EXCLUDES(job_mutex);
// Null: it is off.
std::optional<ContentionReport> ReadContention(JobCore& core) JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::monitor

#endif  // JOBCORE_JOB_MONITOR_CONTENTION_H_
