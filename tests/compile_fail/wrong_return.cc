// SPDX-License-Identifier: Apache-2.0
// EXPECT: no matching member function for call to 'return_value'
#include "job-driver/job_context.h"

namespace jobcore {

Co<absl::Status> Work(JobContext& job) {
  (void)co_await job.PausePoint();
#ifdef SHOULD_FAIL
  co_return 7;
#else
  co_return absl::OkStatus();
#endif
}

}  // namespace jobcore
