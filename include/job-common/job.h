// SPDX-License-Identifier: Apache-2.0
//
// Job: the record of one long-running operation. Its behaviour is in three places:
//   job-monitor/  what a controller does with it   (job_mutex held by the caller)
//   job-driver/   what the code that *is* the job does, and is asked to do   (job_mutex taken by the callee)
//   job_word.h    how the two meet without a lock
//
// Life: CreateJob makes it, StartJob lets it run, its group finalises it, dismissal ends it. The core keeps a
// reference until then; whoever keeps a pointer across a gap in job_mutex holds a JobRef.

#ifndef JOBCORE_JOB_COMMON_JOB_H_
#define JOBCORE_JOB_COMMON_JOB_H_

#include <array>
#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/error_policy.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/job_outcome.h"
#include "job-common/job_status.h"
#include "job-common/job_word.h"
#include "job-common/progress.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {

// What a driver shows to queries beyond the common fields: names and values, in the driver's order.
using JobDetails = std::vector<std::pair<std::string, std::string>>;

// What a change verb asks for: names and values, understood by the driver.
using JobOptions = std::vector<std::pair<std::string, std::string>>;

// What a job that is ready can do; published by JobContext::Ready.
struct ReadyCapabilities {
  bool complete = true;      // the complete verb: the driver implements JobDriver::Complete
  bool soft_cancel = false;  // a soft cancel makes it finish consistently and succeed, instead of aborting it
};

namespace internal {
struct JobAccount;
struct PendingVerbs;
class RateEstimate;
struct ResourceUse;
struct Throttling;
}  // namespace internal

class Job {
 public:
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // --- Any thread ---
  const std::string& id() const { return id_; }    // empty: internal, invisible to monitors and events
  uint64_t number() const { return number_; }      // growing in order of creation, per core; never reused
  std::string_view type() const { return type_; }  // lives as long as the job
  bool internal() const { return id_.empty(); }
  bool auto_finalize() const { return auto_finalize_; }
  bool auto_dismiss() const { return auto_dismiss_; }
  JobCore& core() const { return core_; }
  // Where its driver runs; it may be moved (monitor::Move). Lives at least as long as the job.
  AioContext& context() const { return *context_.load(std::memory_order_acquire); }
  const Progress& progress() const { return progress_; }
  // Told to stop without further ado. Stays true.
  bool force_cancelled() const { return word_.force_cancelled(); }
  // It stands still because it was paused, at this moment: for those who look again and again, and do not want to take
  // job_mutex from the job each time.
  bool parked() const { return word_.activity() == JobWord::Activity::kParked; }

  // --- job_mutex held ---
  JobStatus status() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // How it ends; null while that is open (before kAborting or kConcluded).
  const JobOutcome* outcome() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // Why it is paused or is to pause, in the order given.
  std::vector<std::string> pause_reasons() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

 private:
  friend class JobContext;
  friend class JobOps;  // src/job: all that happens to a job
  friend class JobRef;
  friend class ResourceOps;

  // How the job's coroutine is suspended where the job itself (not some I/O) has to wake it.
  enum class Suspension : unsigned char {
    kNone,
    kStart,     // Run has not been entered
    kYield,     // in a sleep or yield of the driver: look for a pause before resuming it
    kHook,      // in a sleep or yield of the Pause or Resume hook: a pause does not end it
    kHalted,    // parked without a frame of the gate, as the Pause hook had nothing to do: now it needs one
    kPlain,     // inside the gate: resume it as it is
    kMove,      // inside the gate: nothing of it is on any stack, so it can go to another context
    kThrottle,  // waits for its speed limit: look at that, and for a pause, before resuming it
  };

  // Their drains pause it until its Run has ended.
  absl::Span<Resource* const> resources() const;
  // Drained from the group's first Prepare to its last Clean.
  absl::Span<Resource* const> still_at_end() const;

  // `group`, to which a reference is taken over, may not be constructed yet.
  Job(JobCore& core, uint64_t number, const JobSpec& spec, JobTxn& group, std::unique_ptr<JobDriver> driver);
  ~Job();

  // What queries read is kept together, in few cache lines.

  // --- Constant after creation ---
  JobCore& core_;
  const uint64_t number_;
  const std::string id_;
  const std::string_view type_;              // the driver's
  JobTxn* const txn_;                        // its group
  const std::unique_ptr<JobDriver> driver_;  // its hooks run in context_, the finalisation hooks in the main one
  const std::unique_ptr<const internal::ResourceUse> resource_use_;  // null: uses none
  const bool auto_finalize_;
  const bool auto_dismiss_;

  // --- Lock-free ---
  // A request that its Run is to serve has been recorded in pending_. Set under job_mutex, before that is posted.
  std::atomic<bool> asked_{false};
  JobWord word_;
  // Written under job_mutex, by the job itself or while it is not started. Stable for whoever owns the word.
  internal::Atomic<AioContext*> context_;
  Progress progress_;
  internal::Atomic<uint32_t> references_{2};  // the registry's, and its creator's
  // The cancels that the driver has not been told of, one bit per CancelMode. Added under job_mutex before the word
  // says that the job is cancelled, taken in the job's context.
  std::atomic<unsigned> cancel_untold_{0};

