// SPDX-License-Identifier: Apache-2.0
// The reference's spelling, and a wait that hides in a function which says that it waits.
// EXPECT: cannot call function 'AioWaitWhileUnlocked' while .*job_mutex.* is held
// EXPECT: cannot call function 'Drain' while .*job_mutex.* is held
#include "job-common/aio_wait.h"
#include "job-common/job_core.h"

namespace jobcore {

void Drain(JobCore& core, const std::atomic<int>& in_flight) JOBCORE_EXCLUDES(job_mutex) {
  (void)AIO_WAIT_WHILE_UNLOCKED(core, in_flight.load() > 0);
}

void DrainTwice(JobCore& core, const std::atomic<int>& in_flight) {
#ifdef SHOULD_FAIL
  JobLock lock(core);
#endif
  Drain(core, in_flight);
  (void)AIO_WAIT_WHILE_UNLOCKED(core, in_flight.load() > 0);
}

}  // namespace jobcore
