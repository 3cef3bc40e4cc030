// SPDX-License-Identifier: Apache-2.0
//
// WaitDomain: where those who wait for a condition register, and where those who change it knock.
//
// Protocol (a Dekker pair, seq_cst on all four accesses; losing it loses wake-ups: ):
//   changer: write the condition;  epoch += 1;      read the number of waiters; kick if any
//   waiter:  number of waiters += 1;  read epoch;   read the condition; sleep if it does not hold
// Changers kick after *every* change, unconditionally.

#ifndef JOBCORE_JOB_COMMON_WAIT_DOMAIN_H_
#define JOBCORE_JOB_COMMON_WAIT_DOMAIN_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {

// Who waits for what: what a waiter says of itself when it registers.
struct WaitDescription {
  enum class Kind : unsigned char {
    kLoop,       // a home thread, which runs its loop meanwhile
    kParked,     // a plain thread
    kCoroutine,  // its loop goes on
  };
  Kind kind = Kind::kParked;
  std::string_view name = {};  // outlives the wait; empty: not a wait of its own, and not listed
  TimePoint since{};           // this and the deadline: by the clock of the context that is waited for
  TimePoint deadline = kNoDeadline;
  bool watched = true;               // see WaitOptions
  int thread = 0;                    // kernel id; 0: not known
  const AioContext* home = nullptr;  // kLoop, kCoroutine: where; outlives the wait
  const CoRoot* chain = nullptr;     // kCoroutine: to be compared, not to be used
  const char* callback = nullptr;    // kCoroutine: what it was started in, if known; lives forever
};

// A copy that is safe to keep.
struct ListedWait {
  uint64_t id = 0;  // of this wait, in its domain; never reused
  WaitDescription::Kind kind{};
  std::string name;
  TimePoint since{};
  TimePoint deadline{};
  bool watched = true;
  int thread = 0;
  std::string home;
  const CoRoot* chain = nullptr;
  const char* callback = nullptr;
};

class WaitDomain {
 public:
  // One who waits. OnKick runs on the kicker's thread with the domain's list locked: it may only wake
  // something up.
  class Waiter {
   public:
    virtual void OnKick() = 0;

   protected:
    // `by_turn`: waits by running the loop that the domain belongs to. A kick makes that take a turn, without looking
    // for anybody in the list, and OnKick is not called.
    explicit Waiter(const WaitDescription& description, bool by_turn = false)
        : description_(description), by_turn_(by_turn) {}
    ~Waiter() = default;

   private:
    friend class WaitDomain;
    const WaitDescription description_;
    const bool by_turn_;
    uint64_t id_ = 0;
    Waiter* prev_ = nullptr;
    Waiter* next_ = nullptr;
  };

  WaitDomain() = default;  // of no loop
  explicit WaitDomain(AioContext& loop) : loop_(&loop) {}
  WaitDomain(const WaitDomain&) = delete;
  WaitDomain& operator=(const WaitDomain&) = delete;
  ~WaitDomain();  // aborts if somebody still waits

  // "Something that somebody may be waiting for has changed." Any thread, lock-free when nobody waits but for
  // who runs the domain's own loop; not under job_mutex (it may take a lock and make a system call).
  void Kick() JOBCORE_EXCLUDES(job_mutex);

  // From Add on, every Kick reaches `waiter`; once Remove has returned, none calls its OnKick.
  void Add(Waiter& waiter);
  void Remove(Waiter& waiter);

  // Everybody who waits now, oldest first. Any thread; delays kicks meanwhile.
  std::vector<ListedWait> List() const JOBCORE_EXCLUDES(job_mutex);

 private:
  internal::Atomic<uint32_t>& CountOf(const Waiter& waiter) { return waiter.by_turn_ ? turn_waiters_ : waiters_; }

  internal::Atomic<uint64_t> epoch_{0};
  internal::Atomic<uint32_t> waiters_{0};       // that are called
  internal::Atomic<uint32_t> turn_waiters_{0};  // that a turn of loop_ is enough for
  AioContext* const loop_ = nullptr;
  mutable internal::Mutex mutex_;  // leaf; std::mutex is no capability for clang, so a comment says what it guards:
  Waiter* first_ = nullptr;        // guarded by mutex_; the newest
  uint64_t next_id_ = 1;           // guarded by mutex_
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_WAIT_DOMAIN_H_
