// SPDX-License-Identifier: Apache-2.0
//
// Grants: what a job gate (job_gate.h) gives to those whom it lets in. Each is a type of its own, so that what needs
// one says which; each is held by exactly one, and ends with its object.
//
//   NormalGrant     the object's monitor, for a short job
//   NestedGrant     the same, for one step of an asynchronous job
//   AsyncGrant      an asynchronous job of whatever kind; AsyncJob<kKind> one of a kind that is known, with its phases
//   AgentGrant      the channel into the guest
//   RecoveryGrant   everything, before the first of the others (after a restart)
//
// Any thread; movable to another one; its gate must outlive it. Ending a grant, in whatever way, wakes those who are
// let in instead.

#ifndef JOBCORE_JOB_MONITOR_GATE_GRANTS_H_
#define JOBCORE_JOB_MONITOR_GATE_GRANTS_H_

#include <cstdint>
#include <stop_token>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "job-monitor/job_id.h"
#include "job-monitor/job_kinds.h"
#include "job-monitor/job_phases.h"

namespace jobcore::inline JOBCORE_ABI::gate {

class JobGate;

// Where a grant is held: at most one grant in each.
enum class Slot : unsigned char { kNormal, kNested, kAsync, kAgent, kRecovery };

namespace detail {

// What all grants are to the gate. `serial` is of this grant only.
struct Ticket {
  JobGate* gate = nullptr;  // null: of nothing
  Slot slot = Slot::kNormal;
  uint64_t serial = 0;
  uint64_t incarnation = 0;
};
void Return(const Ticket& ticket);
absl::Status WrongKind(AsyncKind is, AsyncKind expected);
absl::Status WrongPhase(AsyncKind kind, PhaseNumber is, PhaseNumber expected);

struct GrantMaker;

class [[nodiscard]] Grant {
 public:
  Grant(Grant&& other) noexcept : ticket_(std::exchange(other.ticket_, {})) {}
  Grant& operator=(Grant&& other) noexcept {
    if (this != &other) {
      End();
      ticket_ = std::exchange(other.ticket_, {});
    }
    return *this;
  }
  ~Grant() { End(); }

  // Lets go, before the end of the scope.
  void End() {
    if (ticket_.gate != nullptr) Return(std::exchange(ticket_, {}));
  }
  explicit operator bool() const { return ticket_.gate != nullptr; }
  // Which life of the object this was granted in; see JobGate::BeginLife.
  uint64_t incarnation() const { return ticket_.incarnation; }

 protected:
  Grant() = default;
  explicit Grant(const Ticket& ticket) : ticket_(ticket) {}
  const Ticket& ticket() const { return ticket_; }
  void Forget() { ticket_ = {}; }

 private:
  friend class gate::JobGate;
  Ticket ticket_;
};

}  // namespace detail

// With one of these, and with nothing else, one gets at the monitor (gated_monitor.h).
class [[nodiscard]] MonitorGrant : public detail::Grant {
 protected:
  using Grant::Grant;
};

class [[nodiscard]] NormalGrant : public MonitorGrant {
 public:
  NormalGrant() = default;  // of nothing

 private:
  friend struct detail::GrantMaker;
  using MonitorGrant::MonitorGrant;
};

class [[nodiscard]] NestedGrant : public MonitorGrant {
 public:
  NestedGrant() = default;

 private:
  friend struct detail::GrantMaker;
  using MonitorGrant::MonitorGrant;
};

class [[nodiscard]] AgentGrant : public detail::Grant {
 public:
  AgentGrant() = default;

 private:
  friend struct detail::GrantMaker;
  using Grant::Grant;
};

class [[nodiscard]] RecoveryGrant : public detail::Grant {
 public:
  RecoveryGrant() = default;

 private:
  friend struct detail::GrantMaker;
  using Grant::Grant;
};

template <AsyncKind kKind>
class AsyncJob;

// An asynchronous job. Whoever holds this is its owner.
class [[nodiscard]] AsyncGrant : public detail::Grant {
 public:
  AsyncGrant() = default;

  JobId id() const { return id_; }
  AsyncKind kind() const { return kind_; }
  // Stop is requested when the job is aborted, and when its object dies. Lives on beyond the job.
  const std::stop_token& stop_token() const { return stop_; }

  // The phase, by number; see AsyncJob for those who know the kind.
  PhaseNumber phase_number() const;
  // What SetPhaseNumber would say, without doing it: for who has to write the phase down first. It can still be
  // refused then, if the job has been aborted meanwhile.
  absl::Status CheckPhaseNumber(PhaseNumber to) const;
  // Enters a phase, and allows beside the job what that one does.
  //   FailedPrecondition  no such edge, of which the message says the names
  //   Cancelled           it has been aborted, and this is not the way back
  //   Aborted             its object has died, and this is not the way back
  absl::Status SetPhaseNumber(PhaseNumber to);

  // Gives up the ownership; the job stays where it is until somebody adopts it (JobGate::Adopt). `policy` is what is to
  // happen if nobody does, which is for others to see to.
  //   FailedPrecondition  in this phase it has to have an owner. Then it still has this one
  absl::Status Park(OwnerLost policy);

  // The same job as one of a kind that is known. FailedPrecondition: it is another one; nothing has changed.
  template <AsyncKind kKind>
  absl::StatusOr<AsyncJob<kKind>> As() &&;

 private:
  friend struct detail::GrantMaker;
  template <AsyncKind kKind>
  friend class AsyncJob;
  AsyncGrant(const detail::Ticket& ticket, JobId id, AsyncKind kind, std::stop_token stop)
      : Grant(ticket), id_(id), kind_(kind), stop_(std::move(stop)) {}

  JobId id_;
  AsyncKind kind_{};
  std::stop_token stop_;
};

template <AsyncKind kKind>
class [[nodiscard]] AsyncJob : public AsyncGrant {
 public:
  using Phase = PhaseOf<kKind>;

  AsyncJob() = default;

  Phase phase() const { return static_cast<Phase>(phase_number()); }

  // From a phase that is known to another one: an edge that is not in the graph does not compile. Otherwise as
  // SetPhase.
  template <Phase kFrom, Phase kTo>
  absl::Status Advance() {
    static_assert(kKindInfo<kKind>.HasEdge(static_cast<PhaseNumber>(kFrom), static_cast<PhaseNumber>(kTo)),
                  "this phase does not lead to that one: see job_phases.h");
    if (const PhaseNumber now = phase_number(); now != static_cast<PhaseNumber>(kFrom)) [[unlikely]] {
      return detail::WrongPhase(kKind, now, static_cast<PhaseNumber>(kFrom));
    }
    return SetPhaseNumber(static_cast<PhaseNumber>(kTo));
  }
  // See SetPhaseNumber.
  absl::Status SetPhase(Phase to) { return SetPhaseNumber(static_cast<PhaseNumber>(to)); }

 private:
  friend class AsyncGrant;
  friend struct detail::GrantMaker;
  explicit AsyncJob(AsyncGrant&& grant) : AsyncGrant(std::move(grant)) {}
};

template <AsyncKind kKind>
absl::StatusOr<AsyncJob<kKind>> AsyncGrant::As() && {
  if (kind_ == kKind) return AsyncJob<kKind>(std::move(*this));
  return detail::WrongKind(kind_, kKind);
}

}  // namespace jobcore::inline JOBCORE_ABI::gate

#endif  // JOBCORE_JOB_MONITOR_GATE_GRANTS_H_
