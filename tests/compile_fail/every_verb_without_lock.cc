// SPDX-License-Identifier: Apache-2.0
// EXPECT: calling function 'Find' requires holding
// EXPECT: calling function 'Pause' requires holding
// EXPECT: calling function 'Resume' requires holding
// EXPECT: calling function 'Cancel' requires holding
// EXPECT: calling function 'Complete' requires holding
// EXPECT: calling function 'Change' requires holding
// EXPECT: calling function 'SetSpeed' requires holding
// EXPECT: calling function 'Finalize' requires holding
// EXPECT: calling function 'Dismiss' requires holding
// EXPECT: calling function 'Query' requires holding
// EXPECT: calling function 'QueryPage' requires holding
// EXPECT: calling function 'ReadEvents' requires holding
// EXPECT: calling function 'last_event' requires holding
// EXPECT: calling function 'job_count' requires holding
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"

namespace jobcore {

#ifdef SHOULD_FAIL
#define HOLDING
#else
#define HOLDING ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex)
#endif

void Everything(JobCore& core, Job& job, monitor::QueryCursor& query, EventCursor& events) HOLDING {
  (void)monitor::Find(core, 1);
  (void)monitor::Pause(job);
  (void)monitor::Resume(job);
  (void)monitor::Cancel(job);
  (void)monitor::Complete(job);
  (void)monitor::Change(job, {});
  (void)monitor::SetSpeed(job, 1);
  (void)monitor::Finalize(job);
  (void)monitor::Dismiss(job);
  (void)monitor::Query(job);
  (void)monitor::QueryPage(core, query);
  (void)core.ReadEvents(events);
  (void)core.last_event();
  (void)core.job_count();
}

}  // namespace jobcore
