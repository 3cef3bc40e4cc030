// SPDX-License-Identifier: Apache-2.0
//
// Pause is a gate with reasons: a parked job leaves it only when every reason has been taken back,
// or by force. In virtual time, on one thread; the last ones against I/O threads.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class JobPause : public testing::Test {
 protected:
  JobRef StartSleeper(Nanoseconds duration) {
    return world.Start({.id = "j"}, {.run = [=, this](JobContext& self) -> Co<absl::Status> {
                         absl::Status s = co_await self.Sleep(duration);
                         woke_at = world.clock().Now();
                         co_return s;
                       }});
  }

  TestWorld world{{.virtual_time = true}};
  std::shared_ptr<Remote> remote = std::make_shared<Remote>();
  TimePoint woke_at{};
};

TEST_F(JobPause, ParksAndGoesOnWhenResumed) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  EXPECT_THAT(world.Query(job).pause_reasons, ElementsAre("user"));
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  ASSERT_TRUE(world.Resume(job).ok());
  EXPECT_EQ(world.Status(job), "running");
  EXPECT_THAT(world.Query(job).pause_reasons, IsEmpty());
  world.Settle();
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("j"),
              ElementsAre("created", "running", "paused", "running", "waiting", "pending", "concluded", "null"));
}

TEST_F(JobPause, OfAReadyJobIsStandby) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote, ReadyCapabilities{}));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "standby");
  ASSERT_TRUE(world.Resume(job).ok());
  EXPECT_EQ(world.Status(job), "ready");
}

TEST_F(JobPause, LastsUntilEveryReasonIsTakenBack) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_TRUE(world.Pause(job, "error").ok());
  ASSERT_TRUE(world.Pause(job, "maintenance").ok());
  EXPECT_THAT(world.Query(job).pause_reasons, ElementsAre("user", "error", "maintenance"));
  world.NewEvents();
  ASSERT_TRUE(world.Resume(job, "error").ok());
  world.Settle();
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_THAT(world.NewEvents(), IsEmpty());
  EXPECT_THAT(world.Query(job).pause_reasons, ElementsAre("maintenance"));
  ASSERT_TRUE(world.Resume(job, "maintenance").ok());
  EXPECT_EQ(world.Status(job), "running");
}

TEST_F(JobPause, ThatItIsParkedIsSeenWithoutTheMutex) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  EXPECT_FALSE(job->parked());
  ASSERT_TRUE(world.Pause(job).ok());
  EXPECT_FALSE(job->parked());  // it has yet to come to its pause point
  world.Settle();
  EXPECT_TRUE(job->parked());
  ASSERT_TRUE(world.Resume(job).ok());
  EXPECT_FALSE(job->parked());
}

TEST_F(JobPause, AReasonIsGivenOnceAndTakenBackOnce) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ExpectRefused(world.Pause(job), "Job is already paused", "j");
  ExpectRefused(world.Resume(job, "maintenance"), "Can't resume a job that was not paused", "j");
  ASSERT_TRUE(world.Pause(job, "maintenance").ok());
  ExpectRefused(world.Pause(job, "maintenance"), "Job is already paused", "j");
  ASSERT_TRUE(world.Resume(job).ok());
  ExpectRefused(world.Resume(job), "Can't resume a job that was not paused", "j");
  ASSERT_TRUE(world.Resume(job, "maintenance").ok());
}

TEST_F(JobPause, ResumedBeforeItHasParkedNeverParks) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running"));
  EXPECT_EQ(world.Status(job), "running");
}

