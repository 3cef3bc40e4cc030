// SPDX-License-Identifier: Apache-2.0
//
// Waiting for jobs, from the main thread, from plain threads and from coroutines.

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TimePoint Soon() { return SaturatingAdd(Clock::System().Now(), milliseconds(20)); }

std::string Text(const absl::StatusOr<JobOutcome>& outcome) {
  return outcome.ok() ? outcome->ToString() : std::string(absl::StatusCodeToString(outcome.status().code()));
}

// Who waits: the main thread that runs the loop, a plain thread beside it, or a plain thread of a core that
// runs its loop itself. Where the job lives: in the main context or in an I/O thread.
enum class Waiter { kMainThread, kPlainThread, kOwnThreadCore };
struct Case {
  Waiter waiter;
  bool io;
};

class JobWait : public testing::TestWithParam<Case> {
 protected:
  AioContext* context() { return GetParam().io ? &world.io() : nullptr; }

  // Calls `wait` on the thread that is to wait, with the main loop running beside it where it has to.
  void OnWaiter(absl::FunctionRef<void()> wait) {
    if (GetParam().waiter != Waiter::kPlainThread) {
      wait();
      return;
    }
    std::atomic<bool> done{false};
    std::thread thread([&] {
      wait();
      done = true;
      world.main().Notify();
    });
    world.RunUntil([&] { return done.load(); }, "the waiting thread");
    thread.join();
  }

  TestWorld world{{.own_thread = GetParam().waiter == Waiter::kOwnThreadCore, .io_threads = 1}};
  std::shared_ptr<Remote> remote = std::make_shared<Remote>();
};

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  const char* waiter[] = {"MainThread", "PlainThread", "OwnThreadCore"};
  return std::string(waiter[static_cast<int>(info.param.waiter)]) + (info.param.io ? "_JobInIOThread" : "_JobInMain");
}
INSTANTIATE_TEST_SUITE_P(, JobWait,
                         testing::Values(Case{Waiter::kMainThread, false}, Case{Waiter::kMainThread, true},
                                         Case{Waiter::kPlainThread, false}, Case{Waiter::kPlainThread, true},
                                         Case{Waiter::kOwnThreadCore, false}, Case{Waiter::kOwnThreadCore, true}),
                         CaseName);

TEST_P(JobWait, ReturnsTheOutcome) {
  const JobRef good = world.Start({.id = "good", .context = context()}, {});
  const JobRef bad = world.Start({.id = "bad", .context = context()}, Returning(absl::DataLossError("sector 7")));
  OnWaiter([&] {
    EXPECT_EQ(Text(monitor::WaitFor(good, Patience())), "succeeded");
    EXPECT_EQ(Text(monitor::WaitFor(bad, Patience())), "failed: sector 7");
    EXPECT_EQ(Text(monitor::WaitFor(bad, Patience())), "failed: sector 7");  // long over
  });
}

TEST_P(JobWait, OfAJobThatGoesOnEndsAtItsDeadline) {
  const JobRef job = world.Start({.id = "j", .context = context()}, Obedient(remote));
  OnWaiter([&] {
    EXPECT_EQ(Text(monitor::WaitFor(job, Soon())), "DEADLINE_EXCEEDED");
    EXPECT_EQ(Text(monitor::WaitFor(job, Clock::System().Now())), "DEADLINE_EXCEEDED");
  });
  EXPECT_EQ(world.Status(job), "running");
}

TEST_P(JobWait, DoesNotEndOrDisturbAPausedJob) {
  const JobRef job = world.Start({.id = "j", .context = context()}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  world.NewEvents();
  OnWaiter([&] { EXPECT_EQ(Text(monitor::WaitFor(job, Soon())), "DEADLINE_EXCEEDED"); });
  EXPECT_THAT(world.NewEvents(), testing::IsEmpty());
}

TEST_P(JobWait, OfAPendingJobThatNobodyFinalisesIsRefused) {
  const JobRef job = world.Start({.id = "j", .context = context(), .auto_finalize = false}, {});
  OnWaiter([&] {
    const absl::Status status = monitor::WaitFor(job, Patience()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("'j'"));
  });
  EXPECT_EQ(world.Status(job), "pending");
}

TEST_P(JobWait, OfAPendingJobThatIsBeingFinalisedReturnsItsOutcome) {
  Gate& gate = world.NewGate();
  const JobRef job =
      world.Start({.id = "j", .context = context(), .auto_finalize = false}, {.prepare = [&]() -> Co<absl::Status> {
                    co_await gate.Pass();
                    co_return absl::OkStatus();
                  }});
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  ASSERT_TRUE(world.Finalize(job).ok());
  std::thread opener([&] { gate.Open(); });
  OnWaiter([&] { EXPECT_EQ(Text(monitor::WaitFor(job, Patience())), "succeeded"); });
  opener.join();
}

TEST_P(JobWait, CancelAndWaitReturnsWhenTheJobHasLetGo) {
  const JobRef job = world.Start({.id = "j", .context = context()}, Obedient(remote));
  OnWaiter([&] { EXPECT_EQ(Text(monitor::CancelAndWait(job, CancelMode::kForce, Patience())), "cancelled"); });
  EXPECT_EQ(world.Status(job), "null");
  EXPECT_EQ(world.log().Count("j", "Clean"), 1);
}

TEST_P(JobWait, CancelAndWaitOfAJobThatIgnoresItEndsAtTheDeadline) {
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j", .context = context()}, {.run = [&](JobContext&) -> Co<absl::Status> {
                                   co_await gate.Pass();
                                   co_return absl::OkStatus();
                                 }});
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "Run"));
  OnWaiter([&] { EXPECT_EQ(Text(monitor::CancelAndWait(job, CancelMode::kForce, Soon())), "DEADLINE_EXCEEDED"); });
  gate.Open();
  OnWaiter([&] { EXPECT_EQ(Text(monitor::WaitFor(job, Patience())), "cancelled"); });
}

