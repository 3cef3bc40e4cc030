// SPDX-License-Identifier: Apache-2.0

#include "job-journal/gate_recovery.h"

#include <utility>

#include "absl/status/status.h"

namespace jobcore::inline JOBCORE_ABI::journal {

absl::StatusOr<std::optional<gate::AsyncGrant>> SettleGate(gate::JobGate& gate, gate::RecoveryGrant recovery,
                                                           const RecoveredJob* job) {
  if (job == nullptr) return std::optional<gate::AsyncGrant>();
  switch (job->action) {
    case RecoveryAction::kQuarantine:
      gate.Quarantine(std::move(recovery), job->why);
      return std::optional<gate::AsyncGrant>();
    case RecoveryAction::kAdopt:
    case RecoveryAction::kKeepUnattended:
    case RecoveryAction::kAwaitOther:
      break;
    default:
      return std::optional<gate::AsyncGrant>();
  }
  const Record& record = job->record;
  const std::optional<gate::JobClassSet> allowed = gate::JobClassSet::FromBits(record.allowed);
  if (record.key.slot != Slot::kAsync || !allowed.has_value()) {
    return absl::InvalidArgumentError("not the record of an asynchronous job");
  }
  // Whom it belonged to has gone with the process; the API's name is for those who ask who holds the gate.
  const gate::RestoredJob restored{.id = record.id,
                                   .kind = static_cast<gate::AsyncKind>(record.kind),
                                   .phase = static_cast<gate::PhaseNumber>(record.phase),
                                   .allowed = *allowed,
                                   .owner = {.api = record.owner_api},
                                   .since = gate.clock().Now(),
                                   .abort_requested = record.abort_requested};
  absl::StatusOr<gate::AsyncGrant> grant = gate.Restore(recovery, restored);
  if (!grant.ok()) return grant.status();
  return std::optional<gate::AsyncGrant>(*std::move(grant));
}

}  // namespace jobcore::inline JOBCORE_ABI::journal
