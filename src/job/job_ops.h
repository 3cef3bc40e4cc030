// SPDX-License-Identifier: Apache-2.0
//
// All that happens to a job, by where it happens. The one class that may touch Job, JobTxn and JobCore from
// inside; the public headers are thin doors to it.

#ifndef JOBCORE_SRC_JOB_JOB_OPS_H_
#define JOBCORE_SRC_JOB_JOB_OPS_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "job-common/coroutine.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/job_status.h"
#include "job-common/job_times.h"
#include "job-common/job_txn.h"
#include "job-common/verb_reply.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_query.h"

namespace jobcore::inline JOBCORE_ABI {

// Debian's absl::string_view is a type of its own.
inline absl::string_view Absl(std::string_view s) { return {s.data(), s.size()}; }

namespace internal {

// What monitors have asked of a job that its own context has to carry out. Guarded by job_mutex.
struct PendingVerbs {
  PendingVerbs(WorkItem::Function function, Job& job) : item(function, job) {}

  struct Item final : WorkItem {
    Item(Function function, Job& j) : WorkItem("job verbs", function), job(j) {}
    Job& job;
  } item;
  bool posted = false;  // the item is on its way
  bool soft_cancel = false;
  bool force_cancel = false;
  bool complete_accepted = false;   // the driver has said Ok
  std::vector<VerbReply> complete;  // not answered yet
};

}  // namespace internal

class JobOps {
 public:
  // --- Creation (create.cc) ---
  static absl::StatusOr<JobRef> Create(JobCore& core, const JobSpec& spec, std::unique_ptr<JobDriver> driver)
      JOBCORE_EXCLUDES(job_mutex);
  static absl::Status Register(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Start(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Abandon(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- The record (job.cc) ---
  static void AddRef(Job& job) { job.references_.fetch_add(1, std::memory_order_relaxed); }
  // Takes over a reference made by AddRef.
  static JobRef Adopt(Job& job) {
    JobRef ref;
    ref.job_ = &job;
    return ref;
  }
  // Changes the status, as the table allows, and records the event.
  static void SetStatus(Job& job, JobStatus to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // The job's Run has ended, or never will begin: it is out of its context, and of its group's count.
  static void LeaveContext(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // -> NULL: gone from the registry.
  static void Unregister(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Posts the job's resumption once the mutex is free. The caller has taken the word.
  static void DeferResume(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void Defer(JobCore& core, std::shared_ptr<AioContext> context, WorkItem& item)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Remembers where jobs of this core live, for ~JobCore.
  static void NoteContext(JobCore& core, const std::shared_ptr<AioContext>& context)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void DestroyJob(WorkItem& item, WorkItem::Reason reason) JOBCORE_EXCLUDES(job_mutex);

  // --- Accounting of time (times.cc); all of it on the clock of the main context, and never going back ---
  static TimePoint Now(const JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static TimePoint ReadClock(const JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);  // not the cached time
  // Returns the time of the transition.
  static TimePoint AccountTransition(Job& job, JobStatus from, JobStatus to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static JobTimes Times(const Job& job, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Units per second; takes a sample.
  static double Rate(const Job& job, TimePoint now, const ProgressSnapshot& progress, const JobTimes& times)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // The only ones that change the pause reasons.
  static void AddPauseReason(Job& job, std::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void RemovePauseReason(Job& job, std::vector<std::string>::const_iterator reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void VoidPauseReasons(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // JobTimes::throttled and ::waiting, up to now (job.cc).
  static Nanoseconds ThrottledTime(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static Nanoseconds WaitingTime(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- History (history.cc) ---
  // Makes the record of a job that has just concluded.
  static void Remember(const Job& job, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // After letting go of what is too old by now.
  static internal::JobHistory& History(JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- In the job's context: running it (run.cc) ---
  static void ResumeJob(WorkItem& item, WorkItem::Reason reason) JOBCORE_EXCLUDES(job_mutex);
  static void Dispatch(Job& job, bool timer_fired) JOBCORE_EXCLUDES(job_mutex);
  static void RunReturned(CoRoot& root) JOBCORE_EXCLUDES(job_mutex);

  // --- In the job's context: where it stops (gate.cc) ---
  static bool SuspendAtPausePoint(Job& job, CoHandle self);
  static bool SuspendForSleep(Job& job, CoHandle self, TimePoint deadline);
  // After either: Ok, or Cancelled, or what a hook has thrown.
  static absl::Status LeaveGate(Job& job);
  // Resumes a driver that sleeps or yields and has been taken out of idle, by way of the gate if it must park.
  static void ResumeSleeper(Job& job, bool timer_fired);
  // The same inside of the driver's Pause or Resume hook, where a pause is being seen to already.
  static void ResumeHook(Job& job, bool timer_fired);
  static Co<void> Gate(Job& job, bool with_hooks);
  static void Enter(Job& job);

  // --- Verbs (verbs.cc) ---
  static absl::Status CheckVerb(const Job& job, JobVerb verb) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Pause(Job& job, std::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Resume(Job& job, std::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Cancel(Job& job, CancelMode mode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Complete(Job& job, VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Finalize(Job& job, VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Dismiss(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Makes a job that runs, or is parked, stop at its next step.
  static void ForceCancelRunning(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Unparks a parked job.
  static void Unpark(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void Ready(Job& job, ReadyCapabilities capabilities) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void PublishDetails(Job& job, std::shared_ptr<const JobDetails>& details)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- Groups (group.cc) ---
  static absl::Status Seal(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void AbortUnsealed(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Before the cut: the group will abort; every member that has not finished is cancelled.
  static void AbortGroup(JobTxn& txn, std::string reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // If all members have finished: on to finalising them, now or on request.
  static void MaybeConverge(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void PostFinaliser(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void AddMember(JobTxn& txn, Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void RemoveMember(JobTxn& txn, Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- For query.cc and wait.cc ---
  static monitor::JobInfo Info(const Job& job, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static const JobCore::Registry& Jobs(const JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    return core.jobs_;
  }
  // Up to `max` jobs, internal ones included, with numbers above `after`, in order.
  static std::vector<JobRef> JobsAfter(const JobCore& core, uint64_t after, size_t max)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static Job* FindById(JobCore& core, std::string_view id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static size_t OpenJobs(const JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return core.open_jobs_; }
  static void RefuseNewJobs(JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { core.closing_ = true; }
  // In PENDING until somebody asks for Finalize.
  static bool AwaitsFinalize(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Will change its status without anybody asking.
  static bool GoesOnByItself(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- Observers (event_observer.cc) ---
  static void WakeObservers(JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void AddObserver(JobCore& core, std::shared_ptr<internal::ObserverState> state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void RemoveObserver(JobCore& core, const std::shared_ptr<internal::ObserverState>& state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static EventPage ReadEvents(JobCore& core, EventCursor& cursor) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void NoteChange(JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { core.changed_ = true; }

 private:
  static internal::JobAccount& Account(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  class ParkAwaiter;
  class IdleAwaiter;
  struct FinaliserItem;

  static internal::PendingVerbs& Pending(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void DeferVerbs(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void CarryOutVerbs(WorkItem& item, WorkItem::Reason reason) JOBCORE_EXCLUDES(job_mutex);
  static Co<void> RunComplete(JobRef job) JOBCORE_EXCLUDES(job_mutex);
  static Co<absl::Status> ParkThenRun(Job& job);
  static void Begin(Job& job) JOBCORE_EXCLUDES(job_mutex);
  static void FinishRun(Job& job) JOBCORE_EXCLUDES(job_mutex);
  static bool SleepIsOver(Job& job, bool timer_fired);
  static Co<void> SleepOn(Job& job, TimePoint deadline, bool slept);
  static bool TrySuspend(Job& job, CoHandle self, Job::Suspension how, TimePoint deadline);
  static void PostResume(Job& job);
  static void AbortMember(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static Co<void> Finalise(std::shared_ptr<JobTxn> txn) JOBCORE_EXCLUDES(job_mutex);
};

// The exception being handled, as a Status that says that it came from `where`.
absl::Status StatusFromException(absl::string_view where);

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_SRC_JOB_JOB_OPS_H_
