// SPDX-License-Identifier: Apache-2.0
// EXPECT: cannot call function 'AioWaitWhileUnlocked' while .*job_mutex.* is held
// EXPECT: cannot call function 'WaitFor' while .*job_mutex.* is held
// EXPECT: cannot call function 'CancelAndWait' while .*job_mutex.* is held
// EXPECT: cannot call function 'CompleteAndWait' while .*job_mutex.* is held
// EXPECT: cannot call function 'CancelAll' while .*job_mutex.* is held
// EXPECT: cannot call function 'Shutdown' while .*job_mutex.* is held
// EXPECT: cannot call function 'SnapshotJobs' while .*job_mutex.* is held
// EXPECT: cannot call function 'RunMainLoop' while .*job_mutex.* is held
// EXPECT: cannot call function 'RunOnce' while .*job_mutex.* is held
// EXPECT: cannot call function 'Kick' while .*job_mutex.* is held
#include "job-common/aio_wait.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"

namespace jobcore {

void Wait(JobCore& core, const JobRef& job) {
#ifdef SHOULD_FAIL
  JobLock lock(core);
#endif
  (void)AioWaitWhileUnlocked(core, [] { return false; });
  (void)AioWaitWhileUnlocked(core.main_context(), [] { return false; });
  (void)monitor::WaitFor(job);
  (void)monitor::CancelAndWait(job);
  (void)monitor::CompleteAndWait(job);
  (void)monitor::CancelAll(core);
  (void)monitor::SnapshotJobs(core);
  (void)monitor::Shutdown(core, monitor::ShutdownMode::kCancel);
  core.RunMainLoop();
  core.main_context().RunOnce(false);
  core.main_context().wait_domain().Kick();
}

}  // namespace jobcore
