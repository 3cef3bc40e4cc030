// SPDX-License-Identifier: Apache-2.0
//
// What the two families of commands about jobs, job-* and block-job-*, have in common: they differ in how they name a
// job, and in how they say that there is none.

#ifndef JOBCORE_TOOLS_JOBCORED_JOB_VERBS_H_
#define JOBCORE_TOOLS_JOBCORED_JOB_VERBS_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/aio_wait.h"
#include "job-common/coroutine.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/verb_reply.h"
#include "job-monitor/job_query.h"
#include "qmp/arguments.h"
#include "qmp/error.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {

// A family: finds the job that the arguments name. The error, if there is none, is the family's.
struct Family {
  std::string_view argument;  // that names the job
  bool only_block_jobs;

  jobcore::Job* Find(jobcore::JobCore& core, jobcore::qmp::Arguments args) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex);
  jobcore::qmp::Error NotFound(jobcore::qmp::Arguments args) const;
};
inline constexpr Family kJobs = {.argument = "id", .only_block_jobs = false};
inline constexpr Family kBlockJobs = {.argument = "device", .only_block_jobs = true};
inline constexpr Family kBlockJobsById = {.argument = "id", .only_block_jobs = true};

// Finds the job and does something to it, in one critical section.
template <typename Verb>
jobcore::qmp::Reply OnJob(Daemon& daemon, const Family& family, jobcore::qmp::Arguments args, Verb verb)
    JOBCORE_EXCLUDES(jobcore::job_mutex) {
  jobcore::JobLock lock(daemon.core);
  jobcore::Job* const job = family.Find(daemon.core, args);
  if (job == nullptr) return family.NotFound(args);
  return verb(*job);
}

// The wire knows one pause by the user, whether they paused the job or an error did.
bool IsUserPaused(const jobcore::Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex);

jobcore::qmp::Reply Pause(Daemon& daemon, const Family& family, jobcore::qmp::Arguments args)
    JOBCORE_EXCLUDES(jobcore::job_mutex);
jobcore::qmp::Reply Resume(Daemon& daemon, const Family& family, jobcore::qmp::Arguments args)
    JOBCORE_EXCLUDES(jobcore::job_mutex);
jobcore::qmp::Reply Dismiss(Daemon& daemon, const Family& family, jobcore::qmp::Arguments args)
    JOBCORE_EXCLUDES(jobcore::job_mutex);
// These answer when the job, or its group, has.
jobcore::Co<jobcore::qmp::Reply> Complete(Daemon& daemon, const Family& family, jobcore::qmp::Arguments args)
    JOBCORE_EXCLUDES(jobcore::job_mutex);
jobcore::Co<jobcore::qmp::Reply> Finalize(Daemon& daemon, const Family& family, jobcore::qmp::Arguments args)
    JOBCORE_EXCLUDES(jobcore::job_mutex);

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_JOB_VERBS_H_
