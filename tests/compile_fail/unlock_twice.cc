// SPDX-License-Identifier: Apache-2.0
// EXPECT: releasing mutex 'job_mutex' that was not held
#include "job-common/job_core.h"

namespace jobcore {

void UnlockTwice(JobCore& core) {
  JobLock lock(core);
  JobUnlock gap(lock);
#ifdef SHOULD_FAIL
  JobUnlock again(lock);
#endif
}

}  // namespace jobcore
