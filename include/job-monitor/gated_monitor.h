// SPDX-License-Identifier: Apache-2.0
//
// GatedMonitor: the channel to an object, to which nobody gets without a grant.
//
//   GatedMonitor<QemuMonitor> monitor(gate, channel);
//   absl::StatusOr<MonitorSession<QemuMonitor>> session = monitor.Enter(*grant);   // a NormalGrant or NestedGrant
//   (*session)->Send(…);
//
// A session ends before its grant does (aborts otherwise). The object may die in the middle of one: that is for the
// channel to notice, whose next answer is then an error.

#ifndef JOBCORE_JOB_MONITOR_GATED_MONITOR_H_
#define JOBCORE_JOB_MONITOR_GATED_MONITOR_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "job-monitor/gate_grants.h"
#include "job-monitor/job_gate.h"

namespace jobcore::inline JOBCORE_ABI::gate {

template <typename Channel>
class GatedMonitor;

// Access to the channel, for one at a time. Movable, also to another thread.
template <typename Channel>
class [[nodiscard]] MonitorSession {
 public:
  MonitorSession(MonitorSession&& other) noexcept
      : ticket_(std::exchange(other.ticket_, {})), channel_(other.channel_) {}
  MonitorSession& operator=(MonitorSession&& other) noexcept {
    if (this != &other) {
      Exit();
      ticket_ = std::exchange(other.ticket_, {});
      channel_ = other.channel_;
    }
    return *this;
  }
  ~MonitorSession() { Exit(); }

  void Exit() {
    if (ticket_.gate != nullptr) std::exchange(ticket_, {}).gate->ExitMonitor();
  }
  Channel& operator*() const { return *channel_; }
  Channel* operator->() const { return channel_; }

 private:
  friend class GatedMonitor<Channel>;
  MonitorSession(const detail::Ticket& ticket, Channel& channel) : ticket_(ticket), channel_(&channel) {}
  detail::Ticket ticket_;
  Channel* channel_;
};

template <typename Channel>
class GatedMonitor {
 public:
  // Both outlive it.
  GatedMonitor(JobGate& gate, Channel& channel) : gate_(gate), channel_(channel) {}

  //   Aborted             the object has died since the grant, even if it has come back
  //   FailedPrecondition  the grant is of nothing, or another gate's, or is inside already
  absl::StatusOr<MonitorSession<Channel>> Enter(const MonitorGrant& grant) {
    if (absl::Status refusal = gate_.EnterMonitor(grant); !refusal.ok()) return refusal;
    return MonitorSession<Channel>(JobGate::TicketOf(grant), channel_);
  }
  // The grant has to outlive the session.
  absl::StatusOr<MonitorSession<Channel>> Enter(const MonitorGrant&& grant) = delete;

 private:
  JobGate& gate_;
  Channel& channel_;
};

}  // namespace jobcore::inline JOBCORE_ABI::gate

#endif  // JOBCORE_JOB_MONITOR_GATED_MONITOR_H_
