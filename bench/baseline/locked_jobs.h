// SPDX-License-Identifier: Apache-2.0
//
// Jobs as they were under the AioContext lock (README.md: what is modelled, and where the model is kinder than the
// original). A job's coroutine runs with the lock of its context held, from each wake-up until it suspends again. The
// monitor's functions take the big lock (there is one monitor command at a time), and under it the lock of the context
// of each job that they look at.

#ifndef JOBCORE_BENCH_BASELINE_LOCKED_JOBS_H_
#define JOBCORE_BENCH_BASELINE_LOCKED_JOBS_H_

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "baseline/context_lock.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/job_status.h"
#include "job-common/progress.h"

namespace jobcore::baseline {

class LockedJob;

class LockedDriver {
 public:
  virtual ~LockedDriver() = default;
  // The work. The lock of the job's context is held whenever it runs.
  virtual Co<void> Run(LockedJob& job) = 0;
  // It is about to park.
  virtual void Pause(LockedJob&) {}
};

class LockedJob {
 public:
  LockedJob(std::string id, LockedContext& context, std::unique_ptr<LockedDriver> driver)
      : id_(std::move(id)), context_(context), driver_(std::move(driver)), entry_(*this) {}
  LockedJob(const LockedJob&) = delete;
  LockedJob& operator=(const LockedJob&) = delete;

  // --- For the driver: lock of the context held ---

  // job_pause_point: a look at two flags, which the lock protects already.
  class PausePointAwaiter {
   public:
    explicit PausePointAwaiter(LockedJob& job) : job_(job) {}
    bool await_ready() const noexcept { return job_.pause_count_ == 0 || job_.cancelled_; }
    template <std::derived_from<internal::CoPromiseBase> Promise>
    void await_suspend(std::coroutine_handle<Promise> self) {
      job_.suspended_ = CoHandle::Of(self, "paused");
      job_.Park();
    }
    void await_resume() const noexcept {}

   private:
    LockedJob& job_;
  };
  PausePointAwaiter PausePoint() { return PausePointAwaiter(*this); }
  bool cancelled() const { return cancelled_; }
  LockedContext& context() const { return context_; }
  Progress& progress() { return progress_; }

 private:
  friend class LockedJobs;

  // Posted to the context by whoever wakes the job: aio_co_enter.
  struct Entry final : WorkItem {
    explicit Entry(LockedJob& j) : WorkItem("job entry", &Entry::Posted), job(j) {}
    static void Posted(WorkItem& item, Reason reason) {
      if (reason == Reason::kRun) static_cast<Entry&>(item).job.Entered();
    }
    LockedJob& job;
  };

  // --- Lock of the context held ---

  void Park() {
    driver_->Pause(*this);
    status_ = JobStatus::kPaused;
    busy_ = false;
  }
  // job_enter: only a job that sits in a yield of its own can be woken.
  void Enter() {
    if (std::exchange(busy_, true)) return;
    context_.loop().Post(entry_);
  }

  // --- Home thread of the context ---

  void Entered() {
    const ContextGuard guard(context_.lock());
    status_ = JobStatus::kRunning;
    if (suspended_.handle) {
      std::exchange(suspended_, CoHandle()).Resume();
    } else {
      Spawn("job", RunToEnd());
    }
  }
  Co<void> RunToEnd() {
    co_await driver_->Run(*this);
    status_ = JobStatus::kConcluded;
    done_.store(true, std::memory_order_release);
  }

  const std::string id_;
  LockedContext& context_;
  const std::unique_ptr<LockedDriver> driver_;
  Progress progress_{ProgressUnit::kSteps};
  Entry entry_;
  std::atomic<bool> done_{false};

  // --- Guarded by the lock of the context ---
  JobStatus status_ = JobStatus::kCreated;
  int pause_count_ = 0;
  bool user_paused_ = false;
  bool busy_ = false;
  bool cancelled_ = false;
  CoHandle suspended_;
};

// What query-jobs tells of a job.
struct LockedJobInfo {
  std::string id;
  std::string_view type;
  JobStatus status;
  ProgressSnapshot progress;
};

// The registry, and what a monitor does with it. Any thread that is no context's home; no lock held.
class LockedJobs {
 public:
  LockedJobs() = default;
  ~LockedJobs() {
    while (!jobs_.empty()) Reap(jobs_.begin()->second->id_);
  }
  LockedJobs(const LockedJobs&) = delete;
  LockedJobs& operator=(const LockedJobs&) = delete;

