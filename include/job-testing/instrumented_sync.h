// SPDX-License-Identifier: Apache-2.0
//
// The instrumented build's mutex, condition variable, thread and atomic: those of the standard library, with a point
// before each operation at which a controlled thread may have to let another one go on. On all other threads they
// are just what they wrap, so that ThreadSanitizer sees the same in both builds. Included by job-common/sync.h.

#ifndef JOBCORE_JOB_TESTING_INSTRUMENTED_SYNC_H_
#define JOBCORE_JOB_TESTING_INSTRUMENTED_SYNC_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-testing/thread_control.h"

namespace jobcore::inline JOBCORE_ABI::internal {

class Mutex {
 public:
  void lock() {
    if (ThisControlledThread() == nullptr) {
      mutex_.lock();
      Locked();
      return;
    }
    SwitchPoint("lock");
    DrainStores();
    while (!mutex_.try_lock()) Block(this, "mutex");
    Locked();
  }
  bool try_lock() {
    SwitchPoint("try_lock");
    DrainStores();
    if (!mutex_.try_lock()) return false;
    Locked();
    return true;
  }
  void unlock() {
    FlushStores();
    Unlocking();
    mutex_.unlock();
    // From here on *this may be gone.
    UnblockAll(this);
    SwitchPoint("unlock");
  }

 private:
  friend class CondVar;
  // What the standard library does not notice.
  void Locked() { locked_.store(true, std::memory_order_relaxed); }
  void Unlocking() {
    if (locked_.exchange(false, std::memory_order_relaxed)) return;
    std::fputs("a mutex is unlocked that nobody has locked\n", stderr);
    std::abort();
  }

  std::mutex mutex_;
  std::atomic<bool> locked_{false};
};

class CondVar {
 public:
  void wait(std::unique_lock<Mutex>& lock) { Wait(lock, kNoDeadline); }
  template <typename Predicate>
  void wait(std::unique_lock<Mutex>& lock, Predicate predicate) {
    while (!predicate()) Wait(lock, kNoDeadline);
  }
  template <typename Predicate>
  bool wait_until(std::unique_lock<Mutex>& lock, TimePoint deadline, Predicate predicate) {
    while (!predicate())
      if (!Wait(lock, deadline)) return predicate();
    return true;
  }
  void notify_one() {
    SwitchPoint("notify_one");
    condition_.notify_one();
    UnblockOne(this);
  }
  void notify_all() {
    SwitchPoint("notify_all");
    condition_.notify_all();
    UnblockAll(this);
  }

 private:
  bool Wait(std::unique_lock<Mutex>& lock, TimePoint deadline) {
    Mutex& mutex = *lock.mutex();
    if (ThisControlledThread() == nullptr) {
      mutex.Unlocking();
      std::unique_lock<std::mutex> inner(mutex.mutex_, std::adopt_lock);
      bool in_time = true;
      if (deadline == kNoDeadline) {
        condition_.wait(inner);
      } else {
        in_time = condition_.wait_until(inner, deadline) == std::cv_status::no_timeout;
      }
      inner.release();
      mutex.Locked();
      return in_time;
    }
    // No other thread goes on between the unlock and the block.
    FlushStores();
    mutex.Unlocking();
    mutex.mutex_.unlock();
    UnblockAll(&mutex);
    const bool in_time = Block(this, "condition variable", deadline);
    mutex.lock();
    return in_time;
  }

  std::condition_variable condition_;
};

class Thread {
 public:
  Thread() = default;
  template <typename F, typename... Args>
  explicit Thread(F&& function, Args&&... args) : control_(NewThread()) {
    thread_ = std::thread(
        [control = control_](auto run, auto... values) {
          BeginThread(control);
          Run(std::move(run), std::move(values)...);
          EndThread(control);
        },
        std::forward<F>(function), std::forward<Args>(args)...);
    SwitchPoint("thread started");
  }
  Thread(Thread&&) = default;
  Thread& operator=(Thread&&) = default;

