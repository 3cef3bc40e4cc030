// SPDX-License-Identifier: Apache-2.0
//
// JobChecker: watches the jobs of a core, and aborts, saying what is wrong, when one of the rules is broken that every
// job keeps whatever happens: the transition table, the order of events, queries that agree with events, groups whose
// members all commit or all abort, driver hooks that come once, in order, in the right context and never under the
// mutex, no driver code while a job is parked, an outcome that stays, progress that does not go back, verbs that are
// answered exactly once.
//
//   JobChecker checker(core);
//   absl::StatusOr<JobRef> job = checker.Create(spec, std::move(driver));   // instead of CreateJob
//   { JobLock lock(core); checker.Ask(context, [&](VerbReply r) { return monitor::Complete(*job, std::move(r)); }); }
//   …  checker.Check();                                                    // after every step
//   checker.Finish();                                                      // when all is to be over
//
// What it knows of the rules it has from the reference, not from the library. Knows nothing of how the core is driven:
// simulation, controlled threads, or plain ones. Instrumented build only.

#ifndef JOBCORE_JOB_TESTING_JOB_CHECKER_H_
#define JOBCORE_JOB_TESTING_JOB_CHECKER_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/aio_context.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/verb_reply.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"

namespace jobcore::inline JOBCORE_ABI::testing {

class JobChecker {
 public:
  // Before the first job of `core`, which outlives it. `explain`, if there is one, is asked for text that goes with
  // the report of a broken rule: Simulation::trace.
  explicit JobChecker(JobCore& core, absl::AnyInvocable<std::string()> explain = {});
  ~JobChecker();
  JobChecker(const JobChecker&) = delete;
  JobChecker& operator=(const JobChecker&) = delete;

  // CreateJob, of a job whose driver's hooks are watched. Any thread. Jobs that are created otherwise are watched from
  // outside only.
  absl::StatusOr<JobRef> Create(const JobSpec& spec, std::unique_ptr<JobDriver> driver) JOBCORE_EXCLUDES(job_mutex);

  // By a watched driver, at steps of its Run: it must not be parked, or in its Pause or Resume hook. Its home thread.
  void Runs(const JobContext& job) JOBCORE_EXCLUDES(job_mutex);

  // Asks for `verb` with a reply that must come exactly once if the verb is accepted, in `where`, and never otherwise.
  absl::Status Ask(AioContext& where, absl::FunctionRef<absl::Status(VerbReply)> verb)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // Any thread, one at a time.
  void Check() JOBCORE_EXCLUDES(job_mutex);

  // After Check: every job has been dismissed, every driver destroyed, every reply has come. Whoever drives the core
  // has brought that about.
  void Finish() JOBCORE_EXCLUDES(job_mutex);

  struct State;  // the implementation's

 private:
  const std::shared_ptr<State> state_;  // shared with the drivers and replies that it watches
};

}  // namespace jobcore::inline JOBCORE_ABI::testing

#endif  // JOBCORE_JOB_TESTING_JOB_CHECKER_H_
