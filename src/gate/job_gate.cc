// SPDX-License-Identifier: Apache-2.0
//
// Who is let in, and when.

#include "job-monitor/job_gate.h"

#include <mutex>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/probe.h"
#include "gate/consequences.h"
#include "gate/text.h"

namespace jobcore::inline JOBCORE_ABI::gate {

using detail::Answer;
using detail::GateWaiter;
using detail::Rank;
using detail::Request;
using detail::Ticket;
using jobcore::internal::Reached;

JobGate::JobGate(JobIds& ids, Options options)
    : ids_(ids), options_(std::move(options)), clock_(options_.clock != nullptr ? *options_.clock : Clock::System()) {}

JobGate::~JobGate() {
  const std::scoped_lock lock(mutex_);  // of who has just told us that he is out
  if (queued_ != 0) jobcore::internal::Die(absl::StrCat("JobGate '", options_.name, "' ends while somebody is in it"));
}

// --- Admission: with the mutex held ---

JobGate::Obstacle JobGate::ObstacleOf(const Request& request) const {
  if (recovering()) return Obstacle::kMonitor;
  switch (request.slot) {
    case Slot::kAgent:
      return agent_.serial != 0 ? Obstacle::kAgent : Obstacle::kNone;
    case Slot::kAsync:
      if (async_ != nullptr) return Obstacle::kAsync;
      break;
    case Slot::kNormal:
      if (async_ != nullptr && !async_->allowed.Contains(request.job_class)) return Obstacle::kAsync;
      break;
    case Slot::kNested:
    case Slot::kRecovery:
      break;
  }
  return monitor_.serial != 0 ? Obstacle::kMonitor : Obstacle::kNone;
}

bool JobGate::Admit(Request& request, const AcquireOptions& options, Ticket& ticket, absl::Status& refusal) {
  refusal = CheckMayCome(request, options);
  if (!refusal.ok()) return true;
  const Obstacle obstacle = ObstacleOf(request);
  if (options_.max_queued != 0 && queued_ >= options_.max_queued && request.slot != Slot::kAsync &&
      (request.rank() == Rank::kOther || request.rank() == Rank::kAgent)) {
    refusal = Busy(absl::StatusCode::kResourceExhausted, obstacle);
    return true;
  }
  if (obstacle == Obstacle::kNone) {
    ++queued_;
    Enter(request, options, ticket);
    return true;
  }
  refusal = CheckMayWait(request, options, obstacle);
  return !refusal.ok();
}

// Whether it has come to the right gate at a time when there is one.
absl::Status JobGate::CheckMayCome(const Request& request, const AcquireOptions& options) const {
  if (options.stop.stop_requested()) return Cancelled();
  if (removed_) return Removed();
  if (!quarantine_.empty()) {
    const bool allowed = request.slot == Slot::kNormal &&
                         (request.job_class == JobClass::kQuery || request.job_class == JobClass::kDestroy);
    return allowed ? absl::OkStatus() : Quarantined();
  }
  if (!live_ && !recovering() && !options.may_be_dead) return Dead();
  if (options.incarnation != 0 && (!live_ || options.incarnation != incarnation_)) return Dead();
  if (request.slot == Slot::kNested && (async_ == nullptr || async_->serial != request.async_serial)) {
    return absl::FailedPreconditionError(
        async_ == nullptr ? "unexpected nested job: no asynchronous job is running"
                          : absl::StrCat("unexpected nested job: asynchronous job ", ToString(async_->id), ", '",
                                         View(ToString(async_->kind)), "' by ", async_->api,
                                         ", is running, and not that of the grant"));
  }
  if (request.slot == Slot::kAsync && async_ != nullptr && InfoOf(request.kind).refused_beside_itself &&
      InfoOf(async_->kind).refused_beside_itself) {
    return absl::FailedPreconditionError(
        absl::StrCat("another migration job is already running for '", options_.name, "'"));
  }
  return absl::OkStatus();
}

absl::Status JobGate::CheckMayWait(const Request& request, const AcquireOptions& options, Obstacle obstacle) const {
  if (const uint64_t task = options.owner.task; task != 0) {
    const bool by_async = obstacle == Obstacle::kAsync && async_->task == task;
    const bool by_monitor = request.slot != Slot::kAgent && monitor_.serial != 0 && monitor_.task == task;
    const bool by_agent = obstacle == Obstacle::kAgent && agent_.task == task;
    if (by_async || by_monitor || by_agent) {
      const HolderInfo holder = by_async ? Describe(*async_) : Describe(by_monitor ? monitor_ : agent_);
      return absl::FailedPreconditionError(
          absl::StrCat("task ", task, " would wait for itself: it is '", holder.what, "' by ", holder.api));
    }
  }
  if (options.nowait) return Busy(absl::StatusCode::kUnavailable, obstacle);
  if (options.deadline != kNoDeadline && options.deadline <= clock_.Now()) {
    return Busy(absl::StatusCode::kDeadlineExceeded, obstacle);
  }
  return absl::OkStatus();
}

void JobGate::Enter(Request& request, const AcquireOptions& options, Ticket& ticket) {
  ticket = {.gate = this, .slot = request.slot, .serial = ++last_serial_, .incarnation = incarnation_};
  if (request.slot == Slot::kAsync) {
    async_ = std::move(request.async);
    async_->serial = ticket.serial;
    async_->incarnation = incarnation_;
    async_->was_live = live_;
    async_->id = request.id = ids_.Next();
    async_->task = options.owner.task;
    async_->since = clock_.CoarseNow();
    return;
  }
  Holder& holder = request.slot == Slot::kAgent ? agent_ : monitor_;
  holder = {.serial = ticket.serial,
            .slot = request.slot,
            .job_class = request.job_class,
            .in_monitor = false,
            .api = options.owner.api,
            .task = options.owner.task,
            .since = clock_.CoarseNow()};
}

// --- The queue: with the mutex held ---

void JobGate::Queue(GateWaiter& waiter) {
  queues_[static_cast<size_t>(waiter.request_.rank())].Add(waiter);
  ++queued_;
  ++waiting_;
}

void JobGate::Unqueue(GateWaiter& waiter, Answer answer) {
  queues_[static_cast<size_t>(waiter.request_.rank())].Remove(waiter);
  --waiting_;
  if (answer != Answer::kLetIn) --queued_;  // otherwise it still is one
  waiter.answer_ = answer;
}

void JobGate::GiveUp(GateWaiter& waiter) {
  waiter.refusal_ = Busy(absl::StatusCode::kDeadlineExceeded, ObstacleOf(waiter.request_));
  Unqueue(waiter, Answer::kDeadline);
}

void JobGate::Tell(GateWaiter& waiter, Answer answer, Consequences& consequences) {
  Unqueue(waiter, answer);
  if (waiter.blocked_ != nullptr) {
    waiter.blocked_->notify_one();  // here, as it may be gone as soon as the mutex is free
  } else {
    consequences.Tell(waiter);
  }
}

void JobGate::TellAll(absl::FunctionRef<bool(const GateWaiter&)> whom, Answer answer, Consequences& consequences) {
  for (const detail::WaiterQueue& queue : queues_) {
    for (GateWaiter* waiter = queue.first(); waiter != nullptr;) {
      GateWaiter* const next = detail::WaiterQueue::After(*waiter);
      if (whom(*waiter)) Tell(*waiter, answer, consequences);
      waiter = next;
    }
  }
}

void JobGate::LetIn(Consequences& consequences) {
  if (waiting_ == 0) return;
  while (GateWaiter* const waiter = Next()) {
    Enter(waiter->request_, waiter->options_, waiter->ticket_);
    Tell(*waiter, Answer::kLetIn, consequences);
  }
}

GateWaiter* JobGate::FirstEligible(Rank rank) const {
  GateWaiter* waiter = queues_[static_cast<size_t>(rank)].first();
  while (waiter != nullptr && ObstacleOf(waiter->request_) != Obstacle::kNone) {
    waiter = detail::WaiterQueue::After(*waiter);
  }
  return waiter;
}

// Who is to be let in next; null: nobody can be.
GateWaiter* JobGate::Next() {
  if (GateWaiter* const agent = FirstEligible(Rank::kAgent)) return agent;
  if (monitor_.serial != 0) return nullptr;
  if (GateWaiter* const destroy = FirstEligible(Rank::kDestroy)) return destroy;
  const std::array<GateWaiter*, 3> first = {FirstEligible(Rank::kAbort), FirstEligible(Rank::kNested),
                                            FirstEligible(Rank::kOther)};
  GateWaiter* chosen = nullptr;
  for (GateWaiter* const waiter : first) {
    if (waiter == nullptr) continue;
    if (chosen == nullptr) {
      chosen = waiter;
    } else if (waiter->overtaken_ >= options_.overtake_limit && waiter->overtaken_ > chosen->overtaken_) {
      Reached("gate.overtaken_enough");
      chosen = waiter;
    }
  }
  if (chosen == nullptr || chosen->request_.slot == Slot::kAsync) return chosen;  // the latter is in nobody's way yet
  for (GateWaiter* const waiter : first) {
    if (waiter != nullptr && waiter->request_.rank() > chosen->request_.rank()) ++waiter->overtaken_;
  }
  return chosen;
}

// --- Being let in, and out ---

absl::Status JobGate::Acquire(Request& request, const AcquireOptions& options, Ticket& ticket) {
  if (!options.nowait && AioContext::Current() != nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("JobGate '", options_.name, "': the home thread of context '",
                                                      AioContext::Current()->name(),
                                                      "' cannot block: co_await what begins with Await, or nowait"));
  }
  if (request.async != nullptr) request.async->api = std::string(options.owner.api);
  {
    absl::Status refusal;
    const std::scoped_lock lock(mutex_);
    if (Admit(request, options, ticket, refusal)) return refusal;
  }
  jobcore::internal::AssertNoJobMutexHeld("JobGate", "Begin");
  GateWaiter waiter(*this, std::move(request), options);
  waiter.Block();
  request = std::move(waiter.request_);
  ticket = waiter.ticket_;
  return waiter.TakeStatus();
}