TEST_F(JobPause, BeforeStartParksBeforeAnyDriverCode) {
  const JobRef job = world.Create({.id = "j"}, Obedient(remote));
  ASSERT_TRUE(world.Pause(job).ok());
  EXPECT_EQ(world.Status(job), "created");
  ASSERT_TRUE(StartJob(*job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running", "paused"));
  EXPECT_THAT(world.log().Of("j"), IsEmpty());
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run"));
}

TEST_F(JobPause, BeforeStartCanBeTakenBackBeforeStart) {
  const JobRef job = world.Create({.id = "j"}, Obedient(remote));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(StartJob(*job).ok());
  world.Settle();
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running"));
}

TEST_F(JobPause, BeforeStartAndThenCancelledNeverRunsTheDriver) {
  const JobRef job = world.Create({.id = "j"}, Obedient(remote));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(StartJob(*job).ok());
  world.Settle();
  ASSERT_EQ(world.Status(job), "paused");
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("j"),
              ElementsAre("created", "running", "paused", "running", "aborting", "concluded", "null"));
  EXPECT_EQ(world.log().Count("j", "Run"), 0);
}

TEST_F(JobPause, R45WakesAJobThatYields) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  const int turns = remote->turns();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_EQ(remote->turns(), turns);  // parked inside the yield
}

TEST_F(JobPause, R47APauseDuringASleepHoldsWhenTheTimeIsUp) {
  const JobRef job = StartSleeper(seconds(10));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  world.clock().Advance(seconds(20));
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_EQ(woke_at, TimePoint{});
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(woke_at, world.clock().Now());  // overdue: at once
}

TEST_F(JobPause, R32ASleepIsNeitherShortenedNorExtendedByAPause) {
  const TimePoint start = world.clock().Now();
  const JobRef job = StartSleeper(seconds(10));
  world.Settle();
  for (int i = 0; i < 9; ++i) {
    ASSERT_TRUE(world.Pause(job).ok());
    world.Settle();
    world.clock().Advance(seconds(1));
    ASSERT_TRUE(world.Resume(job).ok());
    world.Settle();
    EXPECT_EQ(world.Status(job), "running");
    EXPECT_EQ(woke_at, TimePoint{});
  }
  world.clock().Advance(seconds(1) - Nanoseconds(1));
  world.Settle();
  EXPECT_EQ(woke_at, TimePoint{});
  world.clock().Advance(Nanoseconds(1));
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(woke_at - start, seconds(10));
}

TEST_F(JobPause, AHundredPausesMakeARateLimitedJobNoFaster) {
  int slices = 0;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   for (;;) {
                                     ++slices;
                                     absl::Status s = co_await self.Sleep(milliseconds(100));
                                     if (!s.ok()) co_return s;
                                   }
                                 }});
  world.Settle();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(world.Pause(job).ok());
    world.Settle();
    ASSERT_TRUE(world.Resume(job).ok());
    world.Settle();
    world.clock().Advance(milliseconds(10));
    world.Settle();
  }
  EXPECT_EQ(slices, 1 + 10);  // a second is ten slices
}

TEST_F(JobPause, R94NothingButResumeOrForceUnparks) {
  const JobRef job = StartSleeper(seconds(10));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  world.NewEvents();
  for (int i = 0; i < 10; ++i) {
    Enter(*job);                        // a driver's own completion
    world.clock().Advance(seconds(5));  // its timer
    world.Settle();
    EXPECT_EQ(world.Status(job), "paused");
  }
  EXPECT_THAT(world.NewEvents(), IsEmpty());
  EXPECT_EQ(woke_at, TimePoint{});
}

TEST_F(JobPause, AWakeUpWhileParkedIsKeptForTheYieldThatWasInterrupted) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  const int turns = remote->turns();
  Enter(*job);
  world.Settle();
  EXPECT_EQ(remote->turns(), turns);
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_GT(remote->turns(), turns);
}

TEST_F(JobPause, AWakeUpDuringASleepOfAHookIsKeptForTheYieldThatWasInterrupted) {
  Script script = Obedient(remote);
  script.pause = script.resume = [](JobContext& self) -> Co<void> { (void)co_await self.Sleep(hours(1)); };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  const int turns = remote->turns();
  Enter(*job);  // in the Pause hook
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_EQ(remote->turns(), turns);
  world.clock().Advance(hours(1));  // the end of the Resume hook
  world.Settle();
  EXPECT_GT(remote->turns(), turns);
}

TEST_F(JobPause, AWakeUpWhileParkedEndsTheSleepAfterTheResume) {
  const JobRef job = StartSleeper(hours(1));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  Enter(*job);
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(woke_at, world.clock().Now());
}

