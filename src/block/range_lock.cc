// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/range_lock.h"

#include <algorithm>
#include <mutex>

#include "aio/check.h"

namespace jobcore::inline JOBCORE_ABI::block {

RangeLock::~RangeLock() {
  if (!claims_.empty()) internal::Die("RangeLock destroyed while somebody holds, or waits for, a part");
}

bool RangeLock::IsFree(size_t before, uint64_t offset, uint64_t end) const {
  return std::none_of(claims_.begin(), claims_.begin() + static_cast<ptrdiff_t>(before),
                      [&](const Claim& other) { return other.offset < end && offset < other.end; });
}

RangeLock::Hold RangeLock::TryAcquire(uint64_t offset, uint64_t length) {
  const std::lock_guard lock(mutex_);
  if (!IsFree(claims_.size(), offset, offset + length)) return Hold();
  claims_.push_back({.number = next_number_, .offset = offset, .end = offset + length, .waiter = nullptr});
  return Hold(*this, next_number_++);
}

bool RangeLock::Acquiring::Wait(CoHandle self) {
  AioContext* const home = AioContext::Current();
  if (home == nullptr) internal::Die("RangeLock: awaited on a thread that is home of no context");
  const std::lock_guard lock(lock_.mutex_);
  const uint64_t number = lock_.next_number_++;
  const uint64_t end = offset_ + length_;
  if (lock_.IsFree(lock_.claims_.size(), offset_, end)) {
    lock_.claims_.push_back({.number = number, .offset = offset_, .end = end, .waiter = nullptr});
    hold_ = Hold(lock_, number);
    return false;
  }
  waiter_ = self;
  context_ = home->shared_from_this();
  waiter_.SuspendIn("a range that another one holds");
  lock_.claims_.push_back({.number = number, .offset = offset_, .end = end, .waiter = this});
  return true;
}

void RangeLock::Release(uint64_t number) {
  Acquiring* next = Grant(number);
  while (next != nullptr) {  // without the mutex: a context that has gone drops them, which releases them again
    // Out of the waiter, which may be gone as soon as it is posted.
    Acquiring& waiter = *std::exchange(next, next->next_);
    const std::shared_ptr<AioContext> context = std::move(waiter.context_);
    context->Post(waiter);
  }
}

RangeLock::Acquiring* RangeLock::Grant(uint64_t number) {
  const std::lock_guard lock(mutex_);
  const auto held =
      std::find_if(claims_.begin(), claims_.end(), [&](const Claim& claim) { return claim.number == number; });
  const Claim released = *held;
  Acquiring* granted = nullptr;
  Acquiring** end = &granted;
  const auto first = static_cast<size_t>(claims_.erase(held) - claims_.begin());
  for (size_t i = first; i < claims_.size(); ++i) {
    Claim& claim = claims_[i];
    const bool was_in_the_way = claim.offset < released.end && released.offset < claim.end;
    if (claim.waiter == nullptr || !was_in_the_way || !IsFree(i, claim.offset, claim.end)) continue;
    Acquiring& waiter = *std::exchange(claim.waiter, nullptr);
    waiter.hold_ = Hold(*this, claim.number);
    *end = &waiter;
    end = &waiter.next_;
  }
  return granted;
}

void RangeLock::Acquiring::Resume(WorkItem& item, Reason reason) {
  Acquiring& self = static_cast<Acquiring&>(item);
  if (reason == Reason::kRun) {
    const CoHandle waiter = self.waiter_;
    waiter.Resume();
  } else {  // its context has gone: it will never run, and others need not wait for it
    Hold hold = std::move(self.hold_);
    hold.End();
  }
}

}  // namespace jobcore::inline JOBCORE_ABI::block
