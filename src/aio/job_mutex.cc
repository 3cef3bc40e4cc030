// SPDX-License-Identifier: Apache-2.0

#include "job-common/job_mutex.h"

#include <execinfo.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/cpu_relax.h"
#include "aio/mutex_profile.h"
#include "job-common/sched_point.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

// Long enough for a page of a query to end (10 us where a pause takes 10 ns), shorter than to be put to sleep and
// woken.
#ifdef JOBCORE_INSTRUMENTED
constexpr int kSpins = 2;  // so that tests get to the gate
#else
constexpr int kSpins = 1000;
#endif

constinit thread_local const JobMutex* held = nullptr;
constinit thread_local int thread_id = 0;  // 0: not asked for yet

template <typename TryLock>
bool SpinFor(TryLock try_lock) {
  for (int i = 0; i < kSpins; ++i) {
    if (try_lock()) return true;
    internal::CpuRelax();
  }
  return false;
}

void AssertHoldsNone(const JobMutex* mutex) {
  if (held != nullptr) [[unlikely]] {
    internal::Die(held == mutex ? "JobMutex::Lock: job_mutex is not recursive, and this thread holds it"
                                : "JobMutex::Lock: this thread holds the job_mutex of another JobCore");
  }
}

}  // namespace

JobMutex::JobMutex() = default;
JobMutex::~JobMutex() = default;

inline void JobMutex::Locked() {
  held = this;
  if (thread_id == 0) [[unlikely]]
    thread_id = gettid();
  owner_.store(thread_id, std::memory_order_relaxed);
  if (unusual_.load(std::memory_order_relaxed) != 0) [[unlikely]]
    LockedUnusually();
}

void JobMutex::LockedUnusually() {
  if ((unusual_.load(std::memory_order_relaxed) & kRetired) != 0) {
    internal::Die("JobMutex::Lock: its JobCore is being destroyed");
  }
  const bool measured = profile_->acquisitions++ % internal::MutexProfile::kSampledHolds == 0;
  if (measured) profile_->held_since = Clock::System().Now();
}

void JobMutex::UnlockingUnusually() {
  if (profile_ == nullptr || !profile_->held_since.has_value()) return;
  const Nanoseconds held_for = Clock::System().Now() - *std::exchange(profile_->held_since, std::nullopt);
  if (!profile_->holds.Add(held_for)) return;
  profile_->longest_hold = {};
  (void)backtrace(profile_->longest_hold.data(), static_cast<int>(profile_->longest_hold.size()));
}

void JobMutex::SwapProfile(std::unique_ptr<internal::MutexProfile>& profile) {
  AssertHeld("JobMutex::SwapProfile");
  profile_.swap(profile);
  if (profile_ != nullptr) {
    unusual_.fetch_or(kProfiled, std::memory_order_relaxed);
  } else {
    unusual_.fetch_and(~kProfiled, std::memory_order_relaxed);
  }
}

void JobMutex::Lock() {
  AssertHoldsNone(this);
  // Relaxed is enough for waiters_: it only decides who goes first.
  if (waiters_.load(std::memory_order_relaxed) != 0 || !mutex_.try_lock()) [[unlikely]] {
    LockSlow();
  }
  Locked();
}

bool JobMutex::TryLockFor(Nanoseconds limit) {
  AssertHoldsNone(this);
  const TimePoint end = SaturatingAdd(Clock::System().Now(), limit);
  Nanoseconds pause = std::chrono::microseconds(1);
  while (!mutex_.try_lock()) {
    const TimePoint now = Clock::System().Now();
    if (now >= end) return false;
    std::this_thread::sleep_for(std::min(pause, end - now));
    pause = std::min<Nanoseconds>(2 * pause, std::chrono::milliseconds(1));
  }
  Locked();
  return true;
}

// Who waits says so first: from then on those who come line up at the gate, so that a holder that releases the mutex
// only to take it again does not overtake it. One at a time passes the gate and competes for the mutex.
void JobMutex::LockSlow() {
  const bool measured = (unusual_.load(std::memory_order_relaxed) & kProfiled) != 0;
  const TimePoint since = measured ? Clock::System().Now() : TimePoint();
  waiters_.fetch_add(1, std::memory_order_relaxed);
  SchedPoint("job_mutex.waiting");
  gate_.lock();  // at once: who spun here would overtake those who sleep here
  // Looks first: an attempt takes the cache line away from the holder, even if it fails.
  if (!SpinFor([this] { return owner() == 0 && mutex_.try_lock(); })) mutex_.lock();
  gate_.unlock();
  waiters_.fetch_sub(1, std::memory_order_relaxed);
  if (measured && profile_ != nullptr) profile_->waits.Add(Clock::System().Now() - since);
}

void JobMutex::Unlock() {
  AssertHeld("JobMutex::Unlock");
  if (unusual_.load(std::memory_order_relaxed) != 0) [[unlikely]]
    UnlockingUnusually();
  held = nullptr;
  owner_.store(0, std::memory_order_relaxed);
  mutex_.unlock();
}

bool JobMutex::HeldByThisThread() const { return held == this; }

void JobMutex::DieNotHeld(const char* caller) const {
  internal::Die(absl::StrCat(caller, held == nullptr ? ": job_mutex is not held by this thread"
                                                     : ": this thread holds the job_mutex of another JobCore"));
}

namespace internal {

const JobMutex* HeldJobMutex() { return held; }

void AssertNoJobMutexHeld(const char* where, const char* what) {
  if (held != nullptr) [[unlikely]] {
    Die(absl::StrCat("job_mutex is held where it must not be: ", where, ": ", what));
  }
}

}  // namespace internal
}  // namespace jobcore::inline JOBCORE_ABI
