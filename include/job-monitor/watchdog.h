// SPDX-License-Identifier: Apache-2.0
//
// Watchdog: looks at a core from a thread of its own, and says when something has been stuck for too long: once per
// incident, with a dump of all waits (wait_dump.h).
//
//   monitor::Watchdog watchdog(core, {.callback = monitor::Watchdog::ToStderr()});
//
// Incidents:
//   * a wait without a deadline, or an await of a job or of one of its hooks, that has lasted for `wait_limit`. Not:
//     a pause, a sleep or yield of a job, a job that waits for a verb, a wait with WaitOptions::watched = false
//   * a wait that goes on for `overdue_limit` after its deadline
//   * a loop that stays in one turn, in a callback or with work to do, for `loop_limit`
//   * a job_mutex that could not be had for `loop_limit`
//
// It counts the time for which it has itself seen something stay as it is, by its own clock (real time, whatever
// clocks the loops have), so a report comes late by up to one interval.

#ifndef JOBCORE_JOB_MONITOR_WATCHDOG_H_
#define JOBCORE_JOB_MONITOR_WATCHDOG_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-monitor/wait_dump.h"

namespace jobcore::inline JOBCORE_ABI::monitor {

class Watchdog {
 public:
  // On the watchdog's thread, or that of Check(), without any lock. `reason` says in a line what is stuck. Must not
  // destroy the watchdog.
  using Callback = std::function<void(const WaitDump& dump, const std::string& reason)>;

  struct Options {
    Callback callback = nullptr;
    Nanoseconds wait_limit = std::chrono::seconds(30);
    Nanoseconds overdue_limit = std::chrono::seconds(1);
    Nanoseconds loop_limit = std::chrono::seconds(1);
    Nanoseconds interval = std::chrono::milliseconds(250);  // between two looks
    Clock* clock = nullptr;                                 // null: Clock::System(). Must outlive the watchdog.
    // False: there is no thread; the owner calls Check(). For tests, and for programs with a thread to spare.
    bool start_thread = true;
  };

  // Any thread. Destroy it before the core.
  Watchdog(JobCore& core, Options options);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // One look. Without a thread only; one call at a time. Takes job_mutex for a page of jobs at a time, and gives up
  // after 100 ms if it is not to be had; waits for no loop.
  void Check() JOBCORE_EXCLUDES(job_mutex);

  // For tools: writes reason and dump to standard error. (The library never prints of itself.)
  static Callback ToStderr();

 private:
  class State;
  const std::unique_ptr<State> state_;
};

}  // namespace jobcore::inline JOBCORE_ABI::monitor

#endif  // JOBCORE_JOB_MONITOR_WATCHDOG_H_
