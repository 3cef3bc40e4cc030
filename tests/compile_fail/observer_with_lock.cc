// SPDX-License-Identifier: Apache-2.0
// EXPECT: cannot call function 'EventObserver' while .*job_mutex.* is held
// EXPECT: cannot call function 'Close' while .*job_mutex.* is held
// EXPECT: cannot call function '~EventObserver' while .*job_mutex.* is held
#include "job-monitor/event_observer.h"

namespace jobcore {

void Observe(JobCore& core) {
#ifdef SHOULD_FAIL
  JobLock lock(core);
#endif
  monitor::EventObserver observer(core, core.main_context(), [](const EventPage&) {});
  observer.Close();
}

}  // namespace jobcore
