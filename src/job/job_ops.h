// SPDX-License-Identifier: Apache-2.0
//
// All that happens to a job, by where it happens. The one class that may touch Job, JobTxn and JobCore from
// inside; the public headers are thin doors to it.

#ifndef JOBCORE_SRC_JOB_JOB_OPS_H_
#define JOBCORE_SRC_JOB_JOB_OPS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "job-common/block_pool.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/error_policy.h"
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
#include "job/pending_verbs.h"
#include "job/throttling.h"

namespace jobcore::inline JOBCORE_ABI {

// Debian's absl::string_view is a type of its own.
inline absl::string_view Absl(std::string_view s) { return {s.data(), s.size()}; }

namespace internal {

// A job that works on resources.
struct ResourceUse {
  const std::vector<Resource*> resources;     // see Job::resources
  const std::vector<Resource*> still_at_end;  // see Job::still_at_end
  const Nanoseconds drain_timeout;            // of these
};

// What the finaliser of a group is doing; in its frame, or of the core where it has none. The root never changes, the
// rest is for any thread that holds job_mutex.
struct Finaliser {
  static constexpr char kDrain[] = "drain";  // in no hook: waits for resources to stand still

  void Enter(const char* its_hook, const Job* whose) {
    job.store(whose, std::memory_order_relaxed);
    hook.store(its_hook, std::memory_order_release);
  }

