// SPDX-License-Identifier: Apache-2.0
//
// One test per entry of the race catalogue that concerns the core of jobs and needs no drained section. The
// numbers are those of the catalogue (R) and of the defects that its newest member still has (D).

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

// A waiter that registers while the condition changes is woken, or sees the change.
TEST(JobRace, R07AKickIsNeverLostBetweenTheConditionAndTheWaiter) {
  TestWorld world({.own_thread = true, .io_threads = 1});
  for (int i = 0; i < 1000; ++i) {
    const JobRef job = world.Start({.id = "j", .context = &world.io()}, {});
    const absl::StatusOr<JobOutcome> outcome = monitor::WaitFor(job, Patience());
    ASSERT_TRUE(outcome.ok()) << "round " << i << ": " << outcome.status();
    ASSERT_TRUE(world.RunUntilNull(job));
  }
}

// A job that turns idle, or parks, in its thread wakes whoever waits for that in another one.
TEST(JobRace, R08bParkingInAnIOThreadWakesTheWaiterInMain) {
  TestWorld world({.io_threads = 1});
  const JobRef job = world.Start({.id = "j", .context = &world.io()}, Obedient(std::make_shared<Remote>()));
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(world.Pause(job).ok());
    const absl::Status parked = AioWaitWhileUnlocked(world.core(), [&] { return world.Status(job) != "paused"; },
                                                     {.name = "parked", .deadline = Patience()});
    ASSERT_TRUE(parked.ok()) << "round " << i << ": " << parked;
    ASSERT_TRUE(world.Resume(job).ok());
  }
}

// Cancelling everything while everything completes: no list is walked across a gap.
TEST(JobRace, R14CancelAllOverGroupsThatComplete) {
  for (int round = 0; round < 40; ++round) {
    TestWorld world({.io_threads = 2});
    std::mt19937 random(static_cast<unsigned>(round));
    std::vector<JobRef> jobs;
    std::vector<std::shared_ptr<Remote>> remotes;
    for (int g = 0; g < 5; ++g) {
      JobTxnBuilder group(world.core());
      for (int i = 0; i < 4; ++i) {
        AioContext* contexts[] = {nullptr, &world.io(0), &world.io(1)};
        remotes.push_back(std::make_shared<Remote>());
        jobs.push_back(
            world.Start({.id = "j" + std::to_string(4 * g + i), .context = contexts[random() % 3], .group = &group},
                        Obedient(remotes.back())));
      }
      ASSERT_TRUE(group.Seal().ok());
    }
    std::thread finisher([&] {
      for (size_t i = 0; i < jobs.size(); ++i) remotes[i]->Finish(*jobs[i]);
    });
    for (unsigned turns = random() % 8; turns > 0; --turns) world.main().RunOnce(false);
    EXPECT_LE(monitor::CancelAll(world.core()), 20u);
    finisher.join();
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
    for (int g = 0; g < 5; ++g)  // together, one way or the other
      for (int i = 1; i < 4; ++i) EXPECT_EQ(world.Outcome(jobs[4 * g + i]), world.Outcome(jobs[4 * g]));
  }
}

// Hooks that wait, in groups across contexts: nothing is held over them, no loop is nested.
TEST(JobRace, R25EveryFinalisationHookMayWait) {
  for (bool fail : {false, true}) {
    TestWorld world({.io_threads = 1});
    const auto wait = [&world]() -> Co<void> {
      bool later = false;
      world.main().Post("later", [&] {
        later = true;
        world.main().wait_domain().Kick();
      });
      Co<absl::Status> waited = AioWaitWhile(world.main(), [&] { return !later; });
      (co_await std::move(waited)).IgnoreError();
    };
    const auto script = [&](bool failing) {
      return Script{.prepare = [&wait, failing]() -> Co<absl::Status> {
                      co_await wait();
                      co_return failing ? absl::DataLossError("torn page") : absl::OkStatus();
                    },
                    .commit = [&wait]() -> Co<absl::Status> {
                      co_await wait();
                      co_return absl::OkStatus();
                    },
                    .abort = [&wait]() -> Co<void> { co_await wait(); },
                    .clean = [&wait]() -> Co<void> { co_await wait(); }};
    };
    JobTxnBuilder group(world.core());
    const JobRef a = world.Start({.id = "a", .group = &group}, script(fail));
    const JobRef b = world.Start({.id = "b", .context = &world.io(), .group = &group}, script(false));
    ASSERT_TRUE(group.Seal().ok());
    ASSERT_TRUE(world.RunUntilNull(a));
    ASSERT_TRUE(world.RunUntilNull(b));
    EXPECT_EQ(world.EventOutcome("a"), fail ? "failed: torn page" : "succeeded");
    EXPECT_EQ(world.EventOutcome("b"), fail ? "cancelled" : "succeeded");
  }
}

