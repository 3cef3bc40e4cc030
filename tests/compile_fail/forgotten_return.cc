// SPDX-License-Identifier: Apache-2.0
// EXPECT: non-void coroutine does not return a value
#pragma clang diagnostic error "-Wreturn-type"
#include "job-driver/job_context.h"

namespace jobcore {

Co<absl::Status> Work(JobContext& job) {
  if (absl::Status status = co_await job.PausePoint(); !status.ok()) co_return status;
#ifdef SHOULD_FAIL
  // falls off its end
#else
  co_return absl::OkStatus();
#endif
}

}  // namespace jobcore
