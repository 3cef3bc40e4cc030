// SPDX-License-Identifier: Apache-2.0

#include "stress/stress_wakeups.h"

#include <atomic>
#include <memory>
#include <thread>
#include <utility>

#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"

namespace jobcore::stress {
namespace {

// How often the job wants to be entered, and how often it has been (counted just before).
struct Wakes {
  std::atomic<uint64_t> wanted{0};
  std::atomic<uint64_t> given{0};
};

class Sleeper final : public JobDriver {
 public:
  Sleeper(std::shared_ptr<Wakes> wakes, Rng rng) : wakes_(std::move(wakes)), rng_(rng) {}

  Co<absl::Status> Run(JobContext& job) override {
    for (uint64_t rounds = rng_.Between(1, 60), i = 1; i <= rounds; ++i) {
      wakes_->wanted.store(i);
      Spin(rng_.Below(3000));
      while (wakes_->given.load() < i) {  // a yield may return early
        absl::Status status;
        if (rng_.OneIn(4)) {
          status = co_await job.Sleep(std::chrono::hours(1));
        } else {
          status = co_await job.Yield();
        }
        if (!status.ok()) co_return status;
      }
    }
    co_return absl::OkStatus();
  }

 private:
  const std::shared_ptr<Wakes> wakes_;
  Rng rng_;
};

bool HasEnded(Job& job) {
  JobLock lock(job.core());
  return IsConcluded(job.status());
}

void PauseForAMoment(Job& job, Rng& rng) {
  JobLock lock(job.core());
  if (!monitor::Pause(job).ok()) return;  // it has ended
  {
    const JobUnlock gap(lock);
    Spin(rng.Below(20'000));
    if (rng.OneIn(2)) Enter(job);  // perhaps one too many: a parked job stays parked
    Spin(rng.Below(20'000));
  }
  (void)monitor::Resume(job);  // it may have ended in the gap
}

}  // namespace

void CheckWakeUps(World& world, Rng& rng, Heart& heart) {
  heart.Beat("check wake-ups");
  const auto wakes = std::make_shared<Wakes>();
  const absl::StatusOr<JobRef> created =
      CreateJob(world.core(), {.context = &world.AnyContext(rng), .internal = true},  // so that only CancelAll sees it
                std::make_unique<Sleeper>(wakes, Rng(rng.Next())));
  if (!created.ok()) {
    STRESS_CHECK(absl::IsFailedPrecondition(created.status()), created.status().ToString());
    return;
  }
  Count(Totals().jobs);
  Job& job = **created;
  if (!StartJob(job).ok()) return;  // cancelled already
  for (uint64_t given = 0; given < wakes->wanted.load() || !HasEnded(job);) {
    if (given == wakes->wanted.load()) {
      std::this_thread::yield();
      continue;
    }
    if (rng.OneIn(3)) Spin(rng.Below(3000));
    wakes->given.store(++given);
    Enter(job);
    Count(Totals().wake_ups);
    heart.Beat("check wake-ups");
    if (rng.OneIn(8)) PauseForAMoment(job, rng);
  }
}

}  // namespace jobcore::stress