// Exactly one of timer, kick and cancel consumes a suspension.
TEST(JobRace, R36StartAndCancelOfAJobThatSleepsForNoTime) {
  for (bool in_io : {false, true}) {
    TestWorld world({.io_threads = 1});
    for (int i = 0; i < 500; ++i) {
      const JobRef job = world.Start({.id = "j", .context = in_io ? &world.io() : nullptr},
                                     {.run = [](JobContext& self) -> Co<absl::Status> {
                                       for (;;)
                                         if (absl::Status s = co_await self.Sleep(Nanoseconds(0)); !s.ok()) co_return s;
                                     }});
      for (int turn = 0; turn < i % 4; ++turn) world.main().RunOnce(false);
      ASSERT_TRUE(world.Cancel(job).ok());
      ASSERT_TRUE(world.RunUntilNull(job)) << "round " << i;
      ASSERT_EQ(world.Outcome(job), "cancelled");
    }
  }
}

TEST(JobRace, R36TimerAndKickInTheSameTurnWakeOnce) {
  TestWorld world({.virtual_time = true});
  for (bool enter_first : {true, false}) {
    int woken = 0;
    const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                     for (int i = 0; i < 2; ++i) {
                                       absl::Status s = co_await self.Sleep(milliseconds(1));
                                       if (!s.ok()) co_return s;
                                       ++woken;
                                     }
                                     co_return co_await self.Sleep(std::chrono::hours(1));
                                   }});
    world.Settle();
    if (enter_first) Enter(*job);
    world.clock().Advance(milliseconds(1));
    if (!enter_first) Enter(*job);
    world.Settle();
    EXPECT_EQ(woken, 1);
    world.clock().Advance(milliseconds(1));
    world.Settle();
    EXPECT_EQ(woken, 2);
    ASSERT_TRUE(world.Cancel(job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
  }
}

TEST(JobRace, R36TimersRaceWithKicksFromAnotherThread) {
  TestWorld world({.io_threads = 1});
  std::atomic<int> rounds{0};
  const JobRef job =
      world.Start({.id = "j", .context = &world.io()}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                    for (; rounds < 2000; ++rounds)
                      if (absl::Status s = co_await self.Sleep(Nanoseconds(1000)); !s.ok()) co_return s;
                    co_return absl::OkStatus();
                  }});
  std::atomic<bool> stop{false};
  std::thread kicker([&] {
    while (!stop) Enter(*job);
  });
  EXPECT_TRUE(world.RunUntilNull(job));
  stop = true;
  kicker.join();
  EXPECT_EQ(rounds.load(), 2000);
}

// A kick after the coroutine has ended finds nothing to enter.
TEST(JobRace, R37KicksWhileAndAfterRunEnds) {
  TestWorld world({.io_threads = 1});
  for (int i = 0; i < 300; ++i) {
    const JobRef job =
        world.Start({.id = "j", .context = &world.io()},
                    {.run = [](JobContext& self) -> Co<absl::Status> { co_return co_await self.Yield(); }});
    std::atomic<bool> stop{false};
    std::thread kicker([&] {
      while (!stop) Enter(*job);
    });
    EXPECT_TRUE(world.RunUntilNull(job));
    stop = true;
    kicker.join();
    ASSERT_FALSE(HasFailure());
  }
}

