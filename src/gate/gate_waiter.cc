// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/gate_waiter.h"

#include <mutex>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/cpu_relax.h"
#include "aio/probe.h"
#include "gate/consequences.h"
#include "gate/text.h"
#include "job-monitor/job_gate.h"

namespace jobcore::inline JOBCORE_ABI::gate::detail {

Request Request::Async(AsyncKind kind) {
  Request request{.slot = Slot::kAsync, .kind = kind};
  request.async = std::make_unique<AsyncHolder>();
  request.async->kind = kind;
  request.async->allowed = InfoOf(kind).phases[0].allowed;
  request.stop = request.async->stop.get_token();
  return request;
}

// --- Being told to stop ---

void StopWatch::Call::operator()() const noexcept {
  watch.begun_ = true;
  function(who);
  watch.ended_ = true;
}

StopWatch::~StopWatch() {
#ifdef JOBCORE_INSTRUMENTED
  while (begun_ && !ended_) jobcore::internal::CpuRelax();
#endif
}

// --- In the queue ---

void WaiterQueue::Add(GateWaiter& waiter) {
  waiter.prev_ = last_;
  waiter.next_ = nullptr;
  (last_ != nullptr ? last_->next_ : first_) = &waiter;
  last_ = &waiter;
}

void WaiterQueue::Remove(GateWaiter& waiter) {
  (waiter.prev_ != nullptr ? waiter.prev_->next_ : first_) = waiter.next_;
  (waiter.next_ != nullptr ? waiter.next_->prev_ : last_) = waiter.prev_;
  waiter.prev_ = waiter.next_ = nullptr;
}

// --- Waiting ---

bool GateWaiter::TryNow() {
  if (request_.async != nullptr) request_.async->api = std::string(options_.owner.api);
  const std::scoped_lock lock(gate_.mutex_);
  return gate_.Admit(request_, options_, ticket_, refusal_);
}

void GateWaiter::Block() {
  jobcore::internal::CondVar wake;
  JobGate::Lock lock(gate_.mutex_);
  if (gate_.Admit(request_, options_, ticket_, refusal_)) {
    jobcore::internal::Reached("gate.free_after_all");
    return;
  }
  blocked_ = &wake;
  gate_.Queue(*this);
  if (options_.stop.stop_possible()) {
    lock.unlock();  // it may be called here and now
    stop_.emplace(options_.stop, &Cancel, this);
    lock.lock();
  }
  const auto answered = [this] { return answer_ != Answer::kNone; };
  if (options_.deadline != kNoDeadline && !wake.wait_until(lock, options_.deadline, answered) &&
      gate_.clock_.Now() >= options_.deadline) {
    gate_.GiveUp(*this);
  }
  // On a clock that is not the system's there are no deadlines for threads.
  wake.wait(lock, answered);
  lock.unlock();
  stop_.reset();  // it may be being called, which takes the mutex
}

bool GateWaiter::Suspend(CoHandle self) {
  AioContext* const home = AioContext::Current();
  if (home == nullptr) jobcore::internal::Die("JobGate: awaited on a thread that is home of no context");
  coroutine_ = self;
  home_ = home->shared_from_this();
  {
    const std::scoped_lock lock(gate_.mutex_);
    if (gate_.Admit(request_, options_, ticket_, refusal_)) return false;
    gate_.Queue(*this);
  }
  // Whatever the answer is, and whenever it comes: it is told by the loop that we are in.
  self.SuspendIn("a job gate");
  if (options_.deadline != kNoDeadline) {
    timer_.emplace(*home, "job gate deadline", [this] { Expire(); });
    timer_->ArmAt(HomeDeadline());
  }
  if (options_.stop.stop_possible()) stop_.emplace(options_.stop, &Cancel, this);
  return true;
}

TimePoint GateWaiter::HomeDeadline() const {
  if (&home_->clock() == &gate_.clock_) return options_.deadline;
  return SaturatingAdd(home_->clock().Now(), options_.deadline - gate_.clock_.Now());
}

void GateWaiter::Expire() {
  if (gate_.clock_.Now() < options_.deadline) {
    timer_->ArmAt(HomeDeadline());
    return;
  }
  Consequences consequences;
  const std::scoped_lock lock(gate_.mutex_);
  if (answer_ != Answer::kNone) return;
  gate_.GiveUp(*this);
  consequences.Tell(*this);
}

void GateWaiter::Cancel(void* who) {
  GateWaiter& self = *static_cast<GateWaiter*>(who);
  Consequences consequences;
  const std::scoped_lock lock(self.gate_.mutex_);
  if (self.answer_ != Answer::kNone) {
    jobcore::internal::Reached("gate.cancelled_too_late");
    return;
  }
  self.gate_.Tell(self, Answer::kCancelled, consequences);
}

// The mutex is free. Somebody may be let in as soon as this has been posted, so nothing of it is touched then.
void GateWaiter::Post() {
  const std::shared_ptr<AioContext> home = std::move(home_);
  home->Post(*this);
}

void GateWaiter::Resume(WorkItem& item, Reason reason) {
  GateWaiter& self = static_cast<GateWaiter&>(item);
  if (reason == Reason::kRun) {
    self.timer_.reset();
    self.stop_.reset();
    const CoHandle coroutine = self.coroutine_;
    coroutine.Resume();
    return;
  }
  // Its context has gone: it will never go on, and others need not wait for it. One that has been cancelled may be in
  // the callback that this would be the end of, which does not come a second time.
  if (self.answer_ != Answer::kCancelled) self.stop_.reset();
  if (self.answer_ == Answer::kLetIn) Return(self.ticket_);
}

absl::Status GateWaiter::TakeStatus() {
  switch (answer_) {
    case Answer::kNone:
    case Answer::kLetIn:
    case Answer::kDeadline:
      return std::move(refusal_);
    case Answer::kCancelled:
      return gate_.Cancelled();
    case Answer::kDied:
      return gate_.Dead();
    case Answer::kJobOver:
      return gate_.JobOver();
    case Answer::kRemoved:
      return gate_.Removed();
    case Answer::kQuarantined:
      return gate_.Quarantined();
  }
  jobcore::internal::Die("JobGate: an answer that there is not");
}

}  // namespace jobcore::inline JOBCORE_ABI::gate::detail
