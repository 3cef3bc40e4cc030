// SPDX-License-Identifier: Apache-2.0
//
// To end an object whatever is being done to it: the object is ended first, which makes whoever talks to it let go, and
// then the place is taken, to clean up. So a holder that is stuck is broken, and never just passed by.
//
// Whoever hears of the end from the object itself (its connection has closed) asks JobGate::being_destroyed() first,
// and stands back if so: the end is reported once, by who wanted it.

#ifndef JOBCORE_JOB_MONITOR_GATE_DESTROY_H_
#define JOBCORE_JOB_MONITOR_GATE_DESTROY_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-monitor/gate_grants.h"
#include "job-monitor/job_gate.h"

namespace jobcore::inline JOBCORE_ABI::gate {

// `kill` ends the object, at once and whoever else does so at the same time. If it fails nothing has changed, and its
// error is returned. Otherwise the object is dead (JobGate::EndLife), and a destroy job is waited for.
//   Aborted  somebody else has ended it meanwhile, and cleans up
//   and as JobGate::Begin, after which it is dead nevertheless
absl::StatusOr<NormalGrant> BeginDestroy(JobGate& gate, absl::FunctionRef<absl::Status()> kill,
                                         const AcquireOptions& options) JOBCORE_EXCLUDES(job_mutex);
// The same for coroutines. `options` are a named variable, which lives until then.
Co<absl::StatusOr<NormalGrant>> AwaitDestroy(JobGate& gate, Co<absl::Status> kill, const AcquireOptions& options);
void AwaitDestroy(JobGate& gate, Co<absl::Status> kill, const AcquireOptions&& options) = delete;

}  // namespace jobcore::inline JOBCORE_ABI::gate

#endif  // JOBCORE_JOB_MONITOR_GATE_DESTROY_H_
