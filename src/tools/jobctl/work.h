// SPDX-License-Identifier: Apache-2.0
//
// Work: what is particular to a command, of all that a session (session.h) does with its jobs.

#ifndef JOBCORE_TOOLS_JOBCTL_WORK_H_
#define JOBCORE_TOOLS_JOBCTL_WORK_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/io_engine.h"
#include "job-common/iothread.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/job_outcome.h"
#include "job-driver/job_driver.h"
#include "tools/jobctl/clients.h"
#include "tools/jobctl/pairs.h"

namespace jobctl {

// What the session has for it. What it refers to outlives the work.
struct Means {
  jobcore::JobCore& core;
  jobcore::IoEngine& engine;
  const std::vector<std::unique_ptr<jobcore::IOThread>>& io_threads;
  const std::vector<Pair>& pairs;  // of each of which there is to be one job

  // Of the job of a pair.
  jobcore::AioContext& context(size_t index) const { return io_threads[index % io_threads.size()]->context(); }
};

// On the main thread, outside of callbacks unless said otherwise. All jobs have ended when the session destroys this.
class Work {
 public:
  virtual ~Work() = default;

  // Checks what is to be worked on. Returns all that is wrong with it; what it has made by then goes away with it.
  virtual std::vector<absl::Status> Open(const Means& means) JOBCORE_EXCLUDES(jobcore::job_mutex) = 0;
  // The job of that pair, not started; once for each, in their order. `spec` is complete but for what only the command
  // knows.
  virtual absl::StatusOr<jobcore::JobRef> CreateJob(size_t index, jobcore::JobSpec spec)
      JOBCORE_EXCLUDES(jobcore::job_mutex) = 0;

  // All jobs have been started.
  virtual void OnStarted() {}
  // A job has ended, before anybody is told. `completed`: after it was told to complete. An error: it is to be told as
  // failed, whatever the outcome. In a callback, too.
  virtual absl::Status OnEnded(size_t /*index*/, const jobcore::JobOutcome& /*outcome*/, bool /*completed*/) {
    return absl::OkStatus();
  }
  // All jobs have ended. May wait. Returns what clients of the jobs' images have to say.
  virtual std::vector<ClientReport> Finish() JOBCORE_EXCLUDES(jobcore::job_mutex) { return {}; }
  // The process is about to exit without destructors: removes what must not stay. In a callback.
  virtual void Abandon() {}
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_WORK_H_
