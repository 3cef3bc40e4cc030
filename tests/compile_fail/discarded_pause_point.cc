// SPDX-License-Identifier: Apache-2.0
// The awaiter without co_await, and the answer of one that was awaited.
// EXPECT: ignoring return value of function declared with 'nodiscard' attribute
// EXPECT: ^ +[0-9]+ \| +job\.PausePoint\(\);
// EXPECT: ^ +[0-9]+ \| +job\.Sleep\(
// EXPECT: ^ +[0-9]+ \| +co_await job\.Yield\(\);
#pragma clang diagnostic error "-Wunused-result"
#pragma clang diagnostic error "-Wunused-value"
#include "job-driver/job_context.h"

namespace jobcore {

Co<absl::Status> Work(JobContext& job) {
#ifdef SHOULD_FAIL
  job.PausePoint();
  job.Sleep(std::chrono::milliseconds(1));
  co_await job.Yield();
#endif
  co_return co_await job.PausePoint();
}

}  // namespace jobcore
