// SPDX-License-Identifier: Apache-2.0
//
// Moving a job to another context: by itself at its next pause point, where it lives now, between its Pause and
// its Resume hook. Races of the catalogue.

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job/job_ops.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::Status Move(TestWorld& world, const JobRef& job, AioContext& target, VerbReply reply = {}) {
  JobLock lock(world.core());
  return monitor::Move(*job, target, std::move(reply));
}

// What a test sees of a job that yields all the time.
struct Seen {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};  // steps outside of the context that the job said it was in
  std::atomic<int> steps{0};
};

Script Wanderer(std::shared_ptr<Seen> seen) {
  Script script;
  script.run = [seen](JobContext& job) -> Co<absl::Status> {
    while (!seen->stop) {
      if (absl::Status s = co_await job.Sleep(Nanoseconds(0)); !s.ok()) co_return s;
      if (!job.context().IsHome()) ++seen->wrong;
      if (absl::Status s = co_await job.PausePoint(); !s.ok()) co_return s;
      if (!job.context().IsHome()) ++seen->wrong;
      ++seen->steps;
    }
    co_return absl::OkStatus();
  };
  return script;
}

TEST(JobMove, RunningJobGoesOnInTheNewContextAfterItsPauseHook) {
  TestWorld world({.io_threads = 2});
  auto seen = std::make_shared<Seen>();
  Replies replies;
  const JobRef job = world.Start({.id = "a", .context = &world.io(0)}, Wanderer(seen));
  ASSERT_TRUE(world.RunUntil([&] { return seen->steps > 0; }));
  EXPECT_TRUE(Move(world, job, world.io(1), replies.Make(world.main())).ok());
  ASSERT_TRUE(world.RunUntil([&] { return replies.count() == 1; }));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
  EXPECT_EQ(&job->context(), &world.io(1));
  const int before = seen->steps;
  ASSERT_TRUE(world.RunUntil([&] { return seen->steps > before + 10; }));
  EXPECT_EQ(seen->wrong, 0);
  seen->stop = true;
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.log().Where("a", "Pause"), world.io(0).name());
  EXPECT_EQ(world.log().Where("a", "Resume"), world.io(1).name());
  EXPECT_THAT(world.History("a"), ElementsAre("created", "running", "waiting", "pending", "concluded", "null"));
}

