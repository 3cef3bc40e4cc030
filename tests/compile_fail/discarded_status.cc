// SPDX-License-Identifier: Apache-2.0
// EXPECT: ignoring return value of function declared with 'nodiscard' attribute
#pragma clang diagnostic error "-Wunused-result"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"

namespace jobcore {

void Discard(Job& job) {
  (void)StartJob(job);  // on purpose
#ifdef SHOULD_FAIL
  StartJob(job);
#endif
}

}  // namespace jobcore
