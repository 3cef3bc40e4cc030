// SPDX-License-Identifier: Apache-2.0
//
// JobGate: who may act on an object, such as a virtual machine or a set of images, at a time. Short jobs have it to
// themselves; a long one (migration, backup) leaves room beside itself for those that its phase allows, and gets the
// object to itself for each of its steps.
//
//   plain thread:  absl::StatusOr<NormalGrant> job = gate.Begin(JobClass::kModify, {.owner = {.api = "AttachDevice"}});
//   coroutine:     absl::StatusOr<NormalGrant> job = co_await gate.AwaitBegin(JobClass::kModify, options);
//   a long job:    auto backup = co_await gate.AwaitAsync<AsyncKind::kBackup>(options);
//                  if (absl::Status s = backup->Advance<kNone, kPrepare>(); !s.ok()) …
//                  { auto step = co_await gate.AwaitNested(*backup, options); … }          // one exchange
//
//                      let in if …
//   normal             no normal or nested job, and the asynchronous one, if any, allows the class
//   asynchronous       no asynchronous job, and at this moment no normal one
//   nested             no normal or nested job; only for the asynchronous job that runs
//   agent              no agent job; takes no notice of the others
//   recovery           nothing yet; nobody is let in beside it
//
// Who has to wait is let in by whoever ends the job that was in the way: nobody wakes up to find the place taken. In
// this order: destroy, abort, nested, then as they came. Whoever waits for a job to end, rather than for a phase, is
// overtaken by at most Options::overtake_limit jobs other than destroy.
//
// Destroy is different: it is allowed beside everything, but does not get past what is being done just now. To end that
// is to end what it talks to: see gate_destroy.h.
//
// Lives. An object may die and come back (BeginLife, EndLife). Who waits, or was let in, in one life does not act in
// another one: waiters are told, and grants are no longer valid, which their next step finds out.
//
// Threads: any, but not under job_mutex. The gate's mutex is a leaf: nothing is called, posted, stopped or freed under
// it. Memory: none is allocated for who is let in at once, asynchronous jobs apart.

#ifndef JOBCORE_JOB_MONITOR_JOB_GATE_H_
#define JOBCORE_JOB_MONITOR_JOB_GATE_H_

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"
#include "job-monitor/gate_grants.h"
#include "job-monitor/gate_waiter.h"
#include "job-monitor/job_id.h"
#include "job-monitor/job_kinds.h"
#include "job-monitor/job_phases.h"

namespace jobcore::inline JOBCORE_ABI::gate {

// Who is in the way, or is in. From a gate (Info) or from the error that it has returned (HolderOf).
struct HolderInfo {
  Slot slot = Slot::kNormal;
  std::string api{};
  uint64_t task = 0;
  Nanoseconds held_for{};  // to a tick of the system's clock, see Clock::CoarseNow
  std::string what{};      // the class of a normal job, the kind of an asynchronous one
  JobId job{};             // of asynchronous ones
  std::string phase{};     // of asynchronous ones
};
// What an error of a gate says of who was in the way; nothing if nobody was.
std::optional<HolderInfo> HolderOf(const absl::Status& status);

struct AsyncInfo {
  JobId id;
  AsyncKind kind{};
  PhaseNumber phase = 0;
  JobClassSet allowed = kOnlyDestroy;
  std::string api;
  uint64_t task = 0;
  TimePoint since{};  // by the gate's clock
  bool abort_requested = false;
  OwnerLost parked = OwnerLost::kNotParked;  // anything else: it has no owner
};

struct GateInfo {
  bool live = false;
  uint64_t incarnation = 0;
  bool removed = false;
  std::string quarantine;  // why; empty: it is not
  size_t queued = 0;       // who is in, and who waits
  size_t waiting = 0;
  std::optional<HolderInfo> monitor;  // a normal, nested or recovery job
  std::optional<HolderInfo> agent;
  std::optional<AsyncInfo> async;
};

class DestroyMark;

struct AbortOptions {
  bool postcopy = false;  // also one of which both sides have a part
};

// An asynchronous job that a journal has kept.
struct RestoredJob {
  JobId id;
  AsyncKind kind{};
  PhaseNumber phase = 0;
  JobClassSet allowed = kOnlyDestroy;  // as recorded, which may be more, or less, than this version's phases say
  Owner owner{};
  TimePoint since{};
  bool abort_requested = false;
};

class JobGate {
 public:
  struct Options {
    std::string name = "object";  // in errors
    size_t max_queued = 0;  // in or waiting; destroy, abort, nested and asynchronous jobs are let in beyond. 0: none
    int overtake_limit = 16;
    Clock* clock = nullptr;  // null: Clock::System(). Deadlines are on it. Blocking waits need the system's
  };