template <typename G>
absl::StatusOr<G> JobGate::AcquireGrant(Request request, const AcquireOptions& options) {
  Ticket ticket;
  if (absl::Status refusal = Acquire(request, options, ticket); !refusal.ok()) return refusal;
  return detail::GrantMaker::Make<G>(ticket, request);
}

absl::StatusOr<NormalGrant> JobGate::Begin(JobClass job_class, const AcquireOptions& options) {
  return AcquireGrant<NormalGrant>(Request::Normal(job_class), options);
}
absl::StatusOr<NestedGrant> JobGate::BeginNested(const AsyncGrant& job, const AcquireOptions& options) {
  return AcquireGrant<NestedGrant>(Request::Nested(SerialHere(job)), options);
}
absl::StatusOr<AgentGrant> JobGate::BeginAgent(const AcquireOptions& options) {
  return AcquireGrant<AgentGrant>(Request::Agent(), options);
}
absl::StatusOr<AsyncGrant> JobGate::BeginAsync(AsyncKind kind, const AcquireOptions& options) {
  return AcquireGrant<AsyncGrant>(Request::Async(kind), options);
}

Acquiring<NormalGrant> JobGate::AwaitBegin(JobClass job_class, const AcquireOptions& options) {
  return Acquiring<NormalGrant>(*this, Request::Normal(job_class), options);
}
Acquiring<NestedGrant> JobGate::AwaitNested(const AsyncGrant& job, const AcquireOptions& options) {
  return Acquiring<NestedGrant>(*this, Request::Nested(SerialHere(job)), options);
}
Acquiring<AgentGrant> JobGate::AwaitAgent(const AcquireOptions& options) {
  return Acquiring<AgentGrant>(*this, Request::Agent(), options);
}
Acquiring<AsyncGrant> JobGate::AwaitAsync(AsyncKind kind, const AcquireOptions& options) {
  return Acquiring<AsyncGrant>(*this, Request::Async(kind), options);
}

