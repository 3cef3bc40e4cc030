// SPDX-License-Identifier: Apache-2.0
//
// Waiting for jobs, cancelling all of them, and shutting down: the parts of the monitor's side that take time.
// None may be called with job_mutex held; where waiting is refused, nothing has been done. They are for plain code;
// where they may be called from, and what else to do, is said at AioWaitWhileUnlocked (aio_wait.h); coroutines await
// the Co forms.

#ifndef JOBCORE_JOB_MONITOR_JOB_WAIT_H_
#define JOBCORE_JOB_MONITOR_JOB_WAIT_H_

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/job_outcome.h"
#include "job-common/job_status.h"
#include "job-monitor/job_query.h"

namespace jobcore::inline JOBCORE_ABI::monitor {

// Until the job has concluded: its outcome. `deadline` is on the clock of the core's main context.
// DeadlineExceeded: it still goes on. FailedPrecondition: the job waits for a Finalize that has not been asked
// for, or the calling thread may not wait.
absl::StatusOr<JobOutcome> WaitFor(const JobRef& job, TimePoint deadline = kNoDeadline) JOBCORE_EXCLUDES(job_mutex);
Co<absl::StatusOr<JobOutcome>> AwaitJob(JobRef job, TimePoint deadline = kNoDeadline) JOBCORE_EXCLUDES(job_mutex);

// Cancel, then WaitFor. The error of a refused cancel, except that a job which has concluded already, or is
// aborting already, is waited for.
absl::StatusOr<JobOutcome> CancelAndWait(const JobRef& job, CancelMode mode = CancelMode::kForce,
                                         TimePoint deadline = kNoDeadline) JOBCORE_EXCLUDES(job_mutex);

// Complete, then WaitFor. The error of a refused complete, be it by the job's state or by its driver's hook.
absl::StatusOr<JobOutcome> CompleteAndWait(const JobRef& job, TimePoint deadline = kNoDeadline)
    JOBCORE_EXCLUDES(job_mutex);

// Cancels every job there is, internal ones included, a page at a time, without waiting. Jobs that cannot be
// cancelled any more are left alone. Returns how many accepted. May be called from callbacks.
size_t CancelAll(JobCore& core, CancelMode mode = CancelMode::kForce) JOBCORE_EXCLUDES(job_mutex);

enum class ShutdownMode {
  kDrain,   // let jobs finish; jobs that were never started, and groups that wait for Finalize, stay open
  kCancel,  // force-cancel everything
};

struct ShutdownReport {
  std::vector<JobInfo> open;  // jobs that have not concluded, as they are now; empty: all is done
  bool clean() const { return open.empty(); }
};

// Refuses new jobs from now on, ends those there are, and forgets those that have concluded. Returns when
// nothing is left, when nothing that is left goes on by itself, or at `deadline`, and says what is still open.
// May be called again (a drain, then a cancel). An error only if the calling thread may not wait.
absl::StatusOr<ShutdownReport> Shutdown(JobCore& core, ShutdownMode mode, TimePoint deadline = kNoDeadline)
    JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::monitor

#endif  // JOBCORE_JOB_MONITOR_JOB_WAIT_H_