  // The object is not live yet.
  explicit JobGate(JobIds& ids) : JobGate(ids, Options()) {}
  JobGate(JobIds& ids, Options options);
  ~JobGate();  // aborts if somebody is in, or waits
  JobGate(const JobGate&) = delete;
  JobGate& operator=(const JobGate&) = delete;

  const std::string& name() const { return options_.name; }
  Clock& clock() const { return clock_; }

  // --- To be let in ---
  //
  //   DeadlineExceeded    at the deadline somebody was still in the way. The message says who, since when, in which
  //   phase;
  //                       HolderOf the error says it to programs
  //   Unavailable         `nowait`, and somebody is in the way
  //   ResourceExhausted   Options::max_queued; who is in the way, too
  //   Cancelled           `stop`
  //   Aborted             the object is not live, or died meanwhile, or is not in the life that was asked for; the
  //                       asynchronous job of a nested one is over
  //   NotFound            the object is being removed
  //   DataLoss            it is quarantined: query and destroy only
  //   FailedPrecondition  it would wait for itself (Owner::task); a nested job of what is not the asynchronous one that
  //                       runs; a migration beside a migration; a blocking call on a home thread
  //
  // Blocking, for plain threads. On the home thread of a context, whose loop would stand still, only with `nowait`.
  absl::StatusOr<NormalGrant> Begin(JobClass job_class, const AcquireOptions& options) JOBCORE_EXCLUDES(job_mutex);
  absl::StatusOr<NestedGrant> BeginNested(const AsyncGrant& job, const AcquireOptions& options)
      JOBCORE_EXCLUDES(job_mutex);
  absl::StatusOr<AgentGrant> BeginAgent(const AcquireOptions& options) JOBCORE_EXCLUDES(job_mutex);
  absl::StatusOr<AsyncGrant> BeginAsync(AsyncKind kind, const AcquireOptions& options) JOBCORE_EXCLUDES(job_mutex);
  template <AsyncKind kKind>
  absl::StatusOr<AsyncJob<kKind>> BeginAsync(const AcquireOptions& options) JOBCORE_EXCLUDES(job_mutex);

  // For co_await, on a home thread, where the coroutine goes on. `options` are a named variable, which lives until
  // then. A coroutine must not be destroyed while it waits here; one whose context has gone before its turn never goes
  // on, and is in nobody's way.
  Acquiring<NormalGrant> AwaitBegin(JobClass job_class, const AcquireOptions& options);
  Acquiring<NestedGrant> AwaitNested(const AsyncGrant& job, const AcquireOptions& options);
  Acquiring<AgentGrant> AwaitAgent(const AcquireOptions& options);
  Acquiring<AsyncGrant> AwaitAsync(AsyncKind kind, const AcquireOptions& options);
  template <AsyncKind kKind>
  Acquiring<AsyncJob<kKind>> AwaitAsync(const AcquireOptions& options);
  void AwaitBegin(JobClass, const AcquireOptions&&) = delete;  // g++-12: no temporaries in a co_await expression
  void AwaitNested(const AsyncGrant&, const AcquireOptions&&) = delete;
  void AwaitAgent(const AcquireOptions&&) = delete;
  void AwaitAsync(AsyncKind, const AcquireOptions&&) = delete;
  template <AsyncKind kKind>
  void AwaitAsync(const AcquireOptions&&) = delete;

