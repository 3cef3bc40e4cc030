// SPDX-License-Identifier: Apache-2.0
//
// What the benchmarks of looking at jobs share: a core whose main thread, the monitor, is on CPU 0, and so many jobs
// in an I/O thread on CPU 1 that do nothing.

#ifndef JOBCORE_BENCH_WATCHED_JOBS_H_
#define JOBCORE_BENCH_WATCHED_JOBS_H_

#include <pthread.h>
#include <sched.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "job-common/aio_context.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"

namespace jobcore::bench {

inline void PinThisThread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0) std::abort();
}

// Yields until it is cancelled.
class Idler final : public JobDriver {
 public:
  std::string_view type() const override { return "idler"; }
  Co<absl::Status> Run(JobContext& job) override {
    job.progress().SetRemaining(1000);
    job.progress().Advance(10);
    for (;;) {
      if (absl::Status status = co_await job.Yield(); !status.ok()) co_return status;
    }
  }
};

enum class Condition {
  kCreated,   // not started: no frame of a coroutine
  kYielding,  // RUNNING, its driver yields
  kParked,    // PAUSED by the user
};

class WatchedJobs {
 public:
  WatchedJobs() : WatchedJobs(0, Condition::kCreated) {}
  WatchedJobs(size_t count, Condition condition) {
    PinThisThread(0);
    io_.context().Post("pin", [] { PinThisThread(1); });
    for (size_t i = 0; i < count; ++i) {
      const JobRef job = Create(IdOf(i), std::make_unique<Idler>());
      if (condition == Condition::kCreated) continue;
      if (!StartJob(*job).ok()) std::abort();
      if (condition != Condition::kParked) continue;
      JobLock lock(core_);
      if (!monitor::Pause(*job).ok()) std::abort();
    }
    WaitUntilAllYield(condition);
  }

  JobCore& core() { return core_; }

  // Ids sort, and are as long as, "job-0000001": they fit into the string itself.
  static std::string IdOf(size_t index) { return absl::StrFormat("job-%07d", index); }

  JobRef Create(std::string id, std::unique_ptr<JobDriver> driver) {
    absl::StatusOr<JobRef> job = CreateJob(core_, {.id = std::move(id), .context = &io_.context()}, std::move(driver));
    if (!job.ok()) std::abort();
    return *std::move(job);
  }

 private:
  void WaitUntilAllYield(Condition condition) {
    // What has been posted to the I/O thread so far has had its turn when this has.
    internal::Atomic<bool> passed{false};
    io_.context().Post("barrier", [&passed] { passed = true; });
    while (!passed) core_.main_context().RunOnce(/*may_block=*/false);
    if (condition != Condition::kParked) return;
    JobLock lock(core_);
    if (const Job* last = monitor::Find(core_, IdOf(0)); last != nullptr && last->status() != JobStatus::kPaused) {
      std::abort();
    }
  }

  IOThread io_{"io"};  // outlives the jobs
  JobCore core_{JobCore::Options{.history_count = 0}};
};

}  // namespace jobcore::bench

#endif  // JOBCORE_BENCH_WATCHED_JOBS_H_
