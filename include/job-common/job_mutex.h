// SPDX-License-Identifier: Apache-2.0
//
// job_mutex: the one mutex of a JobCore, and the proof of who holds it.
//
//   JobLock lock(core);            // held to the end of the scope
//   JobUnlock gap(lock);           // a visible hole in that scope: trust nothing read before it
//
// Rules (docs/locking.md): short, non-recursive, a leaf (nothing is acquired under it), and no foreign code
// runs under it. Every JobCore has its own; a thread holds at most one at a time.
//
// Proof. `job_mutex` below is one *capability* that clang's -Wthread-safety follows; it is named in
// annotations and never defined. The real mutex is a member of the core, so which core's mutex is held is
// checked at run time, by every monitor-facing entry point.

#ifndef JOBCORE_JOB_COMMON_JOB_MUTEX_H_
#define JOBCORE_JOB_COMMON_JOB_MUTEX_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/sync.h"

// A function that takes job_mutex itself. Users' builds see LOCKS_EXCLUDED; when the library itself is built
// with -Wthread-safety-negative, the stronger "provably not held" is checked through all callers.
#ifdef JOBCORE_THREAD_SAFETY_NEGATIVE
#define JOBCORE_EXCLUDES(capability) ABSL_EXCLUSIVE_LOCKS_REQUIRED(!capability)
#else
#define JOBCORE_EXCLUDES(capability) ABSL_LOCKS_EXCLUDED(capability)
#endif

// A scope that releases a lock and takes it again. Abseil's ABSL_UNLOCK_FUNCTION on a constructor makes clang
// believe that the lock stays released for good.
#if defined(__clang__)
#define JOBCORE_RELEASE(capability) __attribute__((release_capability(capability)))
#else
#define JOBCORE_RELEASE(capability)
#endif

namespace jobcore::inline JOBCORE_ABI {

namespace internal {
struct MutexProfile;
}

class ABSL_LOCKABLE JobMutexCapability {
 public:
  // The negative capability; clang wants it declared, nobody calls it.
  const JobMutexCapability& operator!() const;
};
extern const JobMutexCapability job_mutex;  // never defined: exists in annotations only

// A mutex that is fast when nobody waits and fair when somebody does: a counter of waiters sends late comers
// to the back of a gate, so a thread that loops {lock, unlock} cannot starve the others (a plain std::mutex
// lets it: bench/fair_mutex_bench.cc). Built on std::mutex so that TSan sees it.
//
// Use it through JobLock; only the core owns one.
class alignas(64) JobMutex {  // what an uncontended Lock and Unlock touch is one cache line, and nobody else's
 public:
  JobMutex();
  ~JobMutex();
  JobMutex(const JobMutex&) = delete;
  JobMutex& operator=(const JobMutex&) = delete;

  // Aborts if this thread already holds any JobMutex.
  void Lock() ABSL_NO_THREAD_SAFETY_ANALYSIS;    // the capability is acquired by JobLock
  void Unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS;  // … and released by it
  // For diagnostics that must not hang with what they diagnose: gives up after `limit` (of real time). Takes no
  // turn in the queue.
  [[nodiscard]] bool TryLockFor(Nanoseconds limit) ABSL_NO_THREAD_SAFETY_ANALYSIS;  // … or by JobOps::TryLocked
  // The kernel's id of the thread that holds it at this moment; 0: none. Any thread.
  int owner() const { return owner_.load(std::memory_order_relaxed); }

  // True if the calling thread holds this mutex.
  bool HeldByThisThread() const;
  // Aborts, naming `caller`, unless the calling thread holds this very mutex (not that of another core).
  void AssertHeld(const char* caller) const {
    if (!HeldByThisThread()) [[unlikely]]
      DieNotHeld(caller);
  }
  // From now on Lock() aborts: the owner is being destroyed while somebody still uses it.
  void Retire() { unusual_.fetch_or(kRetired, std::memory_order_relaxed); }

  // For job-monitor/contention.h, with this mutex held: what it counts from now on, in exchange for what it has
  // counted. Null: nothing.
  void SwapProfile(std::unique_ptr<internal::MutexProfile>& profile);
  const internal::MutexProfile* profile() const { return profile_.get(); }

 private:
  [[noreturn]] void DieNotHeld(const char* caller) const;
  void LockSlow();
  void Locked();
  void LockedUnusually();
  void UnlockingUnusually();

  internal::Mutex mutex_;
  std::atomic<int> owner_{0};
  internal::Atomic<int> waiters_{0};
  // All that Lock and Unlock look at besides, in one word. Bits are set and cleared with the mutex held.
  static constexpr unsigned kRetired = 1;
  static constexpr unsigned kProfiled = 2;
  std::atomic<unsigned> unusual_{0};
  std::unique_ptr<internal::MutexProfile> profile_;  // guarded by mutex_; there is one: kProfiled
  alignas(64) internal::Mutex gate_;
};

namespace internal {
// The job mutex held by the calling thread, or null. Below the event loop, so that the loop can check it.
const JobMutex* HeldJobMutex();
// Aborts, naming `where` and `what`, if the calling thread holds a job mutex.
void AssertNoJobMutexHeld(const char* where, const char* what);
}  // namespace internal

// Holds the mutex of `core` for a scope. Release publishes: events recorded in the scope reach their
// observers, work reaches its contexts, and waiters are kicked, after the mutex is free and once per scope.
// Not movable, not for coroutines: a JobLock across a co_await that suspends aborts.
class ABSL_SCOPED_LOCKABLE [[nodiscard]] JobLock {
 public:
  explicit JobLock(JobCore& core) ABSL_EXCLUSIVE_LOCK_FUNCTION(job_mutex);
  ~JobLock() ABSL_UNLOCK_FUNCTION();
  JobLock(const JobLock&) = delete;
  JobLock& operator=(const JobLock&) = delete;

  JobCore& core() const { return core_; }

 private:
  JobCore& core_;
};

// A gap in `lock`: releases the mutex for a scope and takes it again at its end. Whatever was read before the
// gap must be looked at again after it; hold a JobRef to what must survive it.
class ABSL_SCOPED_LOCKABLE [[nodiscard]] JobUnlock {
 public:
  explicit JobUnlock(JobLock& lock) JOBCORE_RELEASE(job_mutex);
  ~JobUnlock() ABSL_UNLOCK_FUNCTION();
  JobUnlock(const JobUnlock&) = delete;
  JobUnlock& operator=(const JobUnlock&) = delete;

 private:
  JobCore& core_;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_MUTEX_H_