TEST_P(JobWait, CancelAndWaitOfAJobThatHasEndedOrIsAbortingWaitsForIt) {
  const JobRef over = world.Start({.id = "over", .context = context(), .auto_dismiss = false}, {});
  ASSERT_TRUE(world.RunUntilStatus(over, "concluded"));
  Gate& gate = world.NewGate();
  const JobRef aborting = world.Start({.id = "aborting", .context = context()}, [&] {
    Script script = Returning(absl::DataLossError("sector 7"));
    script.abort = [&]() -> Co<void> { co_await gate.Pass(); };
    return script;
  }());
  ASSERT_TRUE(world.RunUntilStatus(aborting, "aborting"));
  std::thread opener([&] { gate.Open(); });
  OnWaiter([&] {
    EXPECT_EQ(Text(monitor::CancelAndWait(over, CancelMode::kForce, Patience())), "succeeded");
    EXPECT_EQ(Text(monitor::CancelAndWait(aborting, CancelMode::kForce, Patience())), "failed: sector 7");
  });
  opener.join();
}

TEST_P(JobWait, CancelAndWaitOfANeverStartedJobEnds) {
  const JobRef job = world.Create({.id = "j", .context = context()}, {});
  OnWaiter([&] { EXPECT_EQ(Text(monitor::CancelAndWait(job, CancelMode::kForce, Patience())), "cancelled"); });
}

TEST_P(JobWait, CompleteAndWaitReturnsTheOutcomeOrTheRefusal) {
  const JobRef job = world.Start({.id = "j", .context = context()}, Obedient(remote, ReadyCapabilities{}));
  const JobRef unready = world.Start({.id = "u", .context = context()}, Obedient(std::make_shared<Remote>()));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  OnWaiter([&] {
    ExpectRefused(monitor::CompleteAndWait(unready, Patience()).status(),
                  "Job 'u' in state 'running' cannot accept command verb 'complete'", "u");
    EXPECT_EQ(Text(monitor::CompleteAndWait(job, Patience())), "succeeded");
  });
}

TEST_P(JobWait, ManyWaitsInARowAreNeverMissed) {
  for (int i = 0; i < 300; ++i) {
    const JobRef job = world.Start({.id = "j", .context = context()}, {});
    OnWaiter([&] { ASSERT_EQ(Text(monitor::WaitFor(job, Patience())), "succeeded"); });
    world.RunUntilNull(job);
  }
}

TEST_P(JobWait, TheConditionOnACoreIsWokenByEveryChangeOfItsJobs) {
  const JobRef job = world.Start({.id = "j", .context = context()}, Obedient(remote));
  OnWaiter([&] {
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(world.Pause(job).ok());
      ASSERT_TRUE(AioWaitWhileUnlocked(world.core(), [&] { return world.Status(job) != "paused"; },
                                       {.name = "parked", .deadline = Patience()})
                      .ok());
      ASSERT_TRUE(world.Resume(job).ok());
    }
  });
}

TEST(JobAwait, SuspendsACoroutineUntilTheJobHasConcluded) {
  TestWorld world({.io_threads = 1});
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "j", .context = &world.io()}, Obedient(remote));
  std::string result;
  const auto wait = [&]() -> Co<void> {
    absl::StatusOr<JobOutcome> outcome = co_await monitor::AwaitJob(job, Patience());
    result = Text(outcome);
  };
  world.main().Post("await", [&] { Spawn("await", wait()); });
  world.Settle();
  EXPECT_EQ(result, "");
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntil([&] { return !result.empty(); }, "AwaitJob"));
  EXPECT_EQ(result, "succeeded");
}

