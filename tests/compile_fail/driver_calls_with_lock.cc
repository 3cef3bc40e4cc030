// SPDX-License-Identifier: Apache-2.0
// EXPECT: cannot call function 'StartJob' while .*job_mutex.* is held
// EXPECT: cannot call function 'AbandonJob' while .*job_mutex.* is held
// EXPECT: cannot call function 'CreateJob' while .*job_mutex.* is held
// EXPECT: cannot call function 'Ready' while .*job_mutex.* is held
// EXPECT: cannot call function 'PublishDetails' while .*job_mutex.* is held
// EXPECT: cannot call function 'Seal' while .*job_mutex.* is held
#include "job-common/job_txn.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"

namespace jobcore {

void DriverSide(JobCore& core, JobContext& context, JobTxnBuilder& group) {
#ifdef SHOULD_FAIL
  JobLock lock(core);
#endif
  Enter(context.job());  // legal with and without
  (void)StartJob(context.job());
  (void)AbandonJob(context.job());
  (void)CreateJob(core, {.id = "a"}, nullptr);
  (void)group.Seal();
  context.Ready();
  context.PublishDetails({});
}

}  // namespace jobcore
