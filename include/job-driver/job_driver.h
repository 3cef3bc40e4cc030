// SPDX-License-Identifier: Apache-2.0
//
// JobDriver: what the code that *is* a job implements. No hook is ever called under job_mutex. In the job's
// context one thing runs at a time, but Cancel, Complete and Change come between any two steps of Run, Pause,
// Resume.
//
//   in the job's context                        in the core's main context, after Run has ended
//   ------------------------------------        ------------------------------------------------------------
//   Run       once, if the job is started*      Prepare  once at most, if every Run of the group succeeded
//   Pause     before the job parks              Commit   } exactly one of the two, once; Abort also for jobs
//   Resume    after it, as often as Pause       Abort    } that were never started or whose Prepare was not
//   Cancel    a notification                               called (it undoes Run, and Prepare if that ran)
//   Complete  on request, while ready           Clean    once, always, after Commit or Abort
//   Change    on request
//
// * and has not been force-cancelled before its first step.
//
// Hooks are coroutines, so they may wait. Those not overridden cost nothing. Exceptions from Run, Pause,
// Resume (which leave the pause point that Run awaits), Prepare and Commit fail the job; one from Complete or
// Change is its answer; from Cancel, Abort and Clean, which cannot fail, they abort the process.

#ifndef JOBCORE_JOB_DRIVER_JOB_DRIVER_H_
#define JOBCORE_JOB_DRIVER_JOB_DRIVER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-common/job_mutex.h"
#include "job-common/progress.h"

namespace jobcore::inline JOBCORE_ABI {

class JobDriver {
 public:
  // In the main context, when the last JobRef has gone; never under job_mutex.
  virtual ~JobDriver() = default;

  // What kind of job this is: "backup". Called once, at creation; the text lives as long as the driver.
  virtual std::string_view type() const { return "job"; }

  // --- In the job's context ---

  // The work. Ok: it is done, and Prepare/Commit may follow. Must reach a pause point (JobContext::PausePoint,
  // Sleep, Yield) every few milliseconds, and return soon after one of them has said Cancelled.
  virtual Co<absl::Status> Run(JobContext& job) = 0;

  // The job is about to park in a pause point, or to move to another context: bring to an end what is in flight
  // and what else runs beside Run. Undone by Resume after, whether or not the job really parked; Resume is the
  // first to run in the new context. Not around a pause that comes before Run; once for pauses that follow each
  // other before Run goes on.
  virtual Co<void> Pause(JobContext&) { return {}; }
  virtual Co<void> Resume(JobContext&) { return {}; }

  // Somebody cancels the job: what is in flight need not succeed any more. At most once per mode; before the
  // job is woken; not after Run. May come between any two steps of Run.
  virtual void Cancel(JobContext&, CancelMode) {}

  // Asked to complete while ready: record that, and Enter the job if it yields. Beside Run, while Run is
  // suspended; not after it. Ok: accepted, and later requests get Ok without another call. A job that is
  // paused stays paused.
  virtual Co<absl::Status> Complete(JobContext&);  // by default: Unimplemented

  // Somebody wants the job to be different from now on. What is returned is the answer; on error nothing should
  // have changed. Beside Run, as Complete; requests (these and Complete) are served one after the other, in the
  // order in which they were made.
  virtual Co<absl::Status> Change(JobContext&, const JobOptions& options);  // by default: Unimplemented

  // --- In the core's main context: first the Prepare of all members of the group, then Commit or Abort of all of them,
  // then Clean of all ---

  // Everything that can still fail, so that Commit cannot. An error aborts the whole group.
  virtual Co<absl::Status> Prepare() { return {}; }
  // Make it so. It should not fail; an error (a rename refused) is reported as this job's failure, but the rest
  // of the group stays committed: the decision has been taken.
  virtual Co<absl::Status> Commit() { return {}; }
  // Leave no trace.
  virtual Co<void> Abort() { return {}; }
  // Let go of what must not outlive the job.
  virtual Co<void> Clean() { return {}; }
};

// How a job is to be.
struct JobSpec {
  // A letter, then letters, digits, '-', '.', '_'; unique among the jobs of the core until the job is dismissed.
  std::string id = {};
  AioContext* context = nullptr;   // where Run runs, kept alive by the job; null: the main one
  JobTxnBuilder* group = nullptr;  // null: a group of its own
  bool auto_finalize = true;       // false: the group waits in PENDING for monitor::Finalize
  bool auto_dismiss = true;        // false: CONCLUDED until monitor::Dismiss, if it was ever started
  bool internal = false;           // no id; invisible to monitors and events
  ProgressUnit unit = ProgressUnit::kBytes;
  int64_t speed = 0;  // limit in units per second, see JobContext::Throttle; 0: none
  // What the job works on (resource.h), which must stay until its group has concluded. While one of these is being
  // drained, the job is paused with reason "drain:<its name>"; its own requests (JobContext::Admit) are not parked.
  std::vector<Resource*> resources = {};
  // What must stand still from before the first Prepare of the group until after its last Clean or, if it aborts, until
  // between its last Abort and its first Clean. The core opens one section over what all members name here, in one
  // step, and never while the group waits in PENDING.
  std::vector<Resource*> still_at_end = {};
  Nanoseconds drain_timeout = std::chrono::seconds(30);  // for that; then the job fails, and its group with it
};

// Creates a job in state CREATED; it does nothing before StartJob, but can already be paused, cancelled and
// queried. All or nothing: on error there was never a job, no event tells of one, no hook is called, and the
// driver is destroyed here.
// Any thread. InvalidArgument: bad or missing id, negative speed. AlreadyExists: the id is taken. Aborted: the group
// has failed. FailedPrecondition: the group is sealed, the I/O thread has been stopped, the core is shutting down. Not
// inside a co_await expression: see coroutine.h.
absl::StatusOr<JobRef> CreateJob(JobCore& core, const JobSpec& spec, std::unique_ptr<JobDriver> driver)
    JOBCORE_EXCLUDES(job_mutex);

// Lets the job run. Its Run is first entered from its context's loop, later. Any thread.
// FailedPrecondition: not in CREATED (started before, or cancelled, or its group has failed).
absl::Status StartJob(Job& job) JOBCORE_EXCLUDES(job_mutex);

// For whoever created a job and then fails to set up the rest: the job leaves its group and goes straight to
// NULL; no hook is called, the others of the group are not affected. Any thread.
// FailedPrecondition: not in CREATED any more.
absl::Status AbandonJob(Job& job) JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_DRIVER_JOB_DRIVER_H_
