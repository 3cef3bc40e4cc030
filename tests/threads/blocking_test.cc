// SPDX-License-Identifier: Apache-2.0
//
// Jobs whose work is a plain function, under controlled threads: the function, Run and its hooks, and the pool.

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "job-driver/blocking_driver.h"
#include "job-driver/blocking_pool.h"
#include "job-monitor/job_wait.h"
#include "threads/thread_world.h"

namespace jobcore::threads {
namespace {

using std::chrono::microseconds;

// What became of a driver. Plain, for ThreadSanitizer.
struct Account {
  int returned = 0;
  int commits = 0;
  int aborts = 0;
  int cleans = 0;
};

class Function final : public BlockingDriver {
 public:
  using Body = std::function<absl::Status(BlockingJob&)>;
  Function(BlockingPool& pool, Account& account, Body body, bool ends_sleep)
      : BlockingDriver(pool), account_(account), body_(std::move(body)), ends_sleep_(ends_sleep) {}

  absl::Status RunBlocking(BlockingJob& job) override {
    const absl::Status status = body_(job);
    ++account_.returned;
    return absl::Status(status.code(), status.message());
  }
  void Cancel(JobContext&, CancelMode) override {
    if (ends_sleep_) EndSleep();
  }
  Co<absl::Status> Complete(JobContext&) override {
    EndSleep();
    co_return absl::OkStatus();
  }
  Co<absl::Status> Commit() override {
    ++account_.commits;
    return {};
  }
  Co<void> Abort() override {
    ++account_.aborts;
    return {};
  }
  Co<void> Clean() override {
    ++account_.cleans;
    return {};
  }

