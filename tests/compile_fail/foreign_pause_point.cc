// SPDX-License-Identifier: Apache-2.0
// A pause point in a coroutine of another library: the job could not own what it suspends.
// EXPECT: no matching member function for call to 'await_suspend'
#include <coroutine>

#include "job-driver/job_context.h"

namespace jobcore {

struct ForeignTask {
  struct promise_type {
    ForeignTask get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};

ForeignTask Work(JobContext& job) {
#ifdef SHOULD_FAIL
  (void)co_await job.PausePoint();
  (void)co_await job.Yield();
#else
  (void)job;
  co_await std::suspend_never();
#endif
}

Co<absl::Status> OurWork(JobContext& job) { co_return co_await job.PausePoint(); }

}  // namespace jobcore
