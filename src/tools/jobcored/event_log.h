// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_TOOLS_JOBCORED_EVENT_LOG_H_
#define JOBCORE_TOOLS_JOBCORED_EVENT_LOG_H_

#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-monitor/event_observer.h"

namespace jobcored {

// Logs what happens to jobs: errors and what hangs as warnings, how jobs end as information, the rest for debugging.
class EventLog {
 public:
  explicit EventLog(jobcore::JobCore& core) JOBCORE_EXCLUDES(jobcore::job_mutex);

 private:
  jobcore::monitor::EventObserver observer_;
};

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_EVENT_LOG_H_
