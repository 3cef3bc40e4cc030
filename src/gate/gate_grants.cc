// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/gate_grants.h"

#include "absl/strings/str_cat.h"
#include "gate/text.h"
#include "job-monitor/job_gate.h"

namespace jobcore::inline JOBCORE_ABI::gate {
namespace detail {

void Return(const Ticket& ticket) { ticket.gate->Release(ticket); }

absl::Status WrongKind(AsyncKind is, AsyncKind expected) {
  return absl::FailedPreconditionError(absl::StrCat("unexpected asynchronous job '", View(ToString(is)),
                                                    "', expected '", View(ToString(expected)), "'"));
}

absl::Status WrongPhase(AsyncKind kind, PhaseNumber is, PhaseNumber expected) {
  const KindInfo& info = InfoOf(kind);
  return absl::FailedPreconditionError(absl::StrCat("'", View(info.name()), "' is in phase ",
                                                    View(info.phases[is].name), ", not in ",
                                                    View(info.phases[expected].name)));
}

namespace {
absl::Status OfNothing() {
  return absl::FailedPreconditionError("a grant of nothing: it has ended, or was moved away");
}
}  // namespace

}  // namespace detail

PhaseNumber AsyncGrant::phase_number() const {
  return ticket().gate != nullptr ? ticket().gate->Phase(ticket().serial) : PhaseNumber{0};
}

absl::Status AsyncGrant::CheckPhaseNumber(PhaseNumber to) const {
  if (ticket().gate == nullptr) return detail::OfNothing();
  return ticket().gate->CheckPhase(ticket().serial, to);
}

absl::Status AsyncGrant::SetPhaseNumber(PhaseNumber to) {
  if (ticket().gate == nullptr) return detail::OfNothing();
  return ticket().gate->SetPhase(ticket().serial, to);
}

absl::Status AsyncGrant::Park(OwnerLost policy) {
  if (ticket().gate == nullptr) return detail::OfNothing();
  if (absl::Status refusal = ticket().gate->Park(ticket().serial, policy); !refusal.ok()) return refusal;
  Forget();
  return absl::OkStatus();
}

}  // namespace jobcore::inline JOBCORE_ABI::gate
