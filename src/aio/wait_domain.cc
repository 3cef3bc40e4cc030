// SPDX-License-Identifier: Apache-2.0

#include "job-common/wait_domain.h"

#include <algorithm>

#include "aio/check.h"
#include "job-common/aio_context.h"
#include "job-common/sched_point.h"

namespace jobcore::inline JOBCORE_ABI {

WaitDomain::~WaitDomain() {
  if (first_ != nullptr) internal::Die("WaitDomain: destroyed while somebody waits in it");
}

void WaitDomain::Kick() {
  internal::AssertNoJobMutexHeld("WaitDomain", "Kick");
  SchedPoint("wait_domain.kick.changed");
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  SchedPoint("wait_domain.kick.epoch");
  if (waiters_.load(std::memory_order_seq_cst) != 0) {
    const std::scoped_lock lock(mutex_);
    for (Waiter* waiter = first_; waiter != nullptr; waiter = waiter->next_) {
      if (!waiter->by_turn_) waiter->OnKick();
    }
  }
  if (turn_waiters_.load(std::memory_order_seq_cst) != 0) loop_->Notify();
}

void WaitDomain::Add(Waiter& waiter) {
  {
    const std::scoped_lock lock(mutex_);
    waiter.id_ = next_id_++;
    waiter.prev_ = nullptr;
    waiter.next_ = first_;
    if (first_ != nullptr) first_->prev_ = &waiter;
    first_ = &waiter;
  }
  CountOf(waiter).fetch_add(1, std::memory_order_seq_cst);
  SchedPoint("wait_domain.add.counted");
  // Either this reads the epoch of a kick, and with it what the kicker changed before; or the kicker reads
  // our number and finds us in the list.
  (void)epoch_.load(std::memory_order_seq_cst);
}

void WaitDomain::Remove(Waiter& waiter) {
  const std::scoped_lock lock(mutex_);
  (waiter.prev_ != nullptr ? waiter.prev_->next_ : first_) = waiter.next_;
  if (waiter.next_ != nullptr) waiter.next_->prev_ = waiter.prev_;
  CountOf(waiter).fetch_sub(1, std::memory_order_seq_cst);
}

std::vector<ListedWait> WaitDomain::List() const {
  internal::AssertNoJobMutexHeld("WaitDomain", "List");
  std::vector<ListedWait> list;
  {
    const std::scoped_lock lock(mutex_);
    for (const Waiter* waiter = first_; waiter != nullptr; waiter = waiter->next_) {
      const WaitDescription& d = waiter->description_;
      if (d.name.empty()) continue;
      list.push_back({.id = waiter->id_,
                      .kind = d.kind,
                      .name = std::string(d.name),
                      .since = d.since,
                      .deadline = d.deadline,
                      .watched = d.watched,
                      .thread = d.thread,
                      .home = d.home != nullptr ? d.home->name() : std::string(),
                      .chain = d.chain,
                      .callback = d.callback});
    }
  }
  std::reverse(list.begin(), list.end());
  return list;
}

}  // namespace jobcore::inline JOBCORE_ABI