  // --- The object ---

  // It lives, for the first time or again. Returns the number of this life, from 1. Aborts the process if it lives.
  uint64_t BeginLife();
  // It has died: all waiters that need it are told, and the asynchronous job is asked to stop. Its owner, and everybody
  // else who is in, leaves by himself. `incarnation`: only that life, if it is not over; 0: the present one. False: it
  // was dead.
  bool EndLife(uint64_t incarnation = 0);
  // It will never be back: all waiters, and everybody who comes, are told NotFound.
  void Remove();
  bool live() const;
  // Somebody has set out to end it (gate_destroy.h), and will report that.
  bool being_destroyed() const;
  // True while the object is in the life in which this was granted.
  bool StillValid(const detail::Grant& grant) const;

  // --- The asynchronous job ---

  // Asks it to stop; it ends when its owner has seen to that. Once this has returned OK it enters no phase but those of
  // the way back. Waits for nobody; can be called by who has no grant.
  //   NotFound            that job is over
  //   FailedPrecondition  none runs (`id` is then that of no job, which means: whichever), or it cannot be aborted in
  //                       this phase
  absl::Status RequestAbort(JobId id, AbortOptions options = {}) JOBCORE_EXCLUDES(job_mutex);
  // Becomes the owner of a parked job, if it is in the phase that the caller thinks it is.
  //   NotFound            that job is over
  //   FailedPrecondition  it has an owner, or is in another phase
  absl::StatusOr<AsyncGrant> Adopt(JobId id, PhaseNumber expected_phase, const Owner& owner)
      JOBCORE_EXCLUDES(job_mutex);
  // Ends a parked job.
  absl::Status Discard(JobId id) JOBCORE_EXCLUDES(job_mutex);

  // --- Recovery: after a restart the gate is held before anybody else knows it ---

  // Nobody is let in until this ends. While it is held nobody is refused because the object is not live: that is not
  // known yet. FailedPrecondition: somebody is in, or waits.
  absl::StatusOr<RecoveryGrant> HoldForRecovery(std::string_view api = "recovery") JOBCORE_EXCLUDES(job_mutex);
  // Puts a job back that the previous process had. Its owner is whom this is returned to.
  //   InvalidArgument  no such phase
  //   AlreadyExists    there is one
  absl::StatusOr<AsyncGrant> Restore(const RecoveryGrant& recovery, const RestoredJob& job) JOBCORE_EXCLUDES(job_mutex);
  // Nobody knows what the object is doing: from now on only query and destroy jobs are let in, until Release.
  void Quarantine(RecoveryGrant recovery, std::string why) JOBCORE_EXCLUDES(job_mutex);
  void ReleaseQuarantine() JOBCORE_EXCLUDES(job_mutex);

  GateInfo Info() const JOBCORE_EXCLUDES(job_mutex);

 private:
  friend class AsyncGrant;
  friend class detail::GateWaiter;
  friend void detail::Return(const detail::Ticket& ticket);
  template <typename Channel>
  friend class MonitorSession;
  template <typename Channel>
  friend class GatedMonitor;
  friend class DestroyMark;

  using Lock = std::unique_lock<jobcore::internal::Mutex>;

  // A normal, nested, agent or recovery job.
  struct Holder {
    uint64_t serial = 0;  // 0: nobody
    Slot slot = Slot::kNormal;
    JobClass job_class = JobClass::kQuery;
    bool in_monitor = false;
    std::string_view api;  // the owner's
    uint64_t task = 0;
    TimePoint since{};
  };
  // Whom it would have to wait for.
  enum class Obstacle { kNone, kAsync, kMonitor, kAgent };

  // --- With the mutex held ---

