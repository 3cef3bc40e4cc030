// SPDX-License-Identifier: Apache-2.0
//
// A user's program under ThreadSanitizer, linked to jobcore::jobcore_tsan. Its driver has a plain field, which belongs
// to the job while that runs and to whoever has parked it while it is parked: only the library orders the two.
//
//   consumer           looks at the field while the job is parked: ThreadSanitizer must stay silent
//   consumer --race    looks while the job runs: ThreadSanitizer must report that

#include <atomic>
#include <cstdio>
#include <memory>
#include <string_view>
#include <thread>

#include "job-common/aio_wait.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"

namespace {

constexpr int kRounds = 50;  // one is not enough: of races that happen once, ThreadSanitizer misses about a third

class Count final : public jobcore::JobDriver {
 public:
  jobcore::Co<absl::Status> Run(jobcore::JobContext& job) override {
    while (!enough_.load(std::memory_order_relaxed)) {
      ++steps_;
      if (absl::Status status = co_await job.PausePoint(); !status.ok()) co_return status;
    }
    co_return absl::OkStatus();
  }
  void Stop() { enough_.store(true, std::memory_order_relaxed); }
  // While the job is parked: steps so far, which the caller makes one more.
  int StepWhileParked() { return ++steps_; }
  // The race: nothing orders this read and the job's writes.
  int Peek() const { return const_cast<const volatile int&>(steps_); }

 private:
  int steps_ = 0;
  std::atomic<bool> enough_{false};  // relaxed: it orders nothing
};

bool StepWhileParked(jobcore::JobCore& core, jobcore::Job& job, Count& driver) {
  {
    jobcore::JobLock lock(core);
    if (!jobcore::monitor::Pause(job).ok()) return false;
  }
  const auto running = [&] {
    jobcore::JobLock lock(core);
    return job.status() != jobcore::JobStatus::kPaused;
  };
  if (!jobcore::AioWaitWhileUnlocked(core, running, {.name = "the job to park"}).ok()) return false;
  if (driver.StepWhileParked() < 1) return false;
  jobcore::JobLock lock(core);
  return jobcore::monitor::Resume(job).ok();
}

// Until the field has changed under our eyes: then the two have met.
void PeekWhileRunning(const Count& driver) {
  const int before = driver.Peek();
  while (driver.Peek() == before) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool race = argc > 1 && std::string_view(argv[1]) == "--race";
  jobcore::IOThread io("io0");
  jobcore::JobCore core;
  auto owned = std::make_unique<Count>();
  Count& driver = *owned;  // lives as long as the job
  const auto job = jobcore::CreateJob(core, {.id = "count0", .context = &io.context()}, std::move(owned));
  if (!job.ok() || !jobcore::StartJob(**job).ok()) return 1;
  bool well = true;
  std::thread controller([&] {
    for (int i = 0; well && i < kRounds; ++i) {
      well = StepWhileParked(core, **job, driver);
      if (race && well) PeekWhileRunning(driver);
    }
    driver.Stop();
    if (!well) jobcore::monitor::CancelAll(core);  // it may be parked
  });
  const auto outcome = jobcore::monitor::WaitFor(*job);
  controller.join();
  std::printf("%s: %s, %d steps\n", race ? "race" : "clean", outcome->ToString().c_str(), driver.Peek());
  return well && outcome.ok() && outcome->succeeded() ? 0 : 1;
}
