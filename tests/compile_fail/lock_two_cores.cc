// SPDX-License-Identifier: Apache-2.0
// A thread holds at most one job_mutex, whosesoever.
// EXPECT: acquiring mutex 'job_mutex' that is already held
#include "job-common/job_core.h"

namespace jobcore {

void LockBoth(JobCore& one, JobCore& other) {
#ifdef SHOULD_FAIL
  JobLock lock(one);
#else
  {
    JobLock lock(one);
  }
#endif
  JobLock other_lock(other);
}

}  // namespace jobcore