TEST(JobMove, NotStartedJobMovesAtOnce) {
  TestWorld world({.io_threads = 2});
  Replies replies;
  const JobRef job = world.Create({.id = "a", .context = &world.io(0)}, {});
  EXPECT_TRUE(Move(world, job, world.io(1), replies.Make(world.main())).ok());
  EXPECT_EQ(&job->context(), &world.io(1));
  EXPECT_EQ(world.io(0).users(), 0);
  EXPECT_EQ(world.io(1).users(), 1);
  ASSERT_TRUE(StartJob(*job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
  EXPECT_EQ(world.log().Where("a", "Run"), world.io(1).name());
}

TEST(JobMove, JobThatWasStartedButHasNotBegunEntersItsRunInTheNewContext) {
  TestWorld world({.io_threads = 1});
  const JobRef job = world.Start({.id = "a"}, {});  // in the main context, which has not turned yet
  EXPECT_TRUE(Move(world, job, world.io(0)).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.log().Where("a", "Run"), world.io(0).name());
  EXPECT_EQ(world.log().Count("a", "Pause"), 0);
}

TEST(JobMove, ParkedJobHopsWithoutLeavingItsPauseAndWithoutAnEvent) {
  TestWorld world({.io_threads = 2});
  auto remote = std::make_shared<Remote>();
  Replies replies;
  const JobRef job = world.Start({.id = "a", .context = &world.io(0)}, Obedient(remote));
  ASSERT_TRUE(world.RunUntil([&] { return remote->turns() > 0; }));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  const uint64_t event = world.LastEvent();
  EXPECT_TRUE(Move(world, job, world.io(1), replies.Make(world.main())).ok());
  ASSERT_TRUE(world.RunUntil([&] { return replies.count() == 1; }));
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_EQ(world.LastEvent(), event);
  EXPECT_EQ(&job->context(), &world.io(1));
  EXPECT_EQ(world.log().Count("a", "Resume"), 0);
  ASSERT_TRUE(world.Resume(job).ok());
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.log().Where("a", "Resume"), world.io(1).name());
}

// moved A, B, A, B in quick succession while paused, and resumed at once.
TEST(JobMove, QuickMovesOfAParkedJobEndInTheLastContext) {
  TestWorld world({.io_threads = 2});
  auto seen = std::make_shared<Seen>();
  const JobRef job = world.Start({.id = "a", .context = &world.io(0)}, Wanderer(seen));
  for (int round = 0; round < 200; ++round) {
    ASSERT_TRUE(world.Pause(job).ok());
    ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
    Replies replies;
    {
      JobLock lock(world.core());
      for (const int n : {1, 0, 1, round % 2})
        EXPECT_TRUE(monitor::Move(*job, world.io(n), replies.Make(world.main())).ok());
      EXPECT_TRUE(monitor::Resume(*job).ok());
    }
    ASSERT_TRUE(world.RunUntil([&] { return replies.count() == 4; })) << round;
    EXPECT_THAT(replies.all().back(), "OK");
    EXPECT_EQ(&job->context(), &world.io(round % 2));
  }
  seen->stop = true;
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(seen->wrong, 0);
  EXPECT_EQ(world.io(0).users() + world.io(1).users(), 0);
}

TEST(JobMove, SleepKeepsItsDeadline) {
  TestWorld world({.virtual_time = true});
  auto& clock = world.clock();
  const auto other = AioContext::Create({.name = "other", .clock = &clock});
  // Both contexts on this thread would need two homes: the other one runs on a thread of its own.
  std::atomic<bool> stop{false};
  std::thread thread([&] {
    const AioHome home(*other);
    while (!stop) other->RunOnce(false);
  });
  const TimePoint start = clock.Now();
  std::atomic<int64_t> woke{0};
  Script script;
  script.run = [&](JobContext& job) -> Co<absl::Status> {
    absl::Status s = co_await job.SleepUntil(start + std::chrono::seconds(5));
    woke = (job.context().clock().Now() - start).count();
    EXPECT_TRUE(job.context().IsHome());
    co_return s;
  };
  {
    const JobRef job = world.Start({.id = "a"}, std::move(script));
    world.main().RunOnce(false);
    EXPECT_TRUE(Move(world, job, *other).ok());
    for (int i = 0; i < 20 || &job->context() != other.get(); ++i) world.main().RunOnce(false);
    clock.Advance(std::chrono::milliseconds(4999));
    for (int i = 0; i < 20; ++i) world.main().RunOnce(false);
    EXPECT_EQ(woke, 0);
    clock.Advance(std::chrono::milliseconds(1));
    while (world.Status(job) != "null") world.main().RunOnce(false);
    EXPECT_EQ(woke, std::chrono::nanoseconds(std::chrono::seconds(5)).count());
  }
  stop = true;
  thread.join();
}

TEST(JobMove, YieldingJobStaysAsleepAcrossTheMove) {
  TestWorld world({.io_threads = 2});
  auto remote = std::make_shared<Remote>();
  Replies replies;
  const JobRef job = world.Start({.id = "a", .context = &world.io(0)}, Obedient(remote));
  ASSERT_TRUE(world.RunUntil([&] { return remote->turns() > 0; }));
  world.Settle();
  const int turns = remote->turns();
  EXPECT_TRUE(Move(world, job, world.io(1), replies.Make(world.main())).ok());
  ASSERT_TRUE(world.RunUntil([&] { return replies.count() == 1; }));
  world.Settle();
  EXPECT_EQ(remote->turns(), turns);
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(JobMove, MoveWaitsForACompleteHookInProgress) {
  TestWorld world({.io_threads = 2});
  auto remote = std::make_shared<Remote>();
  Gate& gate = world.NewGate();
  Script script = Obedient(remote, ReadyCapabilities{});
  AioContext* hook_began = nullptr;
  AioContext* hook_ended = nullptr;
  script.complete = [&](JobContext&) -> Co<absl::Status> {
    hook_began = AioContext::Current();
    co_await gate.Pass();
    hook_ended = AioContext::Current();
    co_return absl::OkStatus();
  };
  Replies moved, completed;
  const JobRef job = world.Start({.id = "a", .context = &world.io(0)}, std::move(script));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Complete(job, completed.Make(world.main())).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }));
  EXPECT_TRUE(Move(world, job, world.io(1), moved.Make(world.main())).ok());
  world.Settle();
  EXPECT_EQ(moved.count(), 0);
  EXPECT_EQ(&job->context(), &world.io(0));
  gate.Open();
  ASSERT_TRUE(world.RunUntil([&] { return moved.count() == 1 && completed.count() == 1; }));
  EXPECT_EQ(hook_began, hook_ended);
  EXPECT_EQ(&job->context(), &world.io(1));
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(JobMove, LaterMoveAnswersTheEarlierOne) {
  TestWorld world({.io_threads = 2});
  Replies first, second;
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "a"}, Obedient(remote));
  world.main().RunOnce(false);
  {
    JobLock lock(world.core());
    EXPECT_TRUE(monitor::Move(*job, world.io(0), first.Make(world.main())).ok());
    EXPECT_TRUE(monitor::Move(*job, world.io(1), second.Make(world.main())).ok());
  }
  ASSERT_TRUE(world.RunUntil([&] { return first.count() == 1 && second.count() == 1; }));
  EXPECT_THAT(first.all(), ElementsAre(StartsWith("CANCELLED: Job 'a' was sent elsewhere")));
  EXPECT_THAT(second.all(), ElementsAre("OK"));
  EXPECT_EQ(world.io(0).users(), 0);
  EXPECT_EQ(world.io(1).users(), 1);
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(JobMove, EndOfRunAnswersAMoveThatDidNotHappen) {
  TestWorld world({.io_threads = 1});
  Gate& gate = world.NewGate();
  Script script;
  script.run = [&](JobContext&) -> Co<absl::Status> {
    co_await gate.Pass();
    co_return absl::OkStatus();
  };
  Replies replies;
  const JobRef job = world.Start({.id = "a"}, std::move(script));
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }));
  EXPECT_TRUE(Move(world, job, world.io(0), replies.Make(world.main())).ok());
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_THAT(replies.all(), ElementsAre(StartsWith("FAILED_PRECONDITION: Job 'a' finished first")));
  EXPECT_EQ(world.io(0).users(), 0);
}

