// SPDX-License-Identifier: Apache-2.0
//
// JobCore: one independent world of jobs: the mutex, the registry, the events and the main context. Two cores
// in one process share nothing but, if they are made on the same thread, their main context.

#ifndef JOBCORE_JOB_COMMON_JOB_CORE_H_
#define JOBCORE_JOB_COMMON_JOB_CORE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "job-common/aio_context.h"
#include "job-common/aio_wait.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-common/job_event.h"
#include "job-common/job_mutex.h"
#include "job-common/job_registry.h"
#include "job-common/job_times.h"
#include "job-common/job_txn.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {

namespace internal {
class CancelWatch;
class JobHistory;
struct ObserverState;
class TransactionTurn;
}  // namespace internal

class JobCore {
 public:
  enum class MainLoop {
    // The constructing thread is home of the main context and has to run it: RunMainLoop, a wait, or a foreign
    // loop that watches main_context().fd(). If it has a context already, that one is shared. How the scheduler treats
    // that thread is left to its owner: unlike I/O threads, which ask to run promptly when they are woken, it competes
    // with all others on equal terms, so clients that are served there may wait for a time slice of somebody's.
    kThisThread,
    // The core has a thread of its own for it, scheduled as any other; everybody else is a plain thread and parks in
    // waits.
    kOwnThread,
  };
  struct Options {
    MainLoop main_loop = MainLoop::kThisThread;
    // Null: a new one with the system's clock and poller. Given: not yet anybody's home, or the caller's.
    std::shared_ptr<AioContext> main_context = nullptr;
    size_t event_capacity = 4096;  // events kept for readers; at least 1
    // A job whose Run has not ended so long after a force-cancel gets an event that says so. 0: never.
    Nanoseconds unresponsive_after = std::chrono::seconds(30);
    // Records of concluded jobs (job_history.h): at most this many, none older than that. Count 0: none at all.
    size_t history_count = 1024;
    Nanoseconds history_age = std::chrono::hours(1);
  };

  JobCore() : JobCore(Options()) {}
  explicit JobCore(const Options& options);
  // On the thread that constructed it, outside of callbacks. Force-cancels and waits for what still runs (use
  // monitor::Shutdown before, to bound the wait and learn what is open); then passes through every context
  // that ran its jobs, so that none still touches it. Aborts if a JobRef or an observer is left; nothing else of
  // it (JobTxnBuilder, Job&) may be used any more either.
  ~JobCore() JOBCORE_EXCLUDES(job_mutex);
  JobCore(const JobCore&) = delete;
  JobCore& operator=(const JobCore&) = delete;

  AioContext& main_context() const { return *main_context_; }
  JobMutex& mutex() { return mutex_; }
  const JobMutex& mutex() const { return mutex_; }

  // kThisThread: runs the main context on its home thread until QuitMainLoop (any thread; a quit that comes
  // first ends the next run).
  void RunMainLoop() JOBCORE_EXCLUDES(job_mutex);
  void QuitMainLoop();

  // The time of day at a moment of the main context's clock. Any thread.
  WallTime WallTimeOf(TimePoint time) const;

  // Events from `cursor` on, at most `max` (64 at most); advances the cursor.
  EventPage ReadEvents(EventCursor& cursor, size_t max = 64) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // The number of the newest event: a cursor at this + 1 sees only what comes.
  uint64_t last_event() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Jobs that monitors can see.
  size_t job_count() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

 private:
  friend class Job;
  friend class JobLock;
  friend class JobOps;
  friend class JobTxnBuilder;
  friend class JobUnlock;
  friend class ResourceOps;

  // Jobs by their id: a set of pointers, which takes a fifth of the memory that a map with copies of the ids would.
  static absl::string_view IdOf(const Job* job) { return {job->id().data(), job->id().size()}; }
  static absl::string_view IdOf(absl::string_view id) { return id; }
  struct IdHash {
    using is_transparent = void;
    size_t operator()(const auto& key) const { return absl::Hash<absl::string_view>()(IdOf(key)); }
  };
  struct IdEq {
    using is_transparent = void;
    bool operator()(const auto& a, const auto& b) const { return IdOf(a) == IdOf(b); }
  };

  // Work whose posting waits until the mutex is free.
  struct Deferred {
    WorkItem* item;
    std::shared_ptr<AioContext> context;  // kept across the post; null: the main one, which the core keeps
  };

  struct FinaliseItem final : WorkItem {
    FinaliseItem(const char* name, Function function, JobCore& c) : WorkItem(name, function), core(c) {}
    JobCore& core;
  };

