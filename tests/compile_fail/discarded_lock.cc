// SPDX-License-Identifier: Apache-2.0
// EXPECT: ignoring temporary .*nodiscard
#pragma clang diagnostic error "-Wunused-value"
#include "job-common/job_core.h"

namespace jobcore {

void Nothing(JobCore& core) {
#ifdef SHOULD_FAIL
  JobLock{core};  // unlocked again at once
#else
  JobLock lock(core);
#endif
}

}  // namespace jobcore
