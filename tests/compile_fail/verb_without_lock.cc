// SPDX-License-Identifier: Apache-2.0
// EXPECT: calling function 'Pause' requires holding .*job_mutex
// EXPECT: calling function 'Find' requires holding .*job_mutex
#include "job-monitor/job_monitor.h"

namespace jobcore {

absl::Status PauseByName(JobCore& core) {
#ifdef SHOULD_FAIL
  // "the caller holds it": it does not
#else
  JobLock lock(core);
#endif
  Job* const job = monitor::Find(core, "backup0");
  return job != nullptr ? monitor::Pause(*job) : absl::NotFoundError("Job not found");
}

}  // namespace jobcore