  void Lock() ABSL_NO_THREAD_SAFETY_ANALYSIS;              // the capability is acquired by JobLock
  void UnlockAndPublish() ABSL_NO_THREAD_SAFETY_ANALYSIS;  // … and released by it
  void UnlockAndPost() ABSL_NO_THREAD_SAFETY_ANALYSIS;     // the same, with something to post or to let go of
  void PassThroughContexts() JOBCORE_EXCLUDES(job_mutex);
  void RunLastTurns() JOBCORE_EXCLUDES(job_mutex);

  // --- Constant after creation ---
  const MainLoop main_loop_;
  const std::shared_ptr<AioContext> main_context_;
  std::shared_ptr<AioHome> home_;  // shared by the cores that this thread has made its home for
  internal::Thread own_thread_;    // kOwnThread
  const Instant created_;

  // --- Lock-free ---
  internal::Atomic<bool> quit_{false};
  internal::Atomic<int64_t> live_jobs_{0};  // Job objects, dismissed ones with references included
  std::atomic<uint64_t> next_number_{1};
  // Groups that have converged, newest first. Pushed under job_mutex; taken, all at once, by the item, which is posted
  // to the main context by whoever pushes the first.
  internal::Atomic<JobTxn*> to_finalise_{nullptr};
  FinaliseItem finalise_item_;
  // What the item is doing that needs no coroutine, for dumps.
  const std::unique_ptr<internal::Finaliser> finaliser_;
  // Looks after force-cancelled jobs, in the main context. Has its own protection.
  const std::unique_ptr<internal::CancelWatch> cancel_watch_;
  JobMutex mutex_;  // job_mutex of this core

  // --- Guarded by job_mutex ---
  // First what each critical section looks at, at its end or for the time: one cache line (64 bytes) behind that of the
  // mutex, as both come over from another processor.
  bool changed_ ABSL_GUARDED_BY(job_mutex) = false;             // something waiters may wait for, since Lock
  mutable bool clock_read_ ABSL_GUARDED_BY(job_mutex) = false;  // since Lock: latest_time_ is the time
  bool posts_ ABSL_GUARDED_BY(job_mutex) = false;               // deferred_ or garbage_ is not empty
  bool closing_ ABSL_GUARDED_BY(job_mutex) = false;             // no new jobs
  // The latest that anybody was given: time never goes back.
  mutable TimePoint latest_time_ ABSL_GUARDED_BY(job_mutex){};
  absl::InlinedVector<Deferred, 4> deferred_ ABSL_GUARDED_BY(job_mutex);
  absl::InlinedVector<std::shared_ptr<const void>, 64> garbage_ ABSL_GUARDED_BY(job_mutex);  // to let go of after it

  size_t open_jobs_ ABSL_GUARDED_BY(job_mutex) = 0;        // registered and not concluded
  internal::JobRegistry jobs_ ABSL_GUARDED_BY(job_mutex);  // that monitors see
  internal::JobRegistry internal_jobs_ ABSL_GUARDED_BY(job_mutex);
  absl::flat_hash_set<Job*, IdHash, IdEq> by_id_ ABSL_GUARDED_BY(job_mutex);
  JobEventRing events_ ABSL_GUARDED_BY(job_mutex);
  std::vector<std::shared_ptr<internal::ObserverState>> observers_ ABSL_GUARDED_BY(job_mutex);
  std::vector<Resource*> resources_ ABSL_GUARDED_BY(job_mutex);                      // by number
  std::vector<internal::TransactionTurn*> transactions_ ABSL_GUARDED_BY(job_mutex);  // in the order of their start
  std::vector<std::weak_ptr<AioContext>> contexts_ ABSL_GUARDED_BY(job_mutex);       // of its jobs and observers
  const std::unique_ptr<internal::JobHistory> history_ ABSL_PT_GUARDED_BY(job_mutex);
};

// Waiting for jobs: every change of a job of `core`, except its progress, wakes these up. See aio_wait.h; the condition
// takes its own JobLock.
inline absl::Status AioWaitWhileUnlocked(JobCore& core, absl::FunctionRef<bool()> condition, WaitOptions options = {})
    JOBCORE_EXCLUDES(job_mutex) {
  return AioWaitWhileUnlocked(core.main_context(), condition, options);
}
template <typename Condition>
Co<absl::Status> AioWaitWhile(JobCore& core, Condition&& condition, WaitOptions options = {}) {
  return AioWaitWhile(core.main_context(), std::forward<Condition>(condition), options);
}

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_CORE_H_