TEST_F(JobPause, ResumeDoesNotWakeAJobThatYieldedForSomethingElse) {
  // A yield may return early, but a resume alone is no reason for an endless sleep to end.
  const JobRef job = StartSleeper(hours(1));
  world.Settle();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(world.Pause(job).ok());
    world.Settle();
    ASSERT_TRUE(world.Resume(job).ok());
    world.Settle();
    EXPECT_EQ(world.Status(job), "running");
  }
}

TEST_F(JobPause, HooksAreCalledInPairsAroundEachPark) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(world.Pause(job).ok());
    world.Settle();
    ASSERT_TRUE(world.Resume(job).ok());
    world.Settle();
  }
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run", "Pause", "Resume", "Pause", "Resume", "Pause", "Resume"));
}

TEST_F(JobPause, TheJobParksOnlyWhenThePauseHookHasFinished) {
  Gate& gate = world.NewGate();
  Script script = Obedient(remote);
  script.pause = [&](JobContext&) -> Co<void> { co_await gate.Pass(); };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  EXPECT_EQ(gate.reached(), 1);
  EXPECT_EQ(world.Status(job), "running");
  gate.Open();
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
}

TEST_F(JobPause, ResumedDuringThePauseHookItDoesNotParkButTheHooksStillPair) {
  Gate& gate = world.NewGate();
  Script script = Obedient(remote);
  script.pause = [&](JobContext&) -> Co<void> { co_await gate.Pass(); };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_TRUE(world.Resume(job).ok());
  gate.Open();
  world.Settle();
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running"));
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run", "Pause", "Resume"));
}

TEST_F(JobPause, TheResumeHookMayWaitBeforeTheJobGoesOn) {
  Gate& gate = world.NewGate();
  Script script = Obedient(remote);
  script.resume = [&](JobContext&) -> Co<void> { co_await gate.Pass(); };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  const int turns = remote->turns();
  Enter(*job);
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");
  EXPECT_EQ(gate.reached(), 1);
  EXPECT_EQ(remote->turns(), turns);
  gate.Open();
  world.Settle();
  EXPECT_GT(remote->turns(), turns);
}

TEST_F(JobPause, PausedAgainDuringTheResumeHookItParksAgain) {
  Gate& gate = world.NewGate();
  Script script = Obedient(remote);
  script.resume = [&](JobContext&) -> Co<void> { co_await gate.Pass(); };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  ASSERT_EQ(gate.reached(), 1);
  const int turns = remote->turns();
  ASSERT_TRUE(world.Pause(job).ok());
  gate.Open();
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_EQ(remote->turns(), turns);
}

TEST_F(JobPause, PausedAgainBeforeItRunsItParksAgainWithoutDriverCode) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_EQ(world.Status(job), "paused");
  Enter(*job);
  const int turns = remote->turns();
  const Strings hooks = world.log().Of("j");
  world.NewEvents();
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(world.Resume(job).ok());
    ASSERT_TRUE(world.Pause(job).ok());
    world.Settle();
    EXPECT_EQ(world.Status(job), "paused");
    EXPECT_THAT(world.NewEvents(), ElementsAre("j running", "j paused"));
  }
  EXPECT_EQ(remote->turns(), turns);
  EXPECT_EQ(world.log().Of("j"), hooks);
}

TEST_F(JobPause, ManyFlipsBetweenTwoTurnsOfTheLoopResumeTheJobOnce) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(world.Resume(job).ok());
    ASSERT_TRUE(world.Pause(job).ok());
  }
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_F(JobPause, AForceCancelLeavesTheGateThoughReasonsAreLeft) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.Pause(job, "error").ok());
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  EXPECT_EQ(world.Status(job), "running");
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_F(JobPause, ASoftCancelOfAStandbyJobWaitsForTheResume) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote, ReadyCapabilities{.soft_cancel = true}));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "standby");
  EXPECT_TRUE(world.Query(job).cancelling);
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

