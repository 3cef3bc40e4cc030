// SPDX-License-Identifier: Apache-2.0
// EXPECT: ignoring return value of function declared with 'nodiscard' attribute
#pragma clang diagnostic error "-Wunused-result"
#include "job-monitor/job_monitor.h"

namespace jobcore {

void Discard(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
  (void)monitor::Resume(job);  // on purpose
#ifdef SHOULD_FAIL
  monitor::Pause(job);
#endif
}

}  // namespace jobcore