  // --- Guarded by job_mutex ---
  JobStatus status_ ABSL_GUARDED_BY(job_mutex) = JobStatus::kUndefined;
  bool started_ ABSL_GUARDED_BY(job_mutex) = false;
  bool becomes_ready_ ABSL_GUARDED_BY(job_mutex) = false;  // Ready was called while it was parked
  bool has_concluded_ ABSL_GUARDED_BY(job_mutex) = false;
  bool watched_ ABSL_GUARDED_BY(job_mutex) = false;  // force-cancelled, and the core's CancelWatch counts it
  IoStatus io_status_ ABSL_GUARDED_BY(job_mutex) = IoStatus::kOk;
  ReadyCapabilities capabilities_ ABSL_GUARDED_BY(job_mutex) = {.complete = false};
  SharedOutcome outcome_ ABSL_GUARDED_BY(job_mutex);
  std::shared_ptr<const JobDetails> details_ ABSL_GUARDED_BY(job_mutex);
  uint64_t last_event_ ABSL_GUARDED_BY(job_mutex) = 0;
  // Made under job_mutex when the job gets its first limit, before the word says so; never replaced.
  std::unique_ptr<internal::Throttling> throttling_;
  // What becomes JobTimes (times.cc).
  TimePoint created_at_ ABSL_GUARDED_BY(job_mutex){};
  TimePoint left_created_at_ ABSL_GUARDED_BY(job_mutex){};  // when it was started, if it was
  TimePoint status_since_ ABSL_GUARDED_BY(job_mutex){};
  // The time in those that it has left; what few jobs are in is in the account.
  Nanoseconds running_time_ ABSL_GUARDED_BY(job_mutex){};
  // From kWaiting to kConcluded.
  static constexpr size_t kFirstTimed = static_cast<size_t>(JobStatus::kWaiting);
  static constexpr size_t kEndTimed = static_cast<size_t>(JobStatus::kConcluded) + 1;
  std::array<Nanoseconds, kEndTimed - kFirstTimed> in_status_ ABSL_GUARDED_BY(job_mutex){};
  std::unique_ptr<internal::JobAccount> account_ ABSL_GUARDED_BY(job_mutex);  // made on first use
  // Since it was started or resumed, if somebody has looked at it: made by queries.
  mutable std::unique_ptr<internal::RateEstimate> rate_ ABSL_GUARDED_BY(job_mutex);
  std::unique_ptr<internal::PendingVerbs> pending_ ABSL_GUARDED_BY(job_mutex);  // made on first use
  // The contexts, but for the main one, that it lives in or has lived in: somebody may still be posting to one.
  absl::InlinedVector<std::shared_ptr<AioContext>, 1> homes_ ABSL_GUARDED_BY(job_mutex);

  // --- Only touched in the job's context (by the owner of the word) ---
  struct RunRoot final : CoRoot {
    RunRoot(DoneFunction on_done, Job& j) : CoRoot(on_done), job(j) {}
    Job& job;
  };
  RunRoot run_root_;
  Suspension suspension_ = Suspension::kStart;
  bool serving_ = false;       // requests (complete, change) are being served: a hook is in progress
  bool run_entered_ = false;   // Run has been called
  bool run_returned_ = false;  // Run has returned (and may wait for that hook)
  bool hook_woken_ = false;    // a wake-up has ended a sleep of the Pause or Resume hook
  bool slept_ = false;         // while it is kHalted: the sleep that it was in is over
  enum class Hook : unsigned char { kNone, kPause, kResume };
  // The driver's that it is in, where yields do not park. Read by dumps, too.
  std::atomic<Hook> in_hook_{Hook::kNone};
  bool InHook() const { return in_hook_.load(std::memory_order_relaxed) != Hook::kNone; }
  TimePoint wake_at_ = kNoDeadline;    // of the sleep it is suspended in
  std::coroutine_handle<> suspended_;  // of run_root_: to resume when suspension_ ends
  struct Item final : WorkItem {
    Item(const char* name, Function function, Job& j) : WorkItem(name, function), job(j) {}
    Job& job;
  };
  // Posted by whoever has taken the word out of idle, parked or not started: before Run has ended, so the registry has
  // a reference. Whoever drops the last one makes this another item, for its destruction.
  Item item_;
  Co<absl::Status> run_;
  Co<void> gate_;  // what stands between the driver and its next step while it is paused
  absl::Status run_status_;
  std::unique_ptr<AioTimer> timer_;  // made on first sleep
};

// A counted reference to a job. Any thread; copying and dropping never lock, and are legal under job_mutex.
// The job, and with it its driver, is destroyed in the core's main context. References must not outlive the
// core.
class JobRef {
 public:
  JobRef() = default;
  explicit JobRef(Job& job) : job_(&job) { Acquire(); }
  JobRef(const JobRef& other) : job_(other.job_) { Acquire(); }
  JobRef(JobRef&& other) noexcept : job_(std::exchange(other.job_, nullptr)) {}
  JobRef& operator=(JobRef other) noexcept {
    std::swap(job_, other.job_);
    return *this;
  }
  ~JobRef() {
    if (job_ != nullptr) Release(job_);
  }

  Job* get() const { return job_; }
  Job& operator*() const { return *job_; }
  Job* operator->() const { return job_; }
  explicit operator bool() const { return job_ != nullptr; }

 private:
  friend class JobOps;

  void Acquire() {
    if (job_ != nullptr) job_->references_.fetch_add(1, std::memory_order_relaxed);
  }
  static void Release(Job* job);

  Job* job_ = nullptr;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_H_