// whoever was told that a cancel was accepted never sees a commit; whoever was refused always does. The
// cancel aims at the place between the last Prepare and the cut; whether it hits it or not, what is expected is
// the same.
TEST(JobRace, R30ACancelThatRacesWithTheCutIsEitherRefusedOrObeyed) {
  TestWorld world;
  for (int round = 0; round < 50; ++round) {
    std::atomic<bool> preparing{false};
    std::atomic<bool> held{false};
    std::atomic<bool> prepared{false};
    std::atomic<bool> cancelling{false};
    bool accepted = false;
    const JobRef job = world.Start({.id = "j", .auto_finalize = false}, {.prepare = [&]() -> Co<absl::Status> {
                                     preparing = true;
                                     while (!held) std::this_thread::yield();
                                     prepared = true;  // and now to the mutex, which somebody holds
                                     co_return absl::OkStatus();
                                   }});
    ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
    ASSERT_TRUE(world.Finalize(job).ok());
    std::thread holder([&] {
      while (!preparing) std::this_thread::yield();
      JobLock lock(world.core());
      held = true;
      while (!prepared) std::this_thread::yield();
      for (int i = 0; i < 200; ++i) std::this_thread::yield();
      cancelling = true;
      for (int i = 0; i < 200; ++i) std::this_thread::yield();
    });
    std::thread canceller([&] {
      while (!cancelling) std::this_thread::yield();
      accepted = world.Cancel(job).ok();
    });
    for (int turn = 0; turn < 3; ++turn) world.main().RunOnce(false);  // takes it through Prepare and the cut
    holder.join();
    EXPECT_TRUE(world.RunUntilNull(job));
    canceller.join();
    ASSERT_EQ(world.Outcome(job), accepted ? "cancelled" : "succeeded") << "round " << round;
    ASSERT_EQ(world.log().All({"Commit", "Abort"}).back(), accepted ? "j.Abort" : "j.Commit");
  }
}

// R-82 = D1: a member fails before the others have been started.
TEST(JobRace, R82D1NMembersCreatedKStartedFailureAtAnyPoint) {
  constexpr int kSize = 5;
  for (int started = 1; started <= kSize; ++started) {
    for (int failing = 0; failing < started; ++failing) {
      for (int finished = 0; finished <= started; ++finished) {
        SCOPED_TRACE(testing::PrintToString(std::vector<int>{started, failing, finished}));
        TestWorld world;
        JobTxnBuilder group(world.core());
        std::vector<JobRef> jobs;
        std::vector<std::shared_ptr<Remote>> remotes;
        for (int i = 0; i < kSize; ++i) {
          remotes.push_back(std::make_shared<Remote>());
          jobs.push_back(world.Create({.id = "j" + std::to_string(i), .group = &group}, Obedient(remotes.back())));
        }
        ASSERT_TRUE(group.Seal().ok());
        for (int i = 0; i < started; ++i) ASSERT_TRUE(StartJob(*jobs[i]).ok());
        for (int i = 0; i < finished; ++i)
          if (i != failing) remotes[i]->Finish(*jobs[i]);
        world.Settle();
        remotes[failing]->Finish(*jobs[failing], absl::DataLossError("missing device"));
        for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
        for (int i = 0; i < kSize; ++i)
          EXPECT_EQ(world.EventOutcome(jobs[i]->id()), i == failing ? "failed: missing device" : "cancelled");
      }
    }
  }
}

// R-83 = D2: finalize via A while B's Prepare fails. (All shapes of it: job_hooks_test.cc.)
TEST(JobRace, R83D2ASiblingThatCannotPrepareKeepsTheCallerFromCommitting) {
  for (bool failing_is_newer : {false, true}) {
    for (bool via_failing : {false, true}) {
      TestWorld world;
      JobTxnBuilder group(world.core());
      std::vector<JobRef> jobs;
      for (bool failing : {!failing_is_newer, failing_is_newer}) {
        Script script;
        if (failing) script.prepare = []() -> Co<absl::Status> { co_return absl::DataLossError("torn page"); };
        jobs.push_back(
            world.Start({.id = failing ? "b" : "a", .group = &group, .auto_finalize = false}, std::move(script)));
      }
      ASSERT_TRUE(group.Seal().ok());
      for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
      const bool front_fails = jobs.front()->id() == "b";
      ASSERT_TRUE(world.Finalize(front_fails == via_failing ? jobs.front() : jobs.back()).ok());
      for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
      EXPECT_EQ(world.EventOutcome("a"), "cancelled");
      EXPECT_EQ(world.EventOutcome("b"), "failed: torn page");
      EXPECT_THAT(world.log().All({"Commit"}), IsEmpty());
    }
  }
}

