// SPDX-License-Identifier: Apache-2.0
// EXPECT: calling function 'Pause' requires holding .*job_mutex
// EXPECT: calling function 'status' requires holding .*job_mutex
#include "job-monitor/job_monitor.h"

namespace jobcore {

JobStatus PauseAcrossAGap(JobCore& core, const JobRef& job) {
  JobLock lock(core);
  {
    JobUnlock gap(lock);
#ifdef SHOULD_FAIL
    (void)monitor::Pause(*job);
    (void)job->status();
#endif
  }
  (void)monitor::Pause(*job);  // held again
  return job->status();
}

}  // namespace jobcore
