// SPDX-License-Identifier: Apache-2.0
//
// Metrics: what the daemon can be asked for in numbers, in the text format of Prometheus.

#ifndef JOBCORE_TOOLS_JOBCORED_METRICS_H_
#define JOBCORE_TOOLS_JOBCORED_METRICS_H_

#include <array>
#include <cstdint>
#include <string>

#include "job-common/job_event.h"
#include "job-common/job_mutex.h"
#include "job-monitor/event_observer.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {

// On the main thread. Counts from when it is made.
class Metrics {
 public:
  explicit Metrics(Daemon& daemon) JOBCORE_EXCLUDES(jobcore::job_mutex);

  std::string Text() JOBCORE_EXCLUDES(jobcore::job_mutex);

 private:
  class Writer;

  void Count(const jobcore::EventPage& page);
  void AddContention(Writer& text) JOBCORE_EXCLUDES(jobcore::job_mutex);

  Daemon& daemon_;
  std::array<uint64_t, 3> ended_{};  // by JobOutcome::Kind
  uint64_t io_errors_ = 0;
  jobcore::monitor::EventObserver observer_;
};

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_METRICS_H_