  bool recovering() const { return monitor_.serial != 0 && monitor_.slot == Slot::kRecovery; }
  Obstacle ObstacleOf(const detail::Request& request) const;
  // True: it is in, and `ticket` says so, or refused. False: it has to wait.
  bool Admit(detail::Request& request, const AcquireOptions& options, detail::Ticket& ticket, absl::Status& refusal);
  absl::Status CheckMayCome(const detail::Request& request, const AcquireOptions& options) const;
  absl::Status CheckMayWait(const detail::Request& request, const AcquireOptions& options, Obstacle obstacle) const;
  void Enter(detail::Request& request, const AcquireOptions& options, detail::Ticket& ticket);
  void Queue(detail::GateWaiter& waiter);
  void Unqueue(detail::GateWaiter& waiter, detail::Answer answer);
  void GiveUp(detail::GateWaiter& waiter);  // at its deadline
  void Tell(detail::GateWaiter& waiter, detail::Answer answer, Consequences& consequences);
  void TellAll(absl::FunctionRef<bool(const detail::GateWaiter&)> whom, detail::Answer answer,
               Consequences& consequences);
  // Lets in all who can be, in order.
  void LetIn(Consequences& consequences);
  detail::GateWaiter* Next();
  detail::GateWaiter* FirstEligible(detail::Rank rank) const;
  void EndAsync(Consequences& consequences);
  absl::Status CheckPhaseOf(const detail::AsyncHolder& job, PhaseNumber to) const;
  AsyncGrant GrantOf(const detail::AsyncHolder& job);
  detail::AsyncHolder& Owned(uint64_t serial) const;
  HolderInfo Describe(const Holder& holder) const;
  HolderInfo Describe(const detail::AsyncHolder& job) const;
  absl::Status Busy(absl::StatusCode code, Obstacle obstacle) const;

  // --- Without it ---

  absl::Status Acquire(detail::Request& request, const AcquireOptions& options, detail::Ticket& ticket);
  template <typename G>
  absl::StatusOr<G> AcquireGrant(detail::Request request, const AcquireOptions& options);
  void Release(const detail::Ticket& ticket);
  static const detail::Ticket& TicketOf(const detail::Grant& grant) { return grant.ticket_; }
  absl::Status EnterMonitor(const MonitorGrant& grant);
  void ExitMonitor();
  PhaseNumber Phase(uint64_t serial) const;
  absl::Status CheckPhase(uint64_t serial, PhaseNumber to) const;
  absl::Status SetPhase(uint64_t serial, PhaseNumber to);
  absl::Status Park(uint64_t serial, OwnerLost policy);
  absl::Status Dead() const;
  absl::Status Cancelled() const;
  absl::Status JobOver() const;
  absl::Status Removed() const;
  absl::Status Quarantined() const;
  void CheckIsOurs(const RecoveryGrant& recovery) const;
  uint64_t SerialHere(const AsyncGrant& job) const;  // 0: of another gate, or of nothing

  JobIds& ids_;
  const Options options_;
  Clock& clock_;

  // A leaf. Guards the rest (std::mutex is no capability for clang).
  mutable jobcore::internal::Mutex mutex_;
  bool live_ = false;
  bool removed_ = false;
  int destroyers_ = 0;
  uint64_t incarnation_ = 0;
  uint64_t last_serial_ = 0;
  size_t queued_ = 0;  // who is in, and who waits
  size_t waiting_ = 0;
  Holder monitor_;
  Holder agent_;
  std::unique_ptr<detail::AsyncHolder> async_;
  std::array<detail::WaiterQueue, detail::kRanks> queues_;
  std::string quarantine_;
};

template <AsyncKind kKind>
absl::StatusOr<AsyncJob<kKind>> JobGate::BeginAsync(const AcquireOptions& options) {
  absl::StatusOr<AsyncGrant> grant = BeginAsync(kKind, options);
  if (!grant.ok()) return grant.status();
  return (*std::move(grant)).template As<kKind>();
}

template <AsyncKind kKind>
Acquiring<AsyncJob<kKind>> JobGate::AwaitAsync(const AcquireOptions& options) {
  return Acquiring<AsyncJob<kKind>>(*this, detail::Request::Async(kKind), options);
}

}  // namespace jobcore::inline JOBCORE_ABI::gate

#endif  // JOBCORE_JOB_MONITOR_JOB_GATE_H_
