// SPDX-License-Identifier: Apache-2.0
//
// Delay: lets a coroutine that is no job's Run wait for a while.

#ifndef JOBCORE_BLOCK_DELAY_H_
#define JOBCORE_BLOCK_DELAY_H_

#include <coroutine>
#include <optional>

#include "aio/check.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::block {

// For co_await, on a home thread.
class [[nodiscard]] Delay {
 public:
  explicit Delay(Nanoseconds duration) : duration_(duration) {}
  Delay(const Delay&) = delete;
  Delay& operator=(const Delay&) = delete;

  bool await_ready() const noexcept { return duration_ <= Nanoseconds::zero(); }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> self) {
    AioContext* const home = AioContext::Current();
    if (home == nullptr) internal::Die("Delay: awaited on a thread that is home of no context");
    const CoHandle waiter = CoHandle::Of(self, "a delay");
    timer_.emplace(*home, "delay", [waiter] { waiter.Resume(); });
    timer_->ArmAt(SaturatingAdd(home->clock().Now(), duration_));
  }
  void await_resume() { timer_.reset(); }

 private:
  const Nanoseconds duration_;
  std::optional<AioTimer> timer_;
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_BLOCK_DELAY_H_
