// SPDX-License-Identifier: Apache-2.0
//
// All that happens to a job, by where it happens. The one class that may touch Job, JobTxn and JobCore from
// inside; the public headers are thin doors to it.

#ifndef JOBCORE_SRC_JOB_JOB_OPS_H_
#define JOBCORE_SRC_JOB_JOB_OPS_H_

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "job-common/coroutine.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/job_status.h"
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
  bool complete_accepted = false;         // the driver has said Ok
  std::vector<VerbReply> complete;        // not answered yet
  const CoRoot* complete_hook = nullptr;  // while the driver's Complete hook is in progress
};

// What the finaliser of a group is doing; in its frame. The root never changes, the rest is for any thread that
// holds job_mutex.
struct Finaliser {
  const CoRoot* root;
  std::atomic<const char*> hook{nullptr};  // that it is in; null: none
  std::atomic<const Job*> job{nullptr};    // whose hook
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
  static monitor::JobInfo Info(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static const JobCore::Registry& Jobs(const JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    return core.jobs_;
  }
  // Up to `max` jobs, internal ones included, with numbers above `after`, in order: their number.
  static size_t VisitAfter(const JobCore& core, uint64_t after, size_t max, absl::FunctionRef<void(Job&)> visit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
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

  // --- What jobs wait for (wait_dump.cc) ---
  // In one phrase: "I/O read for 3.2 s", "running code for 1.2 s in callback 'job'", "parked by user for 12 ms".
  static std::string WaitsFor(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // "job 'a'", or "job #7" for an internal one.
  static std::string NameOf(const Job& job);
  // Of a wait for the end of a job: how dumps recognise it.
  static std::string WaitName(const Job& job);
  // Who has to do something before the job goes on.
  static std::vector<std::string> HeldBy(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // The chains of coroutines that the job is carried on by: `part` names each, "" its Run.
  static void ForEachChain(const Job& job, absl::FunctionRef<void(std::string_view part, const CoRoot& chain)> visit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // The chain is suspended in something that should end by itself.
  static bool IsWatched(const CoRoot& chain);
  // The main context and all others that jobs of this core have lived in.
  static std::vector<std::shared_ptr<AioContext>> Contexts(const JobCore& core)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Calls `body` with the mutex held; false if it has not been had within `limit`.
  static bool TryLocked(JobCore& core, Nanoseconds limit, absl::FunctionRef<void()> body) JOBCORE_EXCLUDES(job_mutex);
  // Calls `visit` for every job, a page per critical section, without holding references: a reader that others
  // must not notice. False if the mutex was not to be had.
  static bool TryVisitAll(JobCore& core, Nanoseconds limit, absl::FunctionRef<void(const Job&)> visit)
      JOBCORE_EXCLUDES(job_mutex);

 private:
  class ParkAwaiter;
  class IdleAwaiter;
  struct FinaliserItem;

  // What the job's own suspensions are called. Nothing but the job's user ends them, and nothing is wrong if they last.
  static constexpr char kYield[] = "yield";
  static constexpr char kSleep[] = "sleep";
  static constexpr char kParked[] = "parked";
  static constexpr char kNextTurn[] = "next turn";  // of its loop

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
  static std::string RunWaitsFor(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static std::string GroupWaitsFor(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
};

// The exception being handled, as a Status that says that it came from `where`.
absl::Status StatusFromException(absl::string_view where);

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_SRC_JOB_JOB_OPS_H_