// R-86b: a sibling finishes between the cancel of another one and its kick.
TEST(JobRace, R86bAFinishThatRacesWithACancelGivesOneOutcomeToBoth) {
  for (int round = 0; round < 300; ++round) {
    TestWorld world({.io_threads = 2});
    JobTxnBuilder group(world.core());
    auto remote = std::make_shared<Remote>();
    const JobRef a = world.Start({.id = "a", .context = &world.io(0), .group = &group}, Obedient(remote));
    const JobRef b = world.Start({.id = "b", .context = &world.io(1), .group = &group}, {});
    ASSERT_TRUE(group.Seal().ok());
    if (round % 2 == 0) remote->Finish(*a);
    world.Cancel(a).IgnoreError();  // refused if it came too late
    remote->Finish(*a);
    ASSERT_TRUE(world.RunUntilNull(a));
    ASSERT_TRUE(world.RunUntilNull(b));
    EXPECT_EQ(world.Outcome(a), world.Outcome(b)) << "round " << round;
  }
}

// D3: a dying job is neither findable nor in the way of its name.
TEST(JobRace, R93D3CleanAndDestructorSeeTheRegistryAsItIs) {
  TestWorld world;
  bool findable_in_destructor = true;
  bool recreated = false;
  JobRef successor;
  JobRef job = world.Start({.id = "j"}, {.clean = [&]() -> Co<void> {
                                           EXPECT_TRUE(world.Findable("j"));
                                           EXPECT_THAT(monitor::SnapshotJobs(world.core()), SizeIs(1));
                                           co_return;
                                         },
                                         .destroyed =
                                             [&] {
                                               findable_in_destructor = world.Findable("j");
                                               successor = world.Create({.id = "j"}, {});
                                               recreated = true;
                                             }});
  ASSERT_TRUE(world.RunUntilNull(job));
  job = JobRef();
  ASSERT_TRUE(world.RunUntil([&] { return recreated; }, "the destructor"));
  EXPECT_FALSE(findable_in_destructor);
  EXPECT_EQ(world.Status(successor), "created");
}

// R-94 = D4: nothing but resume or force gets a job out of its pause.
TEST(JobRace, R94D4AWaitForAPausedJobDoesNotMoveIt) {
  TestWorld world({.io_threads = 1});
  const JobRef job =
      world.Start({.id = "j", .context = &world.io()}, Obedient(std::make_shared<Remote>(), ReadyCapabilities{}));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "standby"));
  world.NewEvents();
  EXPECT_EQ(monitor::CompleteAndWait(job, SaturatingAdd(Clock::System().Now(), milliseconds(30))).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(world.Status(job), "standby");
  EXPECT_THAT(world.NewEvents(), IsEmpty());
}

TEST(JobRace, R94D4AStormOfKicksDoesNotUnpark) {
  TestWorld world({.io_threads = 1});
  const JobRef job = world.Start({.id = "j", .context = &world.io()}, Obedient(std::make_shared<Remote>()));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  world.NewEvents();
  std::vector<std::thread> kickers;
  for (int t = 0; t < 3; ++t)
    kickers.emplace_back([&] {
      for (int i = 0; i < 20000; ++i) Enter(*job);
    });
  for (std::thread& kicker : kickers) kicker.join();
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_THAT(world.NewEvents(), IsEmpty());
}

// D5: the error of a job is published under the mutex; readers on other threads see all of it or nothing.
TEST(JobRace, R95D5TheErrorIsReadByAMonitorWhileRunFails) {
  TestWorld world({.io_threads = 1});
  const std::string text(200, 'e');
  for (int round = 0; round < 200; ++round) {
    const JobRef job =
        world.Start({.id = "j", .context = &world.io(), .auto_dismiss = false}, Returning(absl::DataLossError(text)));
    std::atomic<bool> concluded{false};
    std::thread reader([&] {
      while (!concluded) {
        const monitor::JobInfo info = world.Query(job);
        if (!info.outcome) continue;
        EXPECT_EQ(info.outcome->message, text);
        EXPECT_EQ(info.outcome->ToStatus().code(), absl::StatusCode::kDataLoss);
      }
    });
    EXPECT_TRUE(world.RunUntilStatus(job, "concluded"));
    concluded = true;
    reader.join();
    ASSERT_TRUE(world.Dismiss(job).ok());
    ASSERT_FALSE(HasFailure());
  }
}

