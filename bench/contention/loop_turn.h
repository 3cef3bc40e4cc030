// SPDX-License-Identifier: Apache-2.0
//
// Where a driver of the contention benchmarks gives its loop a turn, as one that waits for I/O does. Both designs use
// this, so that what a turn costs is the same for both.

#ifndef JOBCORE_BENCH_CONTENTION_LOOP_TURN_H_
#define JOBCORE_BENCH_CONTENTION_LOOP_TURN_H_

#include <concepts>
#include <coroutine>
#include <mutex>
#include <utility>

#include "baseline/context_lock.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"

namespace jobcore::contention {

// Home thread of `context`; one awaiter at a time. May be destroyed by the coroutine that it resumes.
class LoopTurn final : private WorkItem {
 public:
  // A turn ends after `rest` (zero: when all that was posted before it has run). `lock`: held from then until the
  // coroutine suspends again, as aio_co_enter does; null: none.
  LoopTurn(AioContext& context, Nanoseconds rest, baseline::ContextLock* lock)
      : WorkItem("loop turn", &LoopTurn::Posted),
        context_(context),
        rest_(rest),
        lock_(lock),
        timer_(context, "rest", [this] { Continue(); }) {}

  class Awaiter {
   public:
    explicit Awaiter(LoopTurn& turn) : turn_(turn) {}
    bool await_ready() const noexcept { return false; }
    template <std::derived_from<internal::CoPromiseBase> Promise>
    void await_suspend(std::coroutine_handle<Promise> self) {
      turn_.suspended_ = CoHandle::Of(self, "loop turn");
      turn_.Begin();
    }
    void await_resume() const noexcept {}

   private:
    LoopTurn& turn_;
  };
  Awaiter Next() { return Awaiter(*this); }

 private:
  static void Posted(WorkItem& item, Reason reason) {
    if (reason == Reason::kRun) static_cast<LoopTurn&>(item).Continue();
  }

  void Begin() {
    if (rest_ == Nanoseconds::zero()) {
      context_.Post(*this);
    } else {
      timer_.ArmAt(context_.clock().Now() + rest_);
    }
  }

  void Continue() {
    std::unique_lock<baseline::ContextLock> guard;
    if (lock_ != nullptr) guard = std::unique_lock<baseline::ContextLock>(*lock_);
    std::exchange(suspended_, CoHandle()).Resume();
  }

  AioContext& context_;
  const Nanoseconds rest_;
  baseline::ContextLock* const lock_;
  AioTimer timer_;
  CoHandle suspended_;
};

}  // namespace jobcore::contention

#endif  // JOBCORE_BENCH_CONTENTION_LOOP_TURN_H_
