// SPDX-License-Identifier: Apache-2.0
// References to a job are copied, jobs are not; nor are builders and coroutines, which are moved.
// EXPECT: call to deleted constructor of '.*Job'
// EXPECT: call to implicitly-deleted copy constructor of .*JobTxnBuilder
// EXPECT: call to implicitly-deleted copy constructor of .*Co<void>
// EXPECT: no viable conversion from .*Job \*
#include <utility>

#include "job-common/job_core.h"

namespace jobcore {

JobRef Copy(const JobRef& job, JobTxnBuilder group, Co<void> work) {
  const JobTxnBuilder moved_group = std::move(group);
  const Co<void> moved_work = std::move(work);
  JobRef copy = job;
#ifdef SHOULD_FAIL
  Job copied_job(*job);
  const JobTxnBuilder copied_group = moved_group;
  const Co<void> copied_work = moved_work;
  const JobRef from_pointer = copy.get();
#endif
  return copy;
}

}  // namespace jobcore
