// SPDX-License-Identifier: Apache-2.0
//
// What becomes of jobs when the daemon is told to end by a signal.

#ifndef JOBCORE_TOOLS_JOBCORED_END_OF_SERVICE_H_
#define JOBCORE_TOOLS_JOBCORED_END_OF_SERVICE_H_

#include "job-common/coroutine.h"
#include "job-common/job_mutex.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {

enum class ExitCode : unsigned char {
  kDone = 0,       // all jobs have ended as the policy says
  kCancelled = 3,  // those that did not finish in time were cancelled
  kStuck = 4,      // some did not end even so
};

struct EndPolicy {
  bool finish = false;  // let jobs finish, rather than cancel them; those that wait for somebody's word are cancelled
  int seconds = 30;     // for that; and again for cancelling
};

// The policy is looked at again and again: it may change while this waits.
jobcore::Co<ExitCode> EndService(Daemon& daemon, const EndPolicy& policy) JOBCORE_EXCLUDES(jobcore::job_mutex);

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_END_OF_SERVICE_H_