TEST_F(JobPause, PausePointParksAJobThatNeverSleeps) {
  int steps = 0;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   for (;;) {
                                     ++steps;
                                     if (absl::Status s = co_await self.PausePoint(); !s.ok()) co_return s;
                                     if (absl::Status s = co_await self.Sleep(Nanoseconds(0)); !s.ok()) co_return s;
                                   }
                                 }});
  for (int i = 0; i < 20; ++i) world.main().RunOnce(false);
  EXPECT_GT(steps, 2);
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  const int parked_at = steps;
  for (int i = 0; i < 20; ++i) world.main().RunOnce(false);
  EXPECT_EQ(steps, parked_at);
  ASSERT_TRUE(world.Resume(job).ok());
  for (int i = 0; i < 20; ++i) world.main().RunOnce(false);
  EXPECT_GT(steps, parked_at);
}

TEST_F(JobPause, SleepZeroLetsEverybodyElseRun) {
  Strings order;
  const auto script = [&](std::string name) {
    return Script{.run = [&order, name](JobContext& self) -> Co<absl::Status> {
      for (int i = 0; i < 3; ++i) {
        order.push_back(name + std::to_string(i));
        (co_await self.Sleep(Nanoseconds(0))).IgnoreError();
      }
      co_return absl::OkStatus();
    }};
  };
  const JobRef a = world.Start({.id = "a"}, script("a"));
  const JobRef b = world.Start({.id = "b"}, script("b"));
  ASSERT_TRUE(world.RunUntilNull(a));
  ASSERT_TRUE(world.RunUntilNull(b));
  EXPECT_THAT(order, ElementsAre("a0", "b0", "a1", "b1", "a2", "b2"));
}

TEST_F(JobPause, ASleepEndsWhenTheTimeHasComeAndNotBefore) {
  const TimePoint start = world.clock().Now();
  const JobRef job = StartSleeper(seconds(3));
  world.Settle();
  world.clock().Advance(seconds(3) - Nanoseconds(1));
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");
  world.clock().Advance(Nanoseconds(1));
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(woke_at - start, seconds(3));
}

TEST_F(JobPause, EnterEndsASleepAndCancelDoesToo) {
  const JobRef woken = StartSleeper(hours(1));
  world.Settle();
  Enter(*woken);
  ASSERT_TRUE(world.RunUntilNull(woken));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
  const JobRef cancelled = StartSleeper(hours(1));
  world.Settle();
  ASSERT_TRUE(world.Cancel(cancelled).ok());
  ASSERT_TRUE(world.RunUntilNull(cancelled));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_F(JobPause, AWakeUpBeforeTheYieldEndsItAtOnceAndCountsOnce) {
  int yields = 0;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   Enter(self.job());
                                   Enter(self.job());
                                   (co_await self.Yield()).IgnoreError();
                                   ++yields;
                                   absl::Status s = co_await self.Yield();
                                   ++yields;
                                   co_return s;
                                 }});
  world.Settle();
  EXPECT_EQ(yields, 1);
  Enter(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(yields, 2);
}

TEST_F(JobPause, EnterLeavesJobsAloneThatAreNotStartedOrHaveFinished) {
  const JobRef job = world.Create({.id = "j", .auto_finalize = false}, Obedient(remote));
  Enter(*job);
  world.Settle();
  EXPECT_EQ(world.Status(job), "created");
  ASSERT_TRUE(StartJob(*job).ok());
  world.Settle();
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  Enter(*job);
  world.Settle();
  EXPECT_EQ(world.Status(job), "pending");
}

TEST_F(JobPause, PauseRequestedIsSeenByTheDriver) {
  bool before = true;
  bool during = false;
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   before = self.pause_requested();
                                   co_await gate.Pass();
                                   during = self.pause_requested();
                                   co_return co_await self.PausePoint();
                                 }});
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  gate.Open();
  world.Settle();
  EXPECT_FALSE(before);
  EXPECT_TRUE(during);
  EXPECT_EQ(world.Status(job), "paused");
}

TEST_F(JobPause, RunEndingWhileAPauseIsAskedForVoidsThePause) {
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j", .auto_dismiss = false}, {.run = [&](JobContext&) -> Co<absl::Status> {
                                   co_await gate.Pass();
                                   co_return absl::OkStatus();
                                 }});
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  gate.Open();
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  EXPECT_THAT(world.Query(job).pause_reasons, IsEmpty());
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running", "waiting", "pending", "concluded"));
}

}  // namespace
}  // namespace jobcore
