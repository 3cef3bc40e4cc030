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

#include <atomic>
#include <cstdint>
#include <mutex>

#include "job-common/fwd.h"
#include "job-common/job_mutex.h"

namespace jobcore::inline JOBCORE_ABI {

class WaitDomain {
 public:
  // One who waits. OnKick runs on the kicker's thread with the domain's list locked: it may only wake
  // something up.
  class Waiter {
   public:
    virtual void OnKick() = 0;

   protected:
    ~Waiter() = default;

   private:
    friend class WaitDomain;
    Waiter* prev_ = nullptr;
    Waiter* next_ = nullptr;
  };

  WaitDomain() = default;
  WaitDomain(const WaitDomain&) = delete;
  WaitDomain& operator=(const WaitDomain&) = delete;
  ~WaitDomain();  // aborts if somebody still waits

  // "Something that somebody may be waiting for has changed." Any thread, lock-free when nobody waits; not
  // under job_mutex (it may take a lock and make a system call).
  void Kick() JOBCORE_EXCLUDES(job_mutex);

  // From Add on, every Kick reaches `waiter`; once Remove has returned, none does or will.
  void Add(Waiter& waiter);
  void Remove(Waiter& waiter);

 private:
  std::atomic<uint64_t> epoch_{0};
  std::atomic<uint32_t> waiters_{0};
  std::mutex mutex_;         // leaf; std::mutex is no capability for clang, so a comment says what it guards:
  Waiter* first_ = nullptr;  // guarded by mutex_
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_WAIT_DOMAIN_H_
