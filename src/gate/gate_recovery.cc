// SPDX-License-Identifier: Apache-2.0
//
// What recovery does with a gate before it is anybody else's.

#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "gate/consequences.h"
#include "gate/text.h"
#include "job-monitor/job_gate.h"

namespace jobcore::inline JOBCORE_ABI::gate {

absl::StatusOr<RecoveryGrant> JobGate::HoldForRecovery(std::string_view api) {
  const std::scoped_lock lock(mutex_);
  if (queued_ != 0) {
    return absl::FailedPreconditionError(absl::StrCat("'", options_.name, "' cannot be recovered: somebody is in it"));
  }
  ++queued_;
  monitor_ = {.serial = ++last_serial_,
              .slot = Slot::kRecovery,
              .job_class = JobClass::kModify,
              .in_monitor = false,
              .api = api,
              .task = 0,
              .since = clock_.CoarseNow()};
  const detail::Ticket ticket{
      .gate = this, .slot = Slot::kRecovery, .serial = monitor_.serial, .incarnation = incarnation_};
  return detail::GrantMaker::Make<RecoveryGrant>(ticket, {});
}

void JobGate::CheckIsOurs(const RecoveryGrant& recovery) const {
  if (TicketOf(recovery).gate != this) {
    jobcore::internal::Die(absl::StrCat("JobGate '", options_.name, "': recovery with the grant of another one"));
  }
}

absl::StatusOr<AsyncGrant> JobGate::Restore(const RecoveryGrant& recovery, const RestoredJob& job) {
  CheckIsOurs(recovery);
  if (job.phase >= InfoOf(job.kind).phases.size()) return CheckEdge(job.kind, 0, job.phase);
  auto holder = std::make_unique<detail::AsyncHolder>();
  holder->id = job.id;
  holder->kind = job.kind;
  holder->phase = job.phase;
  holder->allowed = job.allowed;
  holder->api = std::string(job.owner.api);
  holder->task = job.owner.task;
  holder->since = job.since;
  holder->abort_requested = job.abort_requested;
  if (job.abort_requested) holder->stop.request_stop();
  const std::scoped_lock lock(mutex_);
  if (async_ != nullptr) {
    return absl::AlreadyExistsError(
        absl::StrCat("'", options_.name, "' has an asynchronous job already: ", ToString(async_->id)));
  }
  ++queued_;
  holder->serial = ++last_serial_;
  holder->incarnation = incarnation_;
  holder->was_live = live_;
  async_ = std::move(holder);
  return GrantOf(*async_);
}

void JobGate::Quarantine(RecoveryGrant recovery, std::string why) {
  CheckIsOurs(recovery);
  {
    Consequences consequences;
    const std::scoped_lock lock(mutex_);
    quarantine_ = why.empty() ? "nobody knows its state" : std::move(why);
    TellAll(
        [](const detail::GateWaiter& w) {
          const detail::Request& request = w.request_;
          return request.slot != Slot::kNormal ||
                 (request.job_class != JobClass::kQuery && request.job_class != JobClass::kDestroy);
        },
        detail::Answer::kQuarantined, consequences);
  }
  recovery.End();
}

void JobGate::ReleaseQuarantine() {
  const std::scoped_lock lock(mutex_);
  quarantine_.clear();
}

}  // namespace jobcore::inline JOBCORE_ABI::gate