  const CoRoot* root = nullptr;            // null: no coroutine
  std::atomic<const char*> hook{nullptr};  // that it is in; null: none
  std::atomic<const Job*> job{nullptr};    // whose hook
};

}  // namespace internal

class JobOps {
 public:
  // --- Creation (create.cc) ---
  static absl::StatusOr<JobRef> Create(JobCore& core, const JobSpec& spec, std::unique_ptr<JobDriver> driver)
      JOBCORE_EXCLUDES(job_mutex);
  static absl::Status Register(Job& job, uint64_t speed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // What of it allocates, and how to undo that, however much of it has been done.
  static void Link(Job& job, uint64_t speed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void Unlink(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
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
  // The next event of the ring, of this job as it is now. Not for internal jobs, which have none.
  static JobEvent& AppendEvent(Job& job, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // The job's Run has ended, or never will begin: it is out of its context, and of its group's count.
  static void LeaveContext(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // -> NULL: gone from the registry, whose reference is the caller's from now on.
  static JobRef Unregister(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Posts the job's resumption once the mutex is free. The caller has taken the word.
  static void DeferResume(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Sends the reply once the mutex is free.
  static void Answer(JobCore& core, VerbReply reply, absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void Defer(JobCore& core, AioContext& context, WorkItem& item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Remembers where jobs of this core live, for ~JobCore.
  static void NoteContext(JobCore& core, const std::shared_ptr<AioContext>& context)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void DestroyJob(WorkItem& item, WorkItem::Reason reason) JOBCORE_EXCLUDES(job_mutex);
  static void Destroy(Job& job) JOBCORE_EXCLUDES(job_mutex);
  // In the main context, at the end of a callback of the core: if this is the last reference, destroys the job at once.
  static void DropAndDestroy(JobRef job) JOBCORE_EXCLUDES(job_mutex);

  // --- Accounting of time (times.cc); all of it on the clock of the main context, and never going back ---
  static TimePoint Now(const JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static TimePoint ReadClock(const JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);  // not the cached time
  // Returns the time of the transition.
  static TimePoint AccountTransition(Job& job, JobStatus from, JobStatus to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Into `times`, whose memory is used again.
  static void GetTimes(const Job& job, TimePoint now, JobTimes& times) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Units per second; takes a sample.
  static double Rate(const Job& job, TimePoint now, const ProgressSnapshot& progress, const JobTimes& times)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static Nanoseconds& TimeIn(Job& job, JobStatus status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static bool HasReason(const Job& job, std::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void VoidReasons(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // JobTimes::throttled (throttle.cc) and ::waiting (job.cc), up to now.
  static Nanoseconds ThrottledTime(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static Nanoseconds WaitingTime(const Job& job, const JobTimes& times, TimePoint now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

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
  // Resumes one that is parked without a frame of the gate.
  static void ResumeHalted(Job& job);
  static Co<void> CallPauseHook(Job& job);
  static Co<void> Gate(Job& job, Co<void> pause_hook, TimePoint deadline, bool slept);

  // --- In the job's context: its speed limit (throttle.cc) ---
  static bool SuspendForThrottle(Job& job, CoHandle self, uint64_t units);
  static void ResumeThrottled(Job& job);

  static void Enter(Job& job);

  // --- Verbs (verbs.cc) ---
  static absl::Status CheckVerb(const Job& job, JobVerb verb) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Pause(Job& job, std::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Resume(Job& job, std::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Cancel(Job& job, CancelMode mode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Complete(Job& job, VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Change(Job& job, JobOptions options, VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status SetSpeed(Job& job, int64_t speed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status CheckSpeed(std::string_view id, int64_t speed);
  static void ApplySpeed(Job& job, uint64_t speed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Finalize(Job& job, VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static absl::Status Dismiss(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Makes a job that runs, or is parked, stop at its next step.
  static void ForceCancelRunning(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Unparks a parked job.
  static void Unpark(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void Ready(Job& job, ReadyCapabilities capabilities) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void PublishDetails(Job& job, std::shared_ptr<const JobDetails>& details)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- Pause reasons (verbs.cc) ---
  // Nothing if it is given already, or not given.
  static void AddReason(Job& job, std::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void RemoveReason(Job& job, std::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- Moving (move.cc) ---
  static absl::Status Move(Job& job, AioContext& target, VerbReply reply) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // In the old home, where nothing of the job is on the stack: on to the new one, and resumed there.
  static void Hop(Job& job) JOBCORE_EXCLUDES(job_mutex);
  // The same for a job that stays parked. Once the mutex is free it is out of the caller's hands.
  static void HopParked(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // A move that had to wait for a hook is asked for again.
  static void RetryMove(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static bool MoveIsPending(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    return job.pending_ != nullptr && job.pending_->move_to != nullptr;
  }
  // The pending move does not take place: `why` answers whoever asked for it.
  static void VoidMove(Job& job, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- Resources (resource.cc) ---
  static absl::StatusOr<Admission> Admit(Job& job, Resource& resource) JOBCORE_EXCLUDES(job_mutex);
  // Parked, not begun, or finished: it makes no requests.
  static bool IsQuiet(const Job* job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // The job whose Run the chain is; null: none.
  static const Job* JobOf(const CoRoot& chain) {
    return chain.ends_with(&RunReturned) ? &static_cast<const Job::RunRoot&>(chain).job : nullptr;
  }

  // --- Groups (group.cc) ---
  static absl::Status Seal(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void AbortUnsealed(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Before the cut: the group will abort; every member that has not finished is cancelled.
  static void AbortGroup(JobTxn& txn, std::string reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static JobTxn::Extra& Extra(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // If all members have finished: on to finalising them, now or on request.
  static void MaybeConverge(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void PostFinaliser(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void RunFinalisers(WorkItem& item, WorkItem::Reason reason) JOBCORE_EXCLUDES(job_mutex);
  static void RemoveMember(JobTxn& txn, Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- For query.cc and wait.cc ---
  // Into `info`, whose memory is used again.
  static void GetInfo(const Job& job, TimePoint now, monitor::JobInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static const internal::JobRegistry& Jobs(const JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    return core.jobs_;
  }
  // Up to `max` jobs, internal ones included, with numbers above `after`, in order: their number.
  static size_t VisitAfter(const JobCore& core, uint64_t after, size_t max, absl::FunctionRef<void(Job&)> visit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static std::vector<JobRef> JobsAfter(const JobCore& core, uint64_t after, size_t max)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Its number.
  static uint64_t GroupOf(const Job& job) { return HasOwnGroup(job) ? job.number_ : job.txn_->number(); }
  static Job* FindById(JobCore& core, std::string_view id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static size_t OpenJobs(const JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return core.open_jobs_; }
  static void RefuseNewJobs(JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { core.closing_ = true; }
  // Its Run has ended, or never will begin: before that it can't have concluded. Lock-free: for those who look again
  // and again, so that they leave the mutex to the job until there is something to see.
  static bool RunIsOver(const Job& job) { return job.word_.activity() == JobWord::Activity::kDone; }
  // In PENDING until somebody asks for Finalize.
  static bool AwaitsFinalize(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Will change its status without anybody asking.
  static bool GoesOnByItself(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- I/O errors (io_error.cc) ---
  static ErrorAction HandleError(Job& job, IoOperation operation, OnError policy, int error)
      JOBCORE_EXCLUDES(job_mutex);
  // The error has been seen to, or is beside the point.
  static void ForgetError(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { job.io_status_ = IoStatus::kOk; }

  // --- Jobs that do not end (cancel_watch.cc) ---
  static void WatchCancelled(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void UnwatchCancelled(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static bool IsWatched(JobCore& core, uint64_t job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void ReportUnresponsive(JobCore& core, uint64_t job, const std::vector<ListedWait>& waits)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // --- Observers (event_observer.cc) ---
  static void WakeObservers(JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void AddObserver(JobCore& core, std::shared_ptr<internal::ObserverState> state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void RemoveObserver(JobCore& core, const std::shared_ptr<internal::ObserverState>& state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // A page of as many events as there may be at once.
  static void ReadEvents(JobCore& core, EventCursor& cursor, EventPage& page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static std::vector<internal::TransactionTurn*>& Transactions(JobCore& core) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    return core.transactions_;
  }
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
  static internal::JobAccount& Account(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  class ParkAwaiter;
  class IdleAwaiter;
  class MoveAwaiter;
  class ThrottleAwaiter;

  // A job, what its driver sees of it, and the group that it is in if that is its own: one allocation.
  struct Block final : Job, internal::Pooled {
    Block(JobCore& core, uint64_t number, const JobSpec& spec, JobTxn* group, std::unique_ptr<JobDriver> driver);
    JobContext face;
    JobTxn own_group;
  };
  // What the driver sees of the job.
  static JobContext& Face(Job& job) { return static_cast<Block&>(job).face; }
  static CoHandle Suspended(Job& job) { return {job.suspended_, &job.run_root_}; }
  static bool HasOwnGroup(const Job& job) { return job.txn_ == &static_cast<const Block&>(job).own_group; }

  // What the job's own suspensions are called. Nothing but the job's user ends them, and nothing is wrong if they last.
  static constexpr char kYield[] = "yield";
  static constexpr char kSleep[] = "sleep";
  static constexpr char kParked[] = "parked";
  static constexpr char kNextTurn[] = "next turn";  // of its loop
  static constexpr char kThrottled[] = "its speed limit";

  static void GoTo(Job& job, AioContext& target) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void CarryOutMove(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static internal::PendingVerbs& Pending(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void DeferVerbs(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static bool IsInRun(const Job& job) { return job.run_entered_ && !job.run_returned_; }
  static constexpr unsigned CancelBit(CancelMode mode) { return 1U << static_cast<unsigned>(mode); }
  static void NoteCancel(Job& job, CancelMode mode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static void TellOfCancel(Job& job) JOBCORE_EXCLUDES(job_mutex);
  static void CarryOutVerbs(WorkItem& item, WorkItem::Reason reason) JOBCORE_EXCLUDES(job_mutex);
  static Co<void> ServeRequests(JobRef job) JOBCORE_EXCLUDES(job_mutex);
  static void AnswerUnserved(Job& job, std::vector<internal::PendingVerbs::Request> requests)
      JOBCORE_EXCLUDES(job_mutex);
  static Co<absl::Status> EnterRun(Job& job) JOBCORE_EXCLUDES(job_mutex);
  static Co<absl::Status> ParkThenRun(Job& job) JOBCORE_EXCLUDES(job_mutex);
  static void Begin(Job& job) JOBCORE_EXCLUDES(job_mutex);
  static void FinishRun(Job& job) JOBCORE_EXCLUDES(job_mutex);
  static bool SleepIsOver(Job& job, bool timer_fired);
  static bool Park(Job& job, CoHandle self, Job::Suspension how) JOBCORE_EXCLUDES(job_mutex);
  static void Halt(Job& job, CoHandle self, TimePoint deadline, bool slept);
  static void StartGate(Job& job, CoHandle self, Co<void> pause_hook, TimePoint deadline, bool slept);
  static void PassOnWakeUp(Job& job);
  static bool TrySuspend(Job& job, CoHandle self, Job::Suspension how, TimePoint deadline, bool throttled = false);
  static void TakeOverSpeed(Job& job) JOBCORE_EXCLUDES(job_mutex);
  static bool ThrottleIsOver(Job& job, uint64_t units);
  static bool TrySuspendThrottled(Job& job, CoHandle self, Job::Suspension how);
  static Co<void> ThrottleOn(Job& job, uint64_t units);
  static void EndThrottledWait(Job& job);
  static void PostResume(Job& job);
  static void AbortMember(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Before the cut: the member fails, and its group with it.
  static void FailMember(Job& job, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Groups, members or both that end in one critical section.
  static constexpr size_t kMostAtOnce = 64;
  // Hooks of the only member of a group that have been called already, though not run if they have a frame. Of the
  // others, those that come before one of these had none.
  struct CalledHooks {
    std::optional<Co<absl::Status>> prepare, commit;
    std::optional<Co<void>> abort, clean;
  };
  // A group of one, and that one.
  struct Single {
    JobTxn* txn;
    Job* job;
  };
  using Singles = absl::InlinedVector<Single, kMostAtOnce>;
  // In the main context: takes a group that has converged to its end.
  using Members = absl::InlinedVector<JobRef, 1>;
  static Co<void> Finalise(JobTxn& txn, Members members, CalledHooks called) JOBCORE_EXCLUDES(job_mutex);
  static void SpawnFinaliser(JobTxn& txn, CalledHooks called = {}) JOBCORE_EXCLUDES(job_mutex);
  static bool NeedsNoCoroutine(JobTxn& txn, CalledHooks& called) JOBCORE_EXCLUDES(job_mutex);
  static void FinaliseTogether(JobCore& core, Singles& singles) JOBCORE_EXCLUDES(job_mutex);
  static void ConcludeTogether(JobCore& core, const Singles& singles) JOBCORE_EXCLUDES(job_mutex);
  // The members of a group whose finaliser has been posted: nobody changes them any more, so no mutex is needed.
  static const absl::InlinedVector<Job*, 1>& FixedMembers(const JobTxn& txn) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return txn.members_;
  }
  // The cut: whether the group commits.
  static bool Decide(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // All its members have concluded.
  static void EndGroup(JobTxn& txn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static Co<absl::StatusOr<DrainedSection>> DrainMembers(JobTxn& txn, const Members& members)
      JOBCORE_EXCLUDES(job_mutex);
  // Returns the registry's reference, unless the job stays there to be dismissed.
  static JobRef Conclude(Job& job, const absl::Status& committed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static std::string RunWaitsFor(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  static std::string GroupWaitsFor(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
};

// The exception being handled, as a Status that says that it came from `where`.
absl::Status StatusFromException(absl::string_view where);

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_SRC_JOB_JOB_OPS_H_
