// SPDX-License-Identifier: Apache-2.0
// EXPECT: acquiring mutex 'job_mutex' that is already held
#include "job-monitor/job_monitor.h"

namespace jobcore {

absl::Status PauseHeld(JobCore& core, Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
#ifdef SHOULD_FAIL
  JobLock lock(core);
#else
  (void)core;
#endif
  return monitor::Pause(job);
}

}  // namespace jobcore
