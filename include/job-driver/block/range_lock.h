// SPDX-License-Identifier: Apache-2.0
//
// RangeLock: coroutines in any contexts take turns at parts of something. Two that want overlapping parts come one
// after the other, in the order in which they asked; all others do not notice each other.
//
//   RangeLock::Hold hold = co_await lock.Acquire(offset, length);
//
// Deadlock is impossible as long as nobody asks for a part while holding another.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_RANGE_LOCK_H_
#define JOBCORE_JOB_DRIVER_BLOCK_RANGE_LOCK_H_

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI::block {

class RangeLock {
 public:
  class Acquiring;

  // Part of the lock's, for as long as it lives. Movable to any thread.
  class [[nodiscard]] Hold {
   public:
    Hold() = default;  // of nothing
    Hold(Hold&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)), number_(other.number_) {}
    Hold& operator=(Hold&& other) noexcept {
      if (this != &other) {
        End();
        lock_ = std::exchange(other.lock_, nullptr);
        number_ = other.number_;
      }
      return *this;
    }
    ~Hold() { End(); }
    void End() {
      if (lock_ != nullptr) std::exchange(lock_, nullptr)->Release(number_);
    }
    explicit operator bool() const { return lock_ != nullptr; }

   private:
    friend class RangeLock;
    Hold(RangeLock& lock, uint64_t number) : lock_(&lock), number_(number) {}
    RangeLock* lock_ = nullptr;
    uint64_t number_ = 0;
  };

  RangeLock() = default;
  ~RangeLock();  // aborts if somebody holds, or waits for, a part
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;

  // For co_await, on a home thread: a Hold. At once, if nobody is in the way. A coroutine must not be destroyed
  // while it waits here; one whose context has gone before it was its turn never goes on, and gives up its place.
  [[nodiscard]] Acquiring Acquire(uint64_t offset, uint64_t length);
  // A Hold of nothing, if somebody is in the way. Any thread.
  Hold TryAcquire(uint64_t offset, uint64_t length);

 private:
  // One who holds, or waits: in the order in which they asked.
  struct Claim {
    uint64_t number;
    uint64_t offset;
    uint64_t end;
    Acquiring* waiter;  // null: holds
  };
  bool IsFree(size_t before, uint64_t offset, uint64_t end) const;  // of the first `before` claims
  void Release(uint64_t number);
  // Ends the claim. Those who hold their part now, and wait to be told, linked by next_.
  Acquiring* Grant(uint64_t number);

  internal::Mutex mutex_;  // a leaf; guards the rest
  std::vector<Claim> claims_;
  uint64_t next_number_ = 1;
};

class [[nodiscard]] RangeLock::Acquiring : private WorkItem {
 public:
  Acquiring(RangeLock& lock, uint64_t offset, uint64_t length)
      : WorkItem("range lock", &Resume), lock_(lock), offset_(offset), length_(length) {}
  Acquiring(const Acquiring&) = delete;
  Acquiring& operator=(const Acquiring&) = delete;

  bool await_ready() { return static_cast<bool>(hold_ = lock_.TryAcquire(offset_, length_)); }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) {
    return Wait(CoHandle::Of(self));
  }
  Hold await_resume() { return std::move(hold_); }

 private:
  friend class RangeLock;
  static void Resume(WorkItem& item, Reason reason);
  bool Wait(CoHandle self);

  RangeLock& lock_;
  const uint64_t offset_;
  const uint64_t length_;
  Hold hold_;
  CoHandle waiter_;
  std::shared_ptr<AioContext> context_;
  Acquiring* next_ = nullptr;  // of those who are just being told
};

inline RangeLock::Acquiring RangeLock::Acquire(uint64_t offset, uint64_t length) {
  return Acquiring(*this, offset, length);
}

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_RANGE_LOCK_H_
