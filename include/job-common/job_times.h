// SPDX-License-Identifier: Apache-2.0
//
// JobTimes: what a job has spent its time on. Plain data, copied out by queries (job-monitor/job_query.h) and kept
// in the history (job-monitor/job_history.h).

#ifndef JOBCORE_JOB_COMMON_JOB_TIMES_H_
#define JOBCORE_JOB_COMMON_JOB_TIMES_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_status.h"

namespace jobcore::inline JOBCORE_ABI {

// Time of day. A core reads it once, when it is made, and goes by its monotonic clock from there on
// (JobCore::WallTimeOf): it never jumps, but does not follow later settings of the system's clock either.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Nanoseconds>;

// One moment on both time lines.
struct Instant {
  TimePoint time{};  // monotonic, on the clock of the core's main context
  WallTime wall{};
};

// How long one pause reason was in force: from when it was asked for, parked or not, until it was resumed or
// became void (the job was force-cancelled, or finished).
struct PauseTime {
  std::string reason;
  Nanoseconds time{};
};

// As of the moment of the query; in the history, as of the job's conclusion.
struct JobTimes {
  Instant created;
  std::optional<Instant> started;    // none: never was
  std::optional<Instant> concluded;  // none: goes on

  // By JobStatus, the present one included. The sum is the job's age, exactly, until it is dismissed.
  std::array<Nanoseconds, kJobStatusCount> in_status{};

  // In the order in which they were first asked for. Reasons overlap, so that the sum can exceed the time parked.
  // A job that has had more than kMaxPauseReasons different ones has the rest of them as one, kOtherPauses: the
  // time during which at least one of these was in force.
  std::vector<PauseTime> pauses;

  // Its driver was held back by a rate limit.
  Nanoseconds throttled{};
  // Its driver was suspended (I/O, sleeps, yields), but neither parked nor throttled.
  Nanoseconds waiting{};

  static constexpr size_t kMaxPauseReasons = 32;
  static constexpr std::string_view kOtherPauses = "(others)";

  Nanoseconds In(JobStatus status) const { return in_status[static_cast<size_t>(status)]; }
  Nanoseconds Parked() const { return In(JobStatus::kPaused) + In(JobStatus::kStandby); }
  // Started, not parked, and not at its end.
  Nanoseconds Running() const { return In(JobStatus::kRunning) + In(JobStatus::kReady); }
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_TIMES_H_