 private:
  Account& account_;
  const Body body_;
  const bool ends_sleep_;
};

JobRef StartFunction(World& world, BlockingPool& pool, Account& account, std::string id, Function::Body body,
                     bool ends_sleep = false) {
  absl::StatusOr<JobRef> job =
      CreateJob(world.core(), {.id = std::move(id), .context = &world.io(), .auto_dismiss = false},
                std::make_unique<Function>(pool, account, std::move(body), ends_sleep));
  RequireOk(job.status(), "creation");
  RequireOk(StartJob(**job), "start");
  return *std::move(job);
}

// A pause holds the function: at a check point, in a sleep or in the queue of the pool; a resume lets it go on; none of
// its code runs while the job is parked.
void APauseHoldsTheFunction(Choices& choices) {
  World world(choices);
  Account account;
  Atomic<int> steps{0};
  Atomic<bool> finish{false};
  const uint32_t kind = choices.Below(3);
  BlockingPool pool(1);
  {
    const JobRef job = StartFunction(world, pool, account, "a", [&](BlockingJob& j) -> absl::Status {
      while (!finish.load()) {
        steps.fetch_add(1);
        absl::Status status = kind == 0 ? j.CheckPoint() : j.SleepFor(microseconds(kind));
        if (!status.ok()) return status;
        SpinPoint();
      }
      return absl::OkStatus();
    });
    for (int i = 0; i < 2; ++i) {
      RequireOk(world.Pause(job), "pause");
      world.AwaitStatus(job, JobStatus::kPaused);
      const int before = steps.load();
      Enter(*job);
      if (choices.OneIn(2)) RequireOk(world.Move(job, i == 0 ? world.main() : world.io()), "move");
      Require(steps.load() == before && world.StatusOf(job) == JobStatus::kPaused, "a parked function stands still");
      RequireOk(world.Resume(job), "resume");
    }
    finish.store(true);
    Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
  }
  world.EndCore();
  Require(account.returned == 1 && account.commits == 1 && account.cleans == 1, "the function has come to its end");
}
TEST(Blocking, APauseHoldsTheFunction) {
  RunScenario([](Choices& choices) { APauseHoldsTheFunction(choices); });
}

// A force-cancel reaches the function wherever it is; so does the end of a sleep.
void ACancelEndsTheFunction(Choices& choices) {
  World world(choices);
  Account account;
  const bool pauses = choices.OneIn(2);
  const uint32_t kind = choices.Below(3);
  BlockingPool pool(1);
  {
    const JobRef job = StartFunction(
        world, pool, account, "a",
        [&](BlockingJob& j) -> absl::Status {
          for (;;) {
            absl::Status status = kind == 0 ? j.SleepFor(Nanoseconds::max()) : j.CheckPoint();
            if (!status.ok()) return status;
            SpinPoint();
          }
        },
        /*ends_sleep=*/choices.OneIn(2));
    Thread other([&] {
      if (pauses && world.Pause(job).ok() && kind != 1) (void)world.Resume(job);
    });
    RequireOk(world.Cancel(job), "cancel");
    Require(world.AwaitEnd(job).kind == JobOutcome::Kind::kCancelled, "a cancelled job is cancelled");
    other.join();
    Require(pool.usage().running == 0 && pool.usage().queued == 0, "a job that has ended uses no thread");
  }
  world.EndCore();
  Require(account.aborts == 1 && account.cleans == 1 && account.returned <= 1, "the job has come to its end");
}
TEST(Blocking, ACancelEndsTheFunction) { RunScenario(&ACancelEndsTheFunction, 2000); }

// A complete ends the sleep of the function, the present one or the next, whatever else wakes it; once.
void ACompleteEndsASleep(Choices& choices) {
  World world(choices);
  Account account;
  BlockingPool pool(1);
  Answers answers;
  bool asked = false;
  {
    const JobRef job = StartFunction(world, pool, account, "a", [&](BlockingJob& j) -> absl::Status {
      j.Ready();
      return j.SleepFor(Nanoseconds::max());
    });
    world.Await([&] { return world.StatusOf(job) >= JobStatus::kReady; });  // time may have ended the sleep
    Thread other([&] {
      if (world.choices().OneIn(2) && world.Pause(job).ok()) (void)world.Resume(job);  // unless it has ended
      Enter(*job);
    });
    asked = world.Complete(job, answers.Make(world)).ok();
    Require(asked || world.StatusOf(job) > JobStatus::kStandby, "a ready job can be completed");
    Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
    other.join();
  }
  world.EndCore();
  Require(answers.count == (asked ? 1 : 0), "a complete is answered once");
}
TEST(Blocking, ACompleteEndsASleep) { RunScenario(&ACompleteEndsASleep); }

// Two functions, one thread, and a pool that ends as soon as it can: functions queue, are withdrawn and cancelled; when
// the core has ended nothing uses the pool any more.
void APoolMayEndWithItsLastFunction(Choices& choices) {
  World world(choices);
  Account accounts[2];
  std::optional<BlockingPool> pool(choices.Between(1, 2));
  {
    const auto body = [](BlockingJob& j) -> absl::Status {
      for (int i = 0; i < 2; ++i) {
        if (absl::Status s = j.CheckPoint(); !s.ok()) return s;
        SpinPoint();
      }
      return absl::OkStatus();
    };
    const JobRef a = StartFunction(world, *pool, accounts[0], "a", body);
    const JobRef b = StartFunction(world, *pool, accounts[1], "b", body);
    const bool cancels = choices.OneIn(2);
    Thread other([&] {
      if (world.Pause(b).ok()) (void)world.Resume(b);
      if (cancels) (void)world.Cancel(b);
    });
    Require(world.AwaitEnd(a).succeeded(), "the job succeeds");
    Require(world.AwaitEnd(b).succeeded() || cancels, "the other job succeeds");
    other.join();
  }
  if (choices.OneIn(2)) world.EndCore();
  pool.reset();  // aborts if something uses it
  world.EndCore();
  for (const Account& account : accounts) {
    Require(account.commits + account.aborts == 1 && account.cleans == 1, "a job comes to its end");
  }
}
TEST(Blocking, APoolMayEndWithItsLastFunction) { RunScenario(&APoolMayEndWithItsLastFunction); }

// two functions of which the first waits for the second, in a pool that has an idle thread, and room for another:
// each gets a thread, although the idle one may not have taken the first function yet when the second one comes.
void AnIdleThreadIsPromisedOnce(Choices& choices) {
  World world(choices);
  Account accounts[3];
  Shared<bool> second_runs;
  BlockingPool pool(2);
  {
    const JobRef warm_up =
        StartFunction(world, pool, accounts[0], "warm-up", [](BlockingJob&) { return absl::OkStatus(); });
    Require(world.AwaitEnd(warm_up).succeeded(), "the first job succeeds");
    const JobRef a = StartFunction(world, pool, accounts[1], "a", [&](BlockingJob&) {
      second_runs.Await([](bool runs) { return runs; });
      return absl::OkStatus();
    });
    const JobRef b = StartFunction(world, pool, accounts[2], "b", [&](BlockingJob&) {
      second_runs.Update([](bool& runs) { runs = true; });
      return absl::OkStatus();
    });
    Require(world.AwaitEnd(a).succeeded() && world.AwaitEnd(b).succeeded(), "the jobs succeed");
  }
  world.EndCore();
}
TEST(Blocking, AnIdleThreadIsPromisedOnce) { RunScenario(&AnIdleThreadIsPromisedOnce); }

}  // namespace
}  // namespace jobcore::threads
