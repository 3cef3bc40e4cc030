// SPDX-License-Identifier: Apache-2.0
//
// The AioContext lock as it was until 2022, and the wait that went with it (README.md: what is modelled, and where
// the model is kinder than the original).

#ifndef JOBCORE_BENCH_BASELINE_CONTEXT_LOCK_H_
#define JOBCORE_BENCH_BASELINE_CONTEXT_LOCK_H_

#include <atomic>
#include <mutex>
#include <thread>

#include "absl/functional/function_ref.h"
#include "aio/cpu_relax.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"

namespace jobcore::baseline {

// A recursive lock.
class ContextLock {
 public:
  enum class Kind {
    kAsItWas,  // QemuRecMutex: a recursive pthread mutex. Who comes first gets it, be others ever so long asleep over
               // it.
    kFair,     // what it never was: JobMutex's algorithm. Who comes later lines up behind those who wait.
  };

  explicit ContextLock(Kind kind) : kind_(kind) {}
  ContextLock(const ContextLock&) = delete;
  ContextLock& operator=(const ContextLock&) = delete;

  void lock() {
    if (kind_ == Kind::kAsItWas || owner_.load(std::memory_order_relaxed) == std::this_thread::get_id()) {
      mutex_.lock();
    } else if (waiters_.load(std::memory_order_relaxed) != 0 || !mutex_.try_lock()) {
      LineUp();
    }
    ++depth_;
    if (kind_ == Kind::kFair) owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  }

  void unlock() {
    if (--depth_ == 0 && kind_ == Kind::kFair) owner_.store(std::thread::id(), std::memory_order_relaxed);
    mutex_.unlock();
  }

 private:
  void LineUp() {
    constexpr int kSpins = 200;
    for (int i = 0; i < kSpins && waiters_.load(std::memory_order_relaxed) == 0; ++i) {
      internal::CpuRelax();
      if (mutex_.try_lock()) return;
    }
    waiters_.fetch_add(1, std::memory_order_relaxed);
    gate_.lock();
    mutex_.lock();
    gate_.unlock();
    waiters_.fetch_sub(1, std::memory_order_relaxed);
  }

  const Kind kind_;
  std::recursive_mutex mutex_;
  int depth_ = 0;  // guarded by mutex_
  // kFair.
  std::atomic<std::thread::id> owner_{};
  std::atomic<int> waiters_{0};
  std::mutex gate_;
};

using ContextGuard = std::lock_guard<ContextLock>;  // aio_context_acquire … aio_context_release

// A loop and the one lock around everything that happens in it: whoever runs a callback or resumes a coroutine of this
// context, or looks at what belongs to it, holds the lock meanwhile. The loop itself holds nothing.
class LockedContext {
 public:
  LockedContext(AioContext& loop, ContextLock::Kind kind) : loop_(loop), lock_(kind) {}
  LockedContext(const LockedContext&) = delete;
  LockedContext& operator=(const LockedContext&) = delete;

  AioContext& loop() const { return loop_; }
  ContextLock& lock() { return lock_; }

 private:
  AioContext& loop_;
  ContextLock lock_;
};

// AIO_WAIT_WHILE of a main thread that waits for another context, whose lock it holds.
class MainWait {
 public:
  // `main`: the context whose home is the thread that waits.
  explicit MainWait(AioContext& main) : main_(main) {}

  // Polls the main context while `condition` holds, with the lock of `context` released: *once*. A caller that has
  // acquired it more than once keeps it, and what it waits for cannot happen.
  // The deadline is ours, so that a benchmark can show that; the original waits forever. False: it passed.
  bool WaitWhile(LockedContext& context, absl::FunctionRef<bool()> condition, TimePoint deadline) {
    waiters_.fetch_add(1);
    bool in_time = true;
    while (condition() && in_time) {
      context.lock().unlock();
      main_.RunOnce(/*may_block=*/true, deadline);
      context.lock().lock();
      in_time = main_.clock().Now() < deadline;
    }
    waiters_.fetch_sub(1);
    return in_time;
  }

  // aio_wait_kick: whoever has changed what others may wait for. Any thread.
  void Kick() {
    if (waiters_.load() > 0) main_.Notify();
  }

 private:
  AioContext& main_;
  std::atomic<int> waiters_{0};
};

}  // namespace jobcore::baseline

#endif  // JOBCORE_BENCH_BASELINE_CONTEXT_LOCK_H_
