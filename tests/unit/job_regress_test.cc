// SPDX-License-Identifier: Apache-2.0
//
// Mistakes that the core has made once.

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "job-common/iothread.h"
#include "job-common/task_scope.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/event_observer.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"
#include "support/event.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using std::chrono::milliseconds;

// Run used to be found finished by a Complete hook that was called after the Cancel hook had ended it.
TEST(JobRegress, ACancelHookThatEndsRunIsTheLastHookOfTheJobsContext) {
  TestWorld world;
  CoRoot* root = nullptr;
  std::coroutine_handle<> io;
  struct Io {  // completes when the cancel hook says so, within the hook
    CoRoot*& root;
    std::coroutine_handle<>& handle;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<internal::CoPromise<absl::Status>> self) {
      root = self.promise().root;
      handle = self;
    }
    void await_resume() const {}
  };
  Script script;
  script.run = [&](JobContext& job) -> Co<absl::Status> {
    job.Ready();
    co_await Io{root, io};
    co_return absl::OkStatus();
  };
  script.cancel = [&](JobContext&, CancelMode) {
    if (root != nullptr) std::exchange(root, nullptr)->Resume(io);
  };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  Replies replies;
  {
    JobLock lock(world.core());
    ASSERT_TRUE(monitor::Complete(*job, replies.Make(world.main())).ok());
    ASSERT_TRUE(monitor::Cancel(*job, CancelMode::kForce).ok());
  }
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_EQ(world.log().Count("j", "Complete"), 0);
  EXPECT_EQ(replies.count(), 1);
}

// A yield that a wake-up ended at once used to pass by a pause.
TEST(JobRegress, AJobThatIsWokenBeforeEachYieldStillParks) {
  TestWorld world;
  Script script;
  script.run = [](JobContext& job) -> Co<absl::Status> {
    absl::Status s;
    for (int i = 0; s.ok() && i < 1000; ++i) {
      Enter(job.job());
      s = co_await job.Yield();
      if (i % 10 == 9 && s.ok()) s = co_await job.Sleep(Nanoseconds(0));  // lets the test act
    }
    co_return s;
  };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  world.main().RunOnce(false);
  ASSERT_TRUE(world.Pause(job).ok());
  EXPECT_TRUE(world.RunUntilStatus(job, "paused"));
  ASSERT_TRUE(world.Resume(job).ok());
  EXPECT_TRUE(world.RunUntilNull(job));
}

TEST(JobRegress, AJobIsNotCreatedForAnIOThreadThatHasBeenStopped) {
  TestWorld world;
  IOThread io("io7");
  ASSERT_TRUE(io.Stop().ok());
  const absl::StatusOr<JobRef> job = CreateJob(world.core(), {.id = "j", .context = &io.context()}, world.Driver("j"));
  EXPECT_EQ(job.status().code(), absl::StatusCode::kFailedPrecondition) << job.status();
  EXPECT_NE(job.status().message().find("'io7' has been stopped"), std::string::npos) << job.status();
  EXPECT_FALSE(world.Findable("j"));
  EXPECT_EQ(world.LastEvent(), 0u);
}

TEST(JobRegress, CompleteAndWaitReturnsTheDriversRefusal) {
  TestWorld world({.io_threads = 1});
  auto remote = std::make_shared<Remote>();
  Script script = Obedient(remote, ReadyCapabilities{.complete = true});
  script.complete = [](JobContext&) -> Co<absl::Status> { co_return absl::NotFoundError("no such node"); };
  const JobRef job = world.Start({.id = "j", .context = &world.io()}, std::move(script));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  const absl::StatusOr<JobOutcome> outcome = monitor::CompleteAndWait(job, Patience());
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kNotFound) << outcome.status();
  remote->Finish(*job);
  EXPECT_TRUE(world.RunUntilNull(job));
}