void JobGate::Release(const Ticket& ticket) {
  Consequences consequences;
  const std::scoped_lock lock(mutex_);
  switch (ticket.slot) {
    case Slot::kAsync:
      EndAsync(consequences);
      break;
    case Slot::kAgent:
      agent_.serial = 0;
      --queued_;
      break;
    case Slot::kRecovery:
      monitor_.serial = 0;
      --queued_;
      if (!live_ && quarantine_.empty()) {
        TellAll([](const GateWaiter& w) { return !w.options_.may_be_dead; }, Answer::kDied, consequences);
      }
      break;
    case Slot::kNormal:
    case Slot::kNested:
      if (monitor_.in_monitor) {
        jobcore::internal::Die(absl::StrCat("JobGate '", options_.name, "': a grant ends before its monitor session"));
      }
      monitor_.serial = 0;
      --queued_;
      break;
  }
  LetIn(consequences);
}

void JobGate::EndAsync(Consequences& consequences) {
  if (monitor_.serial != 0 && monitor_.slot == Slot::kNested) {
    jobcore::internal::Die(absl::StrCat("JobGate '", options_.name, "': an asynchronous job ends in a nested one"));
  }
  consequences.Free(std::move(async_));
  --queued_;
  TellAll([](const GateWaiter& w) { return w.request_.slot == Slot::kNested; }, Answer::kJobOver, consequences);
}