  // Creates a job and starts it.
  void Start(std::string id, LockedContext& context, std::unique_ptr<LockedDriver> driver) {
    const std::lock_guard<std::mutex> big(big_lock_);
    auto created = std::make_unique<LockedJob>(std::move(id), context, std::move(driver));
    LockedJob& job = *created;
    by_id_.emplace(job.id_, &job);
    jobs_.emplace(next_number_++, std::move(created));
    const ContextGuard guard(context.lock());
    job.Enter();
  }

  // qmp_query_jobs: the lock of each job's context in turn.
  std::vector<LockedJobInfo> Query() {
    const std::lock_guard<std::mutex> big(big_lock_);
    std::vector<LockedJobInfo> result;
    result.reserve(jobs_.size());
    for (auto it = jobs_.rbegin(); it != jobs_.rend(); ++it) {
      const LockedJob& job = *it->second;
      const ContextGuard guard(job.context_.lock());
      result.push_back({job.id_, "job", job.status_, job.progress_.Get()});
    }
    return result;
  }

  absl::Status Pause(std::string_view id) {
    return WithJob(id, [](LockedJob& job) {
      if (job.user_paused_) return absl::FailedPreconditionError("Job is already paused");
      job.user_paused_ = true;
      ++job.pause_count_;
      return absl::OkStatus();
    });
  }

  absl::Status Resume(std::string_view id) {
    return WithJob(id, [](LockedJob& job) {
      if (!job.user_paused_) return absl::FailedPreconditionError("Can't resume a job that was not paused");
      Unpause(job);
      return absl::OkStatus();
    });
  }

  // job_user_cancel, force.
  absl::Status Cancel(std::string_view id) {
    return WithJob(id, [](LockedJob& job) {
      job.cancelled_ = true;
      if (job.user_paused_) Unpause(job);
      return absl::OkStatus();
    });
  }

  // Waits for the end of a job that has been told to end, and forgets it.
  void Reap(std::string_view id) {
    LockedJob* job;
    {
      const std::lock_guard<std::mutex> big(big_lock_);
      job = by_id_.at(absl::string_view(id.data(), id.size()));
    }
    while (!job->done_.load(std::memory_order_acquire)) std::this_thread::yield();
    const std::lock_guard<std::mutex> big(big_lock_);
    {
      const ContextGuard last_step(job->context_.lock());
    }  // which has ended now
    by_id_.erase(job->id_);
    std::erase_if(jobs_, [job](const auto& entry) { return entry.second.get() == job; });
  }

 private:
  static void Unpause(LockedJob& job) {
    job.user_paused_ = false;
    if (--job.pause_count_ == 0 && job.status_ == JobStatus::kPaused) job.Enter();
  }

  // find_job, and the verb.
  template <typename Verb>
  absl::Status WithJob(std::string_view id, Verb verb) {
    const std::lock_guard<std::mutex> big(big_lock_);
    const auto it = by_id_.find(absl::string_view(id.data(), id.size()));
    if (it == by_id_.end()) return absl::NotFoundError("Job not found");
    LockedJob& job = *it->second;
    const ContextGuard guard(job.context_.lock());
    if (job.status_ == JobStatus::kConcluded) return absl::FailedPreconditionError("Job is concluded");
    return verb(job);
  }

  std::mutex big_lock_;  // the main thread's; protects the registry
  uint64_t next_number_ = 1;
  std::map<uint64_t, std::unique_ptr<LockedJob>> jobs_;
  absl::flat_hash_map<absl::string_view, LockedJob*> by_id_;  // keys live in the jobs
};

}  // namespace jobcore::baseline

#endif  // JOBCORE_BENCH_BASELINE_LOCKED_JOBS_H_
