// SPDX-License-Identifier: Apache-2.0
// EXPECT: call to deleted constructor of .*JobLock
// EXPECT: call to deleted constructor of .*JobUnlock
// EXPECT: call to deleted constructor of .*JobMutex
// EXPECT: call to deleted constructor of .*JobCore
#include <utility>

#include "job-common/job_core.h"

namespace jobcore {

void Copy(JobCore& core) {
  JobLock lock(core);
  JobUnlock gap(lock);
#ifdef SHOULD_FAIL
  JobLock moved_lock(std::move(lock));
  JobUnlock copied_gap(gap);
  JobMutex copied_mutex(core.mutex());
  JobCore copied_core(core);
#endif
}

}  // namespace jobcore
