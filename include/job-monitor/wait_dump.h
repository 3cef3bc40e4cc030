// SPDX-License-Identifier: Apache-2.0
//
// Why does nothing happen? A dump of all that waits in a core: event loops, waits, jobs; each with what it waits
// for, since when, and who holds it up.
//
//   std::fputs(ToString(monitor::DumpWaits(core)).c_str(), stderr);
//
//   loops
//     main  asleep, polled 3.2 s ago
//     io0   in callback 'job', polled 3.2 s ago
//   waits
//     thread 4711 (tool), home of 'main'  wait for job 'a'  3.2 s, no deadline
//       held by job 'a', running: I/O read for 3.2 s
//   jobs
//     job 'a'  running  I/O read for 3.2 s
//   resources
//     disk0  1 in flight, 2 parked
//       section 'snapshot' waits for 3.1 s: resource 'disk0' has 1 request in flight
//
// A dump is taken of a living system, piece by piece: each piece was true at some moment during the call, and two of
// them need not fit together. Times are as exact as turns of the loops: a wait counts from the beginning of the turn
// in which it began. Awaits of foreign types show as "an unnamed await".

#ifndef JOBCORE_JOB_MONITOR_WAIT_DUMP_H_
#define JOBCORE_JOB_MONITOR_WAIT_DUMP_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/job_status.h"

namespace jobcore::inline JOBCORE_ABI::monitor {

struct LoopState {
  std::string name;
  bool main = false;          // of the core
  bool asleep = false;        // it has nothing to do, and will be woken
  bool has_work = false;      // something has been posted that it has not taken up
  std::string callback;       // that its home thread is in; empty: in none
  Nanoseconds polled_ago{0};  // the time since its last turn began
};

// A wait of AioWaitWhileUnlocked, AioWaitWhile, or anything that is made of them.
struct WaitRecord {
  uint64_t id = 0;   // of this wait, among those with the same `loop`
  std::string loop;  // of which context the condition is
  std::string who;
  std::string what;
  Nanoseconds lasted{0};
  std::optional<Nanoseconds> left;   // until its deadline, negative: past it; null: it has none
  bool watched = true;               // WaitOptions::watched
  std::vector<std::string> held_by;  // empty: not known
};

// A job that has not concluded.
struct JobWait {
  uint64_t number = 0;
  std::string id;  // empty: internal
  JobStatus status{};
  std::string what;  // in one phrase
  std::vector<std::string> pause_reasons;
  std::vector<std::string> held_by;  // empty: nobody that the core knows of
};

// A resource (job-driver/resource.h) over which a section is open, or about to be.
struct ResourceState {
  struct Section {
    std::string name;
    Nanoseconds lasted{0};  // since it was asked for
    bool granted = false;
    std::string held_by;  // what it waits for; empty once it has been granted
  };
  std::string name;
  size_t in_flight = 0;
  size_t parked = 0;  // requests that wait for the end of the last section
  std::vector<Section> sections = {};
};

struct WaitDump {
  std::string obstacle;  // why it is not complete; empty: it is
  std::vector<LoopState> loops;
  std::vector<WaitRecord> waits;
  std::vector<JobWait> jobs;  // oldest first
  std::vector<ResourceState> resources;
};

// Any thread; waits for no loop. Takes job_mutex for a page of jobs at a time. Where the mutex itself is not to be
// had within a second, jobs and all contexts but the main one are missing, and `obstacle` says who holds it.
WaitDump DumpWaits(JobCore& core) JOBCORE_EXCLUDES(job_mutex);

// A table for people.
std::string ToString(const WaitDump& dump);

}  // namespace jobcore::inline JOBCORE_ABI::monitor

#endif  // JOBCORE_JOB_MONITOR_WAIT_DUMP_H_