TEST(JobRegress, ADriverWithoutACompleteHookRefusesToComplete) {
  class Plain final : public JobDriver {
    Co<absl::Status> Run(JobContext& job) override {
      job.Ready();
      absl::Status s;
      while (s.ok()) s = co_await job.Yield();
      co_return s;
    }
  };
  JobCore core;
  const JobRef job = *CreateJob(core, {.id = "j"}, std::make_unique<Plain>());
  ASSERT_TRUE(StartJob(*job).ok());
  core.main_context().RunOnce(false);
  EXPECT_EQ(monitor::CompleteAndWait(job, Patience()).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(JobRegress, AReplyMayOwnTheLastReferenceToItsJobWhenTheCoreEnds) {
  auto core = std::make_unique<JobCore>();
  HookLog log;
  JobRef job = *CreateJob(*core, {.id = "j", .auto_finalize = false},
                          std::make_unique<ScriptedDriver>(log, "j", Returning(absl::OkStatus())));
  ASSERT_TRUE(StartJob(*job).ok());
  const auto pending = [&] {
    JobLock lock(*core);
    return job->status() == JobStatus::kPending;
  };
  while (!pending()) core->main_context().RunOnce(false);
  {
    JobLock lock(*core);
    AioContext& main = core->main_context();
    ASSERT_TRUE(monitor::Finalize(*job, VerbReply(main, [job](const absl::Status&) {})).ok());
  }
  job = JobRef();
  core.reset();
  EXPECT_EQ(log.Of("j").back(), "~");
}

TEST(JobRegress, ACoreWithAThreadOfItsOwnEndsOnAThreadThatIsAHome) {
  JobCore first;
  JobCore second({.main_loop = JobCore::MainLoop::kOwnThread});
  EXPECT_TRUE(first.main_context().IsHome());
  EXPECT_FALSE(second.main_context().IsHome());
}

TEST(JobRegress, AJobThatWasPausedBeforeItsFirstStepAndCancelledGetsNoCancelHook) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j"}, {});
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(StartJob(*job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.log().Count("j", "Run"), 0);
  EXPECT_EQ(world.log().Count("j", "Cancel"), 0);
}

TEST(JobRegress, AnObserverOfAStoppedIOThreadKeepsNothingAlive) {
  auto witness = std::make_shared<int>(0);
  {
    TestWorld world;
    auto io = std::make_unique<IOThread>("io7");
    monitor::EventObserver observer(world.core(), io->context(), [witness](const EventPage&) {});
    io.reset();
    const JobRef job = world.Start({.id = "j"}, Returning(absl::OkStatus()));
    ASSERT_TRUE(world.RunUntilNull(job));
  }
  EXPECT_EQ(witness.use_count(), 1);
}

TEST(JobRegress, PublishedDetailsWakeThoseWhoWaitForThem) {
  TestWorld world({.io_threads = 1});
  auto remote = std::make_shared<Remote>();
  Script script;
  script.run = [remote](JobContext& job) -> Co<absl::Status> {
    absl::Status s;
    while (s.ok() && remote->turns() == 0) s = co_await job.Yield();
    job.PublishDetails({{"phase", "copy"}});
    while (s.ok()) s = co_await job.Yield();
    co_return s;
  };
  const JobRef job = world.Start({.id = "j", .context = &world.io()}, std::move(script));
  ASSERT_TRUE(world.RunUntilStatus(job, "running"));
  world.Settle();
  remote->CountTurn();
  Enter(*job);
  // Nothing else happens that could wake the waiter.
  EXPECT_TRUE(AioWaitWhileUnlocked(world.core(),
                                   [&] {
                                     JobLock lock(world.core());
                                     return monitor::Query(*job).details == nullptr;
                                   },
                                   {.name = "details", .deadline = Patience()})
                  .ok());
}

TEST(JobRegress, ReadyWhileParkedTakesEffectOnResume) {
  TestWorld world;
  TaskScope tasks;
  Gate& gate = world.NewGate();
  Script script;
  script.run = [&](JobContext& job) -> Co<absl::Status> {
    const auto task = [](JobContext& j, Gate& g) -> Co<void> {
      co_await g.Pass();
      j.Ready();
    };
    tasks.Spawn(task(job, gate));
    absl::Status s;
    while (s.ok()) s = co_await job.Yield();
    co_await tasks.AtMost(0);
    co_return s;
  };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  gate.Open();
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  ASSERT_TRUE(world.Resume(job).ok());
  EXPECT_EQ(world.Status(job), "ready");
  ASSERT_TRUE(world.Cancel(job).ok());
  EXPECT_TRUE(world.RunUntilNull(job));
}

TEST(JobRegress, APauseDoesNotEndASleepOfThePauseHook) {
  TestWorld world({.virtual_time = true});
  Script script;
  script.run = [](JobContext& job) -> Co<absl::Status> {
    absl::Status s;
    while (s.ok()) s = co_await job.Yield();
    co_return s;
  };
  bool slept = false;
  script.pause = [&](JobContext& job) -> Co<void> {
    (void)co_await job.Sleep(milliseconds(300));
    slept = true;
  };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.Pause(job, "second").ok());
  world.Settle();
  world.clock().Advance(milliseconds(299));
  world.Settle();
  EXPECT_FALSE(slept);
  world.clock().Advance(milliseconds(1));
  world.Settle();
  EXPECT_TRUE(slept);
  EXPECT_EQ(world.Status(job), "paused");
  ASSERT_TRUE(world.Cancel(job).ok());
  EXPECT_TRUE(world.RunUntilNull(job));
}

TEST(JobRegress, AForceCancelTakesThePauseReasonsAway) {
  TestWorld world;
  auto remote = std::make_shared<Remote>();
  Gate& gate = world.NewGate();
  Script script;
  script.run = [&](JobContext& job) -> Co<absl::Status> {
    absl::Status s;
    while (s.ok()) s = co_await job.Yield();
    co_await gate.Pass();
    co_return s;
  };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  ASSERT_TRUE(world.Cancel(job).ok());
  EXPECT_EQ(world.Status(job), "running");
  EXPECT_EQ(world.Query(job).pause_reasons, Strings());
  ExpectRefused(world.Resume(job), "Can't resume a job that was not paused", "j");
  gate.Open();
  EXPECT_TRUE(world.RunUntilNull(job));
}

}  // namespace
}  // namespace jobcore