// D7: hooks of a group do whatever they like to jobs, its own members included, and the walk goes on.
TEST(JobRace, D7HooksThatCreateCancelAndDismissWhileTheGroupIsWalked) {
  TestWorld world({.io_threads = 1});
  std::vector<JobRef> jobs;
  int fresh = 0;
  const auto meddle = [&] {
    monitor::CancelAll(world.core());
    for (JobRef& job : jobs) {
      world.Dismiss(job).IgnoreError();
      world.Pause(job).IgnoreError();
      world.Finalize(job).IgnoreError();
      Enter(*job);
    }
    world.Start({.id = "new" + std::to_string(fresh++)}, {});
    monitor::SnapshotJobs(world.core());
  };
  JobTxnBuilder group(world.core());
  for (int i = 0; i < 4; ++i)
    jobs.push_back(world.Create({.id = "j" + std::to_string(i),
                                 .context = i % 2 == 0 ? &world.io() : nullptr,
                                 .group = &group,
                                 .auto_dismiss = false},
                                {.commit = [&]() -> Co<absl::Status> {
                                   meddle();
                                   co_return absl::OkStatus();
                                 },
                                 .clean = [&]() -> Co<void> {
                                   meddle();
                                   co_return;
                                 }}));
  ASSERT_TRUE(group.Seal().ok());
  for (const JobRef& job : jobs) ASSERT_TRUE(StartJob(*job).ok());
  ASSERT_TRUE(world.RunUntil(
      [&] {
        int over = 0;
        for (const JobRef& job : jobs) over += world.Status(job) == "null" || world.Status(job) == "concluded" ? 1 : 0;
        return over == 4;
      },
      "the end of the group"));
  for (const JobRef& job : jobs) EXPECT_EQ(world.Outcome(job), "succeeded");
  world.Settle();
}

TEST(JobRace, D7AThreadDoesEveryVerbWhileGroupsComeAndGo) {
  TestWorld world({.io_threads = 1});
  std::atomic<bool> stop{false};
  std::thread monitor_thread([&] {
    std::mt19937 random(7);
    while (!stop) {
      JobLock lock(world.core());
      Job* job = monitor::Find(world.core(), "j" + std::to_string(random() % 3));
      if (job == nullptr) continue;
      switch (random() % 6) {
        case 0:
          monitor::Pause(*job).IgnoreError();
          break;
        case 1:
          monitor::Resume(*job).IgnoreError();
          break;
        case 2:
          monitor::Finalize(*job).IgnoreError();
          break;
        case 3:
          monitor::Dismiss(*job).IgnoreError();
          break;
        case 4:
          monitor::Query(*job);
          break;
        default:
          if (random() % 8 == 0) monitor::Cancel(*job).IgnoreError();
      }
    }
  });
  for (int round = 0; round < 100; ++round) {
    std::vector<JobRef> jobs;
    JobTxnBuilder group(world.core());
    for (int i = 0; i < 3; ++i) {
      absl::StatusOr<JobRef> job = CreateJob(world.core(),
                                             {.id = "j" + std::to_string(i),
                                              .context = i == 0 ? nullptr : &world.io(),
                                              .group = &group,
                                              .auto_finalize = i != 1},
                                             world.Driver("j"));
      if (!job.ok()) {  // cancelled already
        EXPECT_EQ(job.status().code(), absl::StatusCode::kAborted) << job.status();
        continue;
      }
      jobs.push_back(*job);
      StartJob(**job).IgnoreError();
    }
    group.Seal().IgnoreError();
    for (const JobRef& job : jobs)
      EXPECT_TRUE(world.RunUntil(
          [&] {
            world.Resume(job).IgnoreError();
            return world.Status(job) == "null";
          },
          "the end of " + job->id()));
    if (HasFailure()) break;
  }
  stop = true;
  monitor_thread.join();
}

