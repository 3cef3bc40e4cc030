// SPDX-License-Identifier: Apache-2.0
// EXPECT: acquiring mutex 'job_mutex' that is already held
#include "job-common/job_core.h"

namespace jobcore {

void LockTwice(JobCore& core) {
  JobLock lock(core);
#ifdef SHOULD_FAIL
  JobLock again(core);
#endif
}

}  // namespace jobcore