  bool joinable() const { return thread_.joinable(); }
  void join() {
    JoinThread(control_);
    thread_.join();
  }

 private:
  // By value: what the arguments hold is let go of while the thread is still controlled.
  template <typename F, typename... Args>
  static void Run(F function, Args... args) {
    std::invoke(std::move(function), std::move(args)...);
  }

  std::thread thread_;
  ControlledThread* control_ = nullptr;
};

// Of what fits into a register. Stores that are weaker than sequentially consistent may be delayed as by a
// processor's store buffer (x86: total store order); anything weaker than that is beyond this class.
template <typename T>
class Atomic {
  static constexpr size_t kBytes = sizeof(std::atomic<T>);
  static_assert(std::is_trivially_copyable_v<T> && kBytes <= sizeof(uint64_t));

 public:
  constexpr Atomic() noexcept = default;
  constexpr Atomic(T value) noexcept : value_(value) {}  // NOLINT(google-explicit-constructor): as std::atomic
  ~Atomic() { DropStore(this); }
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(std::memory_order order = std::memory_order_seq_cst) const {
    SwitchPoint("load");
    if (uint64_t bits = 0; ReadOwnStore(this, bits)) return FromBits(bits);
    return value_.load(order);
  }
  operator T() const { return load(); }  // NOLINT(google-explicit-constructor): as std::atomic

  void store(T value, std::memory_order order = std::memory_order_seq_cst) {
    SwitchPoint("store");
    if (order != std::memory_order_seq_cst && BufferStore(this, ToBits(value), &Apply)) return;
    DrainStores();
    value_.store(value, order);
  }
  T operator=(T value) {  // NOLINT(misc-unconventional-assign-operator): as std::atomic
    store(value);
    return value;
  }

  T exchange(T value, std::memory_order order = std::memory_order_seq_cst) {
    BeforeUpdate();
    return value_.exchange(value, order);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure) {
    BeforeUpdate();
    return value_.compare_exchange_strong(expected, desired, success, failure);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order order = std::memory_order_seq_cst) {
    BeforeUpdate();
    return value_.compare_exchange_strong(expected, desired, order);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure) {
    return compare_exchange_strong(expected, desired, success, failure);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order order = std::memory_order_seq_cst) {
    return compare_exchange_strong(expected, desired, order);
  }
  template <typename D>
  T fetch_add(D delta, std::memory_order order = std::memory_order_seq_cst) {
    BeforeUpdate();
    return value_.fetch_add(delta, order);
  }
  template <typename D>
  T fetch_sub(D delta, std::memory_order order = std::memory_order_seq_cst) {
    BeforeUpdate();
    return value_.fetch_sub(delta, order);
  }
  T fetch_and(T bits, std::memory_order order = std::memory_order_seq_cst) {
    BeforeUpdate();
    return value_.fetch_and(bits, order);
  }
  T fetch_or(T bits, std::memory_order order = std::memory_order_seq_cst) {
    BeforeUpdate();
    return value_.fetch_or(bits, order);
  }
  T operator++() { return fetch_add(1) + 1; }
  T operator--() { return fetch_sub(1) - 1; }
  T operator&=(T bits) { return fetch_and(bits) & bits; }
  T operator|=(T bits) { return fetch_or(bits) | bits; }

 private:
  static void BeforeUpdate() {
    SwitchPoint("update");
    DrainStores();
  }
  static void Apply(void* target, uint64_t bits) {
    static_cast<Atomic*>(target)->value_.store(FromBits(bits), std::memory_order_release);
  }
  static uint64_t ToBits(T value) {
    uint64_t bits = 0;
    std::memcpy(&bits, static_cast<const void*>(&value), kBytes);
    return bits;
  }
  static T FromBits(uint64_t bits) {
    T value;
    std::memcpy(static_cast<void*>(&value), &bits, kBytes);
    return value;
  }

  std::atomic<T> value_{};
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_JOB_TESTING_INSTRUMENTED_SYNC_H_
