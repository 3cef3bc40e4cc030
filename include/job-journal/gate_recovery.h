// SPDX-License-Identifier: Apache-2.0
//
// Where recovery meets the gates. A daemon holds each gate (JobGate::HoldForRecovery) before it listens, recovers, and
// settles each one: until then clients wait, or are told that recovery has it.

#ifndef JOBCORE_JOB_JOURNAL_GATE_RECOVERY_H_
#define JOBCORE_JOB_JOURNAL_GATE_RECOVERY_H_

#include <optional>

#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-journal/recovery.h"
#include "job-monitor/gate_grants.h"
#include "job-monitor/job_gate.h"

namespace jobcore::inline JOBCORE_ABI::journal {

// Opens the gate to what `job` has come to: everybody, if it is over (or null: there was none); beside the job, which
// is returned to its new owner, if it goes on; query and destroy only, if it is quarantined. The job's class set is the
// recorded one.
absl::StatusOr<std::optional<gate::AsyncGrant>> SettleGate(gate::JobGate& gate, gate::RecoveryGrant recovery,
                                                           const RecoveredJob* job) JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::journal

#endif  // JOBCORE_JOB_JOURNAL_GATE_RECOVERY_H_