absl::Status JobGate::EnterMonitor(const MonitorGrant& grant) {
  const Ticket& ticket = TicketOf(grant);
  if (ticket.gate != this) {
    return absl::FailedPreconditionError(absl::StrCat("this is no grant of '", options_.name, "'"));
  }
  const std::scoped_lock lock(mutex_);
  if (!live_ || ticket.incarnation != incarnation_) return Dead();
  if (monitor_.in_monitor) return absl::FailedPreconditionError("the holder of the grant is in the monitor already");
  monitor_.in_monitor = true;
  return absl::OkStatus();
}

void JobGate::ExitMonitor() {
  const std::scoped_lock lock(mutex_);
  monitor_.in_monitor = false;
}

uint64_t JobGate::SerialHere(const AsyncGrant& job) const {
  return TicketOf(job).gate == this ? TicketOf(job).serial : 0;
}

// --- The object ---

uint64_t JobGate::BeginLife() {
  const std::scoped_lock lock(mutex_);
  if (live_) jobcore::internal::Die(absl::StrCat("JobGate '", options_.name, "': a life begins in another one"));
  live_ = true;
  return ++incarnation_;
}

bool JobGate::EndLife(uint64_t incarnation) {
  Consequences consequences;
  const std::scoped_lock lock(mutex_);
  if (!live_ || (incarnation != 0 && incarnation != incarnation_)) return false;
  live_ = false;
  const bool known = !recovering();  // otherwise it is for recovery to say
  TellAll([&](const GateWaiter& w) { return w.options_.incarnation != 0 || (known && !w.options_.may_be_dead); },
          Answer::kDied, consequences);
  if (async_ != nullptr) consequences.RequestStop(*async_);
  return true;
}

void JobGate::Remove() {
  Consequences consequences;
  const std::scoped_lock lock(mutex_);
  removed_ = true;
  TellAll([](const GateWaiter&) { return true; }, Answer::kRemoved, consequences);
}

bool JobGate::live() const {
  const std::scoped_lock lock(mutex_);
  return live_;
}

bool JobGate::being_destroyed() const {
  const std::scoped_lock lock(mutex_);
  return destroyers_ != 0;
}

bool JobGate::StillValid(const detail::Grant& grant) const {
  const std::scoped_lock lock(mutex_);
  return TicketOf(grant).gate == this && live_ && TicketOf(grant).incarnation == incarnation_;
}

}  // namespace jobcore::inline JOBCORE_ABI::gate
