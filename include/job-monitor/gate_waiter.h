// SPDX-License-Identifier: Apache-2.0
//
// Those who wait at a job gate (job_gate.h): what they may say of themselves, and what co_await is used on.

#ifndef JOBCORE_JOB_MONITOR_GATE_WAITER_H_
#define JOBCORE_JOB_MONITOR_GATE_WAITER_H_

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/sync.h"
#include "job-monitor/gate_grants.h"
#include "job-monitor/job_id.h"
#include "job-monitor/job_kinds.h"
#include "job-monitor/job_phases.h"

namespace jobcore::inline JOBCORE_ABI::gate {

class Consequences;

// Who wants something: for errors that others get, and so that nobody waits for himself.
struct Owner {
  std::string_view api = {};  // what he was asked for, such as the name of the remote call; outlives the grant
  uint64_t task = 0;          // a logical task: coroutines change threads. 0: none, that of nobody else
};

struct AcquireOptions {
  Owner owner{};
  TimePoint deadline = kNoDeadline;  // by the gate's clock; who can be let in at once is, however late
  // For nested jobs usually that of the asynchronous job, but for those on the way back.
  std::stop_token stop{};
  bool nowait = false;       // refused rather than made to wait
  bool may_be_dead = false;  // let in whether the object is live or not: to start it, to clean up after it
  uint64_t incarnation = 0;  // only in this life of the object; 0: whichever it is when the wait begins
};

namespace detail {

// In the order in which they are let in; agent jobs are apart.
enum class Rank : unsigned char { kDestroy, kAbort, kNested, kOther, kAgent };
inline constexpr size_t kRanks = 5;

// The asynchronous job of a gate.
struct AsyncHolder {
  uint64_t serial = 0;
  uint64_t incarnation = 0;
  bool was_live = false;
  JobId id{};
  AsyncKind kind{};
  PhaseNumber phase = 0;
  JobClassSet allowed = kOnlyDestroy;
  std::string api;
  uint64_t task = 0;
  TimePoint since{};
  bool abort_requested = false;
  OwnerLost parked = OwnerLost::kNotParked;
  std::stop_source stop;
};

// What somebody wants.
struct Request {
  Slot slot = Slot::kNormal;
  JobClass job_class = JobClass::kQuery;  // kNormal
  AsyncKind kind{};                       // kAsync
  uint64_t async_serial = 0;              // kNested: whose
  std::unique_ptr<AsyncHolder> async{};   // kAsync: made before, as there is no memory to be had under the mutex
  JobId id{};                             // kAsync: what it has become
  std::stop_token stop{};

  static Request Normal(JobClass job_class) { return {.slot = Slot::kNormal, .job_class = job_class}; }
  static Request Nested(uint64_t async_serial) { return {.slot = Slot::kNested, .async_serial = async_serial}; }
  static Request Agent() { return {.slot = Slot::kAgent}; }
  static Request Async(AsyncKind kind);

  Rank rank() const {
    if (slot == Slot::kAgent) return Rank::kAgent;
    if (slot == Slot::kNested) return Rank::kNested;
    if (slot == Slot::kNormal && job_class == JobClass::kDestroy) return Rank::kDestroy;
    if (slot == Slot::kNormal && job_class == JobClass::kAbort) return Rank::kAbort;
    return Rank::kOther;
  }
};

enum class Answer : unsigned char { kNone, kLetIn, kDeadline, kCancelled, kDied, kJobOver, kRemoved, kQuarantined };

// A std::stop_callback, the end of which controlled threads can wait for: its own destructor blocks where the
// scheduler of the tests does not see it.
class StopWatch {
 public:
  using Function = void (*)(void* who);
  StopWatch(const std::stop_token& token, Function function, void* who)
      : callback_(token, Call{*this, function, who}) {}
  ~StopWatch();

 private:
  struct Call {
    StopWatch& watch;
    Function function;
    void* who;
    void operator()() const noexcept;
  };
  // Not internal::Atomic: nobody is to be stopped between the request to stop and the first of these.
  std::atomic<bool> begun_{false};
  std::atomic<bool> ended_{false};
  std::stop_callback<Call> callback_;
};

// One who waits, or is about to: a coroutine, or a thread. The answer is given under the gate's mutex, once.
class GateWaiter : private WorkItem {
 public:
  GateWaiter(JobGate& gate, Request request, const AcquireOptions& options)
      : WorkItem("job gate", &Resume), gate_(gate), request_(std::move(request)), options_(options) {}
  GateWaiter(const GateWaiter&) = delete;
  GateWaiter& operator=(const GateWaiter&) = delete;

  // A coroutine: true if there is nothing to wait for.
  bool TryNow();
  bool Suspend(CoHandle self);
  // A thread: returns when the answer is there.
  void Block();

  // OK: the ticket is the caller's.
  absl::Status TakeStatus();
  const Ticket& ticket() const { return ticket_; }
  const Request& request() const { return request_; }

 private:
  friend class gate::Consequences;
  friend class gate::JobGate;
  friend class WaiterQueue;

  static void Resume(WorkItem& item, Reason reason);
  static void Cancel(void* who);
  void Post();
  // Home thread: at the deadline, or about then.
  void Expire();
  TimePoint HomeDeadline() const;

  JobGate& gate_;
  Request request_;
  const AcquireOptions& options_;

  // Guarded by the gate's mutex until the answer is there.
  Answer answer_ = Answer::kNone;
  absl::Status refusal_;
  Ticket ticket_;
  GateWaiter* prev_ = nullptr;
  GateWaiter* next_ = nullptr;  // in a queue; then of those who are being told
  int overtaken_ = 0;
  jobcore::internal::CondVar* blocked_ = nullptr;  // a thread's; null: a coroutine

  CoHandle coroutine_;
  std::shared_ptr<AioContext> home_;
  std::optional<AioTimer> timer_;
  std::optional<StopWatch> stop_;
};

// First come, first served.
class WaiterQueue {
 public:
  bool empty() const { return first_ == nullptr; }
  GateWaiter* first() const { return first_; }
  static GateWaiter* After(const GateWaiter& waiter) { return waiter.next_; }
  void Add(GateWaiter& waiter);
  void Remove(GateWaiter& waiter);

 private:
  GateWaiter* first_ = nullptr;
  GateWaiter* last_ = nullptr;
};

// The one way to make a grant.
struct GrantMaker {
  template <typename G>
  static G Make(const Ticket& ticket, const Request& request) {
    if constexpr (std::derived_from<G, AsyncGrant>) {
      AsyncGrant grant(ticket, request.id, request.kind, request.stop);
      if constexpr (std::same_as<G, AsyncGrant>) {
        return grant;
      } else {
        return G(std::move(grant));
      }
    } else {
      return G(ticket);
    }
  }
};

}  // namespace detail

// What JobGate::Await… return, for co_await: an absl::StatusOr<GrantType>.
template <typename GrantType>
class [[nodiscard]] Acquiring : private detail::GateWaiter {
 public:
  Acquiring(JobGate& gate, detail::Request request, const AcquireOptions& options)
      : GateWaiter(gate, std::move(request), options) {}

  bool await_ready() { return TryNow(); }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) {
    return Suspend(CoHandle::Of(self));
  }
  absl::StatusOr<GrantType> await_resume() {
    if (absl::Status refusal = TakeStatus(); !refusal.ok()) return refusal;
    return detail::GrantMaker::Make<GrantType>(ticket(), request());
  }
};

}  // namespace jobcore::inline JOBCORE_ABI::gate

#endif  // JOBCORE_JOB_MONITOR_GATE_WAITER_H_
