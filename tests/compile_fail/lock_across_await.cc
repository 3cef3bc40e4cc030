// SPDX-License-Identifier: Apache-2.0
// TOOL: clang-tidy misc-coroutine-hostile-raii
// EXPECT: 'lock' holds a lock across a suspension point of coroutine
#include "job-common/job_core.h"
#include "job-driver/job_context.h"

namespace jobcore {

Co<absl::Status> Work(JobContext& job, JobCore& core) {
#ifdef SHOULD_FAIL
  JobLock lock(core);
#else
  {
    JobLock lock(core);
  }
#endif
  co_return co_await job.PausePoint();
}

}  // namespace jobcore
