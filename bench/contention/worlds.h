// SPDX-License-Identifier: Apache-2.0
//
// The two designs behind one interface: the same jobs with the same driver under the AioContext lock, and in jobcore.

#ifndef JOBCORE_BENCH_CONTENTION_WORLDS_H_
#define JOBCORE_BENCH_CONTENTION_WORLDS_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "baseline/context_lock.h"
#include "baseline/locked_jobs.h"
#include "contention/driver_side.h"
#include "contention/loop_turn.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"

namespace jobcore::contention {

// No id comes twice: that of a cancelled job is taken until it has been dismissed.
inline std::string IdIn(const Slot& slot) { return absl::StrCat("job", slot.number, ".", slot.replacements); }

// --- The AioContext lock ---

class LockedStepper final : public baseline::LockedDriver {
 public:
  explicit LockedStepper(Slot& slot) : slot_(slot) {}

  Co<void> Run(baseline::LockedJob& job) override {
    const Workload& workload = *slot_.workload;
    LoopTurn turn(job.context().loop(), workload.setup.rest, &job.context().lock());
    while (!job.cancelled() && !workload.stop.load(std::memory_order_relaxed)) {
      for (int i = 0; i < workload.setup.steps_per_turn && !job.cancelled(); ++i) {
        slot_.Step();
        job.progress().Advance(1);
        co_await job.PausePoint();
      }
      co_await turn.Next();
    }
    slot_.StopsAsAsked();
  }
  void Pause(baseline::LockedJob&) override { slot_.NoteParked(); }

 private:
  Slot& slot_;
};

template <baseline::ContextLock::Kind kind>
class ContextLockWorld {
 public:
  ContextLockWorld(const std::vector<std::unique_ptr<IOThread>>& io_threads, std::deque<Slot>& slots) {
    for (const auto& io : io_threads) contexts_.emplace_back(io->context(), kind);
    for (Slot& slot : slots) Start(slot);
  }

  size_t QueryAll() { return jobs_.Query().size(); }
  bool Pause(const Slot& slot) { return jobs_.Pause(slot.id).ok(); }
  bool Resume(const Slot& slot) { return jobs_.Resume(slot.id).ok(); }
  bool Cancel(const Slot& slot) { return jobs_.Cancel(slot.id).ok(); }
  void AwaitEnd(const Slot& slot) { jobs_.Reap(slot.id); }
  void Start(Slot& slot) {
    slot.id = IdIn(slot);
    jobs_.Start(slot.id, contexts_[static_cast<size_t>(slot.loop)], std::make_unique<LockedStepper>(slot));
  }

 private:
  std::deque<baseline::LockedContext> contexts_;
  baseline::LockedJobs jobs_;  // waits for the ends of its jobs
};

using AioContextLock = ContextLockWorld<baseline::ContextLock::Kind::kAsItWas>;
using FairContextLock = ContextLockWorld<baseline::ContextLock::Kind::kFair>;

// --- jobcore ---

class Stepper final : public JobDriver {
 public:
  explicit Stepper(Slot& slot) : slot_(slot) {}

  Co<absl::Status> Run(JobContext& job) override {
    const Workload& workload = *slot_.workload;
    LoopTurn turn(job.context(), workload.setup.rest, /*lock=*/nullptr);
    while (!workload.stop.load(std::memory_order_relaxed)) {
      for (int i = 0; i < workload.setup.steps_per_turn; ++i) {
        slot_.Step();
        job.progress().Advance(1);
        if (absl::Status status = co_await job.PausePoint(); !status.ok()) {
          slot_.StopsAsAsked();
          co_return status;
        }
      }
      co_await turn.Next();
    }
    slot_.StopsAsAsked();
    co_return absl::OkStatus();
  }
  Co<void> Pause(JobContext&) override {
    slot_.NoteParked();
    return {};
  }

 private:
  Slot& slot_;
};

class JobMutexOnly {
 public:
  JobMutexOnly(const std::vector<std::unique_ptr<IOThread>>& io_threads, std::deque<Slot>& slots)
      : io_threads_(io_threads), core_({.main_loop = JobCore::MainLoop::kOwnThread}) {
    for (Slot& slot : slots) Start(slot);
  }
  ~JobMutexOnly() { monitor::Shutdown(core_, monitor::ShutdownMode::kDrain).IgnoreError(); }

  size_t QueryAll() { return monitor::SnapshotJobs(core_).size(); }
  bool Pause(const Slot& slot) {
    return WithJob(slot, [](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return monitor::Pause(job); });
  }
  bool Resume(const Slot& slot) {
    return WithJob(slot, [](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return monitor::Resume(job); });
  }
  bool Cancel(const Slot& slot) {
    return WithJob(slot, [](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return monitor::Cancel(job); });
  }
  void AwaitEnd(const Slot& slot) {
    JobRef job;
    {
      const JobLock lock(core_);
      if (Job* const found = monitor::Find(core_, slot.id)) job = JobRef(*found);
    }
    if (job) monitor::WaitFor(job).IgnoreError();
  }
  void Start(Slot& slot) {
    slot.id = IdIn(slot);
    AioContext& context = io_threads_[static_cast<size_t>(slot.loop)]->context();
    const JobRef job = *CreateJob(core_, {.id = slot.id, .context = &context}, std::make_unique<Stepper>(slot));
    StartJob(*job).IgnoreError();
  }

 private:
  template <typename Verb>
  bool WithJob(const Slot& slot, Verb verb) {
    const JobLock lock(core_);
    Job* const job = monitor::Find(core_, slot.id);
    return job != nullptr && verb(*job).ok();
  }

  const std::vector<std::unique_ptr<IOThread>>& io_threads_;
  JobCore core_;
};

}  // namespace jobcore::contention

#endif  // JOBCORE_BENCH_CONTENTION_WORLDS_H_
