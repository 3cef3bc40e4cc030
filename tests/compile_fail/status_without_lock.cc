// SPDX-License-Identifier: Apache-2.0
// EXPECT: calling function 'status' requires holding .*job_mutex
// EXPECT: calling function 'outcome' requires holding .*job_mutex
// EXPECT: calling function 'pause_reasons' requires holding .*job_mutex
#include "job-common/job_core.h"

namespace jobcore {

bool Ended(JobCore& core, const Job& job) {
#ifdef SHOULD_FAIL
  (void)core;
#else
  JobLock lock(core);
#endif
  return IsConcluded(job.status()) && job.outcome() != nullptr && job.pause_reasons().empty();
}

}  // namespace jobcore