// D8: cancelling everything from inside a commit, or an abort, comes to an end.
TEST(JobRace, R96D8CancelAllInsideCommitOrAbortTerminates) {
  for (bool fail : {false, true}) {
    TestWorld world;
    size_t accepted = 0;
    const JobRef bystander = world.Start({.id = "by"}, Obedient(std::make_shared<Remote>()));
    world.Settle();
    const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext&) -> Co<absl::Status> {
                                                   co_return fail ? absl::DataLossError("bad") : absl::OkStatus();
                                                 },
                                                 .commit = [&]() -> Co<absl::Status> {
                                                   accepted = monitor::CancelAll(world.core());
                                                   co_return absl::OkStatus();
                                                 },
                                                 .abort = [&]() -> Co<void> {
                                                   accepted = monitor::CancelAll(world.core());
                                                   co_return;
                                                 }});
    ASSERT_TRUE(world.RunUntilNull(job));
    ASSERT_TRUE(world.RunUntilNull(bystander));
    EXPECT_EQ(accepted, 1u);  // the bystander
    EXPECT_EQ(world.Outcome(job), fail ? "failed: bad" : "succeeded");
    EXPECT_EQ(world.Outcome(bystander), "cancelled");
  }
}

// D9: timers belong to the job's own loop, so a main thread that is busy elsewhere stops nobody.
TEST(JobRace, D9ASleepingJobInAnIOThreadGoesOnWhileTheMainThreadIsBlocked) {
  TestWorld world({.io_threads = 1});
  std::atomic<int> slices{0};
  const JobRef job =
      world.Start({.id = "j", .context = &world.io()}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                    for (; slices < 5; ++slices)
                      if (absl::Status s = co_await self.Sleep(milliseconds(1)); !s.ok()) co_return s;
                    co_return absl::OkStatus();
                  }});
  // The main loop is not run. Not even for Run to end: what follows it is written in the job's own thread.
  const TimePoint deadline = Patience();
  while (slices < 5 || world.Status(job) == "running") {
    ASSERT_LT(Clock::System().Now(), deadline);
    std::this_thread::yield();
  }
  EXPECT_THAT(world.Status(job), testing::AnyOf("waiting", "pending"));
  ASSERT_TRUE(world.RunUntilNull(job));
}

// D10: a soft cancel that comes too late says so.
TEST(JobRace, D10ASoftCancelOfAJobThatHasFinishedConsistentlyIsRefused) {
  for (const char* state : {"waiting", "pending"}) {
    for (bool soft_cancel : {true, false}) {
      SCOPED_TRACE(state + std::string(soft_cancel ? " can" : " cannot"));
      TestWorld world;
      auto remote = std::make_shared<Remote>();
      JobTxnBuilder group(world.core());
      const JobRef job = world.Start({.id = "j", .group = &group, .auto_finalize = false},
                                     Obedient(remote, ReadyCapabilities{.soft_cancel = soft_cancel}));
      JobRef sibling;
      if (std::string(state) == "waiting")
        sibling = world.Start({.id = "sibling", .group = &group}, Obedient(std::make_shared<Remote>()));
      ASSERT_TRUE(group.Seal().ok());
      world.Settle();
      remote->Finish(*job);
      ASSERT_TRUE(world.RunUntilStatus(job, state));
      const absl::Status status = world.Cancel(job, CancelMode::kSoft);
      world.Settle();
      if (soft_cancel) {
        ExpectRefused(status, "", "j");
        EXPECT_EQ(world.Status(job), state);
        EXPECT_TRUE(world.Cancel(job, CancelMode::kForce).ok());
      } else {
        EXPECT_TRUE(status.ok()) << status;
      }
      ASSERT_TRUE(world.RunUntilNull(job));
      EXPECT_EQ(world.EventOutcome("j"), "cancelled");
    }
  }
}