TEST(JobAwait, EndsAtItsDeadlineInVirtualTime) {
  TestWorld world({.virtual_time = true});
  const JobRef job = world.Start({.id = "j"}, Obedient(std::make_shared<Remote>()));
  std::string result;
  const TimePoint deadline = world.clock().Now() + seconds(30);
  const auto wait = [&]() -> Co<void> {
    absl::StatusOr<JobOutcome> outcome = co_await monitor::AwaitJob(job, deadline);
    result = Text(outcome);
  };
  world.main().Post("await", [&] { Spawn("await", wait()); });
  world.Settle();
  world.clock().Advance(seconds(30) - Nanoseconds(1));
  world.Settle();
  EXPECT_EQ(result, "");
  world.clock().Advance(Nanoseconds(1));
  world.Settle();
  EXPECT_EQ(result, "DEADLINE_EXCEEDED");
}

TEST(JobAwait, OneJobMayAwaitAnother) {
  TestWorld world({.io_threads = 2});
  auto remote = std::make_shared<Remote>();
  JobRef inner = world.Start({.id = "inner", .context = &world.io(0)}, Obedient(remote));
  const JobRef outer =
      world.Start({.id = "outer", .context = &world.io(1)}, {.run = [&](JobContext&) -> Co<absl::Status> {
                    absl::StatusOr<JobOutcome> outcome = co_await monitor::AwaitJob(inner);
                    co_return outcome.ok() ? outcome->ToStatus() : outcome.status();
                  }});
  world.Settle();
  EXPECT_EQ(world.Status(outer), "running");
  remote->Finish(*inner, absl::DataLossError("inner pain"));
  ASSERT_TRUE(world.RunUntilNull(outer));
  EXPECT_EQ(world.EventOutcome("outer"), "failed: inner pain");
}

TEST(JobWaitRefusal, InACallbackEveryWaitIsRefused) {
  TestWorld world;
  const JobRef job = world.Start({.id = "j"}, Obedient(std::make_shared<Remote>(), ReadyCapabilities{}));
  world.Settle();
  bool called = false;
  world.main().Post("a callback", [&] {
    for (const absl::Status& status :
         {monitor::WaitFor(job, Patience()).status(),
          monitor::CancelAndWait(job, CancelMode::kForce, Patience()).status(),
          monitor::CompleteAndWait(job, Patience()).status(),
          monitor::Shutdown(world.core(), monitor::ShutdownMode::kCancel, Patience()).status()})
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    called = true;
  });
  ASSERT_TRUE(world.RunUntil([&] { return called; }, "the callback"));
  // A refusal of the wait is a refusal of the whole: nothing has been asked of the job.
  EXPECT_FALSE(world.Query(job).cancelling);
  EXPECT_EQ(world.log().Count("j", "Complete"), 0);
  EXPECT_EQ(world.Status(job), "ready");
  world.Create({.id = "new"}, {});  // nor of the core
}

TEST(JobWaitRefusal, AnIOThreadMayNotWaitForTheCore) {
  TestWorld world({.io_threads = 1});
  const JobRef job = world.Create({.id = "j"}, {});
  std::atomic<bool> called{false};
  world.io().Post("a callback", [&] {
    EXPECT_EQ(monitor::WaitFor(job, Patience()).status().code(), absl::StatusCode::kFailedPrecondition);
    called = true;
  });
  ASSERT_TRUE(world.RunUntil([&] { return called.load(); }, "the callback"));
}

TEST(JobCancelAll, CancelsInternalAndPausedAndUnstartedJobsAndSaysHowMany) {
  TestWorld world({.io_threads = 1});
  std::vector<JobRef> jobs;
  jobs.push_back(world.Create({.id = "created"}, {}));
  jobs.push_back(world.Start({.internal = true}, Obedient(std::make_shared<Remote>())));
  jobs.push_back(world.Start({.id = "io", .context = &world.io()}, Obedient(std::make_shared<Remote>())));
  jobs.push_back(world.Start({.id = "paused"}, Obedient(std::make_shared<Remote>())));
  const JobRef over = world.Start({.id = "over", .auto_dismiss = false}, {});
  world.Settle();
  ASSERT_TRUE(world.Pause(jobs.back()).ok());
  world.Settle();
  EXPECT_EQ(monitor::CancelAll(world.core()), 4u);
  for (const JobRef& job : jobs) {
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(world.Outcome(job), "cancelled");
  }
  EXPECT_EQ(world.Status(over), "concluded");
  EXPECT_EQ(monitor::CancelAll(world.core()), 0u);
}

TEST(JobCancelAll, GoesThroughMoreJobsThanAPageHas) {
  TestWorld world;
  std::vector<JobRef> jobs;
  for (int i = 0; i < 200; ++i) jobs.push_back(world.Create({.id = "j" + std::to_string(i)}, {}));
  EXPECT_EQ(monitor::CancelAll(world.core()), 200u);
  for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
}

}  // namespace
}  // namespace jobcore