TEST(JobMove, IsRefusedAfterRunAndTowardsAStoppedThread) {
  TestWorld world({.io_threads = 1});
  IOThread stopped("stopped");
  ASSERT_TRUE(stopped.Stop().ok());
  const JobRef job = world.Start({.id = "a", .auto_finalize = false}, Returning(absl::OkStatus()));
  const absl::Status refused = Move(world, job, stopped.context());
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.ToString(), HasSubstr("I/O thread 'stopped' has been stopped"));
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  EXPECT_THAT(Move(world, job, world.io(0)).ToString(), HasSubstr("its Run has ended"));
  ASSERT_TRUE(world.Finalize(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(JobMove, ForceCancelWinsOverAMove) {
  TestWorld world({.io_threads = 1});
  auto remote = std::make_shared<Remote>();
  Replies replies;
  const JobRef job = world.Start({.id = "a"}, Obedient(remote));
  world.main().RunOnce(false);
  {
    JobLock lock(world.core());
    EXPECT_TRUE(monitor::Move(*job, world.io(0), replies.Make(world.main())).ok());
    EXPECT_TRUE(monitor::Cancel(*job).ok());
  }
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_EQ(replies.count(), 1);
  EXPECT_EQ(world.io(0).users(), 0);
}

// What a monitor has asked for may still be on its way to the old home.
TEST(JobMove, TheCancelHookComesBeforeTheJobIsWokenInItsNewContext) {
  TestWorld world({.io_threads = 1});
  std::atomic<bool> yields{false};
  std::atomic<int> cancels{0};
  Script script;
  script.run = [&](JobContext& job) -> Co<absl::Status> {
    for (;;) {
      yields = true;
      if (absl::Status s = co_await job.Yield(); !s.ok()) {
        EXPECT_EQ(cancels, 1);
        co_return s;
      }
    }
  };
  script.resume = [&](JobContext&) -> Co<void> {
    yields = false;
    return {};
  };
  script.cancel = [&](JobContext& job, CancelMode) {
    EXPECT_TRUE(job.context().IsHome());
    ++cancels;
  };
  const JobRef job = world.Start({.id = "a"}, std::move(script));
  world.main().RunOnce(false);
  ASSERT_TRUE(yields);
  ASSERT_TRUE(Move(world, job, world.io()).ok());
  world.main().RunOnce(false);  // the Pause hook; the hop is posted
  world.main().Post("cancel between the hop and the verbs", [&]() JOBCORE_EXCLUDES(job_mutex) {
    ASSERT_EQ(&job->context(), &world.io());
    const TimePoint end = Patience();
    const auto in_its_yield = [&]() JOBCORE_EXCLUDES(job_mutex) {
      JobLock lock(world.core());
      return JobOps::WaitsFor(*job).starts_with("yield");
    };
    while (!in_its_yield() && Clock::System().Now() < end) std::this_thread::yield();
    EXPECT_TRUE(world.Cancel(job).ok());
    while (world.Status(job) == "running" && Clock::System().Now() < end) std::this_thread::yield();
  });
  ASSERT_TRUE(world.Change(job, {{"x", "y"}}).ok());  // behind that in the queue of the main context
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(cancels, 1);
}

// Verbs from three threads against a job that is being moved all the time.
TEST(JobMove, VerbsAndMovesUnderLoad) {
  TestWorld world({.io_threads = 3});
  for (int round = 0; round < 5; ++round) {
    auto seen = std::make_shared<Seen>();
    Script script = Wanderer(seen);
    const JobRef job = world.Start({.id = "a", .context = &world.io(0)}, std::move(script));
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random(static_cast<unsigned>(round * 10 + t));
        while (!stop) {
          const unsigned n = random();
          JobLock lock(world.core());
          if (t == 0) {
            monitor::Move(*job, world.io(n % 3)).IgnoreError();
          } else if (n % 2 == 0) {
            monitor::Pause(*job, t == 1 ? "one" : "two").IgnoreError();
          } else {
            monitor::Resume(*job, t == 1 ? "one" : "two").IgnoreError();
          }
        }
      });
    }
    EXPECT_TRUE(world.RunUntil([&] { return seen->steps > 300; }));
    stop = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(world.Cancel(job).ok());
    EXPECT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(seen->wrong, 0);
    EXPECT_EQ(world.io(0).users() + world.io(1).users() + world.io(2).users(), 0);
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace jobcore