// D11: an event tells of a job only if there is one.
TEST(JobRace, D11NoEventTellsOfAJobThatCannotBeFound) {
  TestWorld world;
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    EventCursor cursor;
    while (!stop) {
      JobLock lock(world.core());
      // Whoever learns of a job under the mutex can find it there, unless later events say that it has gone.
      const EventPage page = world.core().ReadEvents(cursor, 64);
      if (page.events.empty() || cursor.next <= world.core().last_event()) continue;
      const JobEvent& newest = page.events.back();
      EXPECT_TRUE(newest.status != JobStatus::kCreated || monitor::Find(world.core(), newest.job_number) != nullptr);
    }
  });
  for (int i = 0; i < 2000; ++i) {
    EXPECT_FALSE(CreateJob(world.core(), {.id = "0bad"}, world.Driver("bad")).ok());
    const JobRef job = world.Create({.id = "j"}, {});
    EXPECT_TRUE(AbandonJob(*job).ok());
    if (i % 100 == 0) world.main().RunOnce(false);
  }
  stop = true;
  reader.join();
  EXPECT_THAT(world.History("0bad"), IsEmpty());
  EXPECT_EQ(world.LastEvent(), 4000u);
}

// D12: a wait ends when the job has concluded, and not when only its Run has.
TEST(JobRace, D12AWaitForAMemberEndsWhenItHasConcludedAndNotWhenItHasFinished) {
  TestWorld world({.io_threads = 1});
  auto remote = std::make_shared<Remote>();
  JobTxnBuilder group(world.core());
  const JobRef a = world.Start({.id = "a", .context = &world.io(), .group = &group}, {});
  const JobRef b = world.Start({.id = "b", .context = &world.io(), .group = &group}, Obedient(remote));
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(world.RunUntilStatus(a, "waiting"));
  EXPECT_EQ(monitor::WaitFor(a, SaturatingAdd(Clock::System().Now(), milliseconds(20))).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  remote->Finish(*b);
  const absl::StatusOr<JobOutcome> outcome = monitor::WaitFor(a, Patience());
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_THAT(world.Status(a), testing::AnyOf("concluded", "null"));
}

// --- Pause, from threads (job_pause_test.cc has the rest) ---

TEST(JobRace, PausePointsOfABusyJobAgainstAThreadThatPausesAndResumes) {
  TestWorld world({.io_threads = 1});
  std::atomic<uint64_t> steps{0};
  std::atomic<bool> in_gate{false};
  const JobRef job =
      world.Start({.id = "j", .context = &world.io()}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                                          for (;;) {
                                                            EXPECT_FALSE(in_gate.load());
                                                            ++steps;
                                                            absl::Status s = co_await self.PausePoint();
                                                            if (!s.ok()) co_return s;
                                                          }
                                                        },
                                                        .pause = [&](JobContext&) -> Co<void> {
                                                          EXPECT_FALSE(in_gate.exchange(true));
                                                          co_return;
                                                        },
                                                        .resume = [&](JobContext&) -> Co<void> {
                                                          EXPECT_TRUE(in_gate.exchange(false));
                                                          co_return;
                                                        }});
  std::thread monitor_thread([&] {
    for (int i = 0; i < 1000; ++i) {
      EXPECT_TRUE(world.Pause(job).ok());
      if (i % 2 == 0) {
        const TimePoint deadline = Patience();
        while (world.Status(job) != "paused") {
          ASSERT_LT(Clock::System().Now(), deadline);
          std::this_thread::yield();
        }
        const uint64_t before = steps.load();
        Enter(*job);
        EXPECT_EQ(steps.load(), before);
      }
      EXPECT_TRUE(world.Resume(job).ok());
    }
    EXPECT_TRUE(world.Cancel(job).ok());
  });
  EXPECT_TRUE(world.RunUntilNull(job));
  monitor_thread.join();
  EXPECT_EQ(world.Outcome(job), "cancelled");
}

TEST(JobRace, ReasonsGivenAndTakenBackByManyThreadsAddUpToNone) {
  TestWorld world({.io_threads = 1});
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "j", .context = &world.io()}, Obedient(remote));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, reason = "maintenance" + std::to_string(t)] {
      for (int i = 0; i < 500; ++i) {
        EXPECT_TRUE(world.Pause(job, reason).ok());
        EXPECT_TRUE(world.Resume(job, reason).ok());
      }
    });
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(world.RunUntilStatus(job, "running"));
  EXPECT_THAT(world.Query(job).pause_reasons, IsEmpty());
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.Outcome(job), "succeeded");
}

}  // namespace
}  // namespace jobcore
