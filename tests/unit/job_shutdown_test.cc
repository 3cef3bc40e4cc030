// SPDX-License-Identifier: Apache-2.0
//
// How a core ends, and what dies loudly when the rules of the mutex are broken.

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/event.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using monitor::Shutdown;
using monitor::ShutdownMode;
using monitor::ShutdownReport;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TimePoint In20Milliseconds() { return SaturatingAdd(Clock::System().Now(), milliseconds(20)); }

Strings Open(const absl::StatusOr<ShutdownReport>& report) {
  EXPECT_TRUE(report.ok()) << report.status();
  Strings result;
  if (!report.ok()) return result;
  EXPECT_EQ(report->clean(), report->open.empty());
  for (const monitor::JobInfo& info : report->open)
    result.push_back(info.id + " " + std::string(JobStatusName(info.status)));
  return result;
}

class JobShutdown : public testing::TestWithParam<bool> {
 protected:
  TestWorld world{{.own_thread = GetParam(), .io_threads = 1}};
};

INSTANTIATE_TEST_SUITE_P(, JobShutdown, testing::Bool(),
                         [](const auto& info) { return info.param ? "OwnThread" : "ThisThread"; });

TEST_P(JobShutdown, OfAnIdleCoreIsClean) {
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kDrain, Patience())), IsEmpty());
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kCancel, Patience())), IsEmpty());
}

TEST_P(JobShutdown, ADrainLetsJobsFinish) {
  Strings outcomes;
  std::atomic<int> steps{0};
  const auto script = [&] {
    return Script{.run = [&](JobContext& self) -> Co<absl::Status> {
      for (int i = 0; i < 20; ++i) {
        ++steps;
        if (absl::Status s = co_await self.Sleep(Nanoseconds(0)); !s.ok()) co_return s;
      }
      co_return absl::OkStatus();
    }};
  };
  const JobRef a = world.Start({.id = "a"}, script());
  const JobRef b = world.Start({.id = "b", .context = &world.io(), .auto_dismiss = false}, script());
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kDrain, Patience())), IsEmpty());
  EXPECT_EQ(steps.load(), 40);
  for (const JobRef& job : {a, b}) {
    EXPECT_EQ(world.Outcome(job), "succeeded");
    EXPECT_EQ(world.Status(job), "null");  // the record of b has been forgotten
  }
}

TEST_P(JobShutdown, ADrainWaitsForAReadyJobThatHasBeenAskedToComplete) {
  Gate& gate = world.NewGate();
  auto remote = std::make_shared<Remote>();
  Script script = Obedient(remote, ReadyCapabilities{});
  script.complete = [&gate, remote](JobContext& self) -> Co<absl::Status> {
    co_await gate.Pass();
    remote->Finish(self.job());
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start({.id = "j", .context = &world.io()}, std::move(script));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Complete(job).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "the hook"));
  std::thread opener([&] { gate.Open(); });
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kDrain, Patience())), IsEmpty());
  opener.join();
}

TEST_P(JobShutdown, ADrainLeavesOpenWhatDoesNotGoOnByItself) {
  const JobRef created = world.Create({.id = "created"}, {});
  const JobRef pending = world.Start({.id = "pending", .auto_finalize = false}, {});
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kDrain, Patience())),
              UnorderedElementsAre("created created", "pending pending"));
  // A drain, then a cancel.
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kCancel, Patience())), IsEmpty());
  EXPECT_EQ(world.Outcome(created), "cancelled");
  EXPECT_EQ(world.Outcome(pending), "cancelled");
}

TEST_P(JobShutdown, ADrainEndsAtItsDeadlineAndSaysWhatIsOpen) {
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "j", .context = &world.io()}, Obedient(remote));
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kDrain, In20Milliseconds())), ElementsAre("j running"));
  remote->Finish(*job);
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kDrain, Patience())), IsEmpty());
  EXPECT_EQ(world.Outcome(job), "succeeded");
}

TEST_P(JobShutdown, ACancelEndsEverything) {
  std::vector<JobRef> jobs;
  jobs.push_back(world.Create({.id = "created"}, {}));
  jobs.push_back(world.Start({.internal = true}, Obedient(std::make_shared<Remote>())));
  for (int i = 0; i < 100; ++i)
    jobs.push_back(world.Start({.id = "j" + std::to_string(i), .context = i % 2 == 0 ? &world.io() : nullptr},
                               Obedient(std::make_shared<Remote>(), ReadyCapabilities{.soft_cancel = true})));
  jobs.push_back(world.Start({.id = "over", .auto_dismiss = false}, {}));
  ASSERT_TRUE(world.RunUntilStatus(jobs.back(), "concluded"));
  ASSERT_TRUE(world.Pause(jobs[2]).ok());
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kCancel, Patience())), IsEmpty());
  for (const JobRef& job : jobs) EXPECT_EQ(world.Status(job), "null");
  JobLock lock(world.core());
  EXPECT_EQ(world.core().job_count(), 0u);
}

TEST_P(JobShutdown, ACancelEndsAtItsDeadlineIfAJobIgnoresIt) {
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j", .context = &world.io()}, {.run = [&](JobContext&) -> Co<absl::Status> {
                                   co_await gate.Pass();
                                   co_return absl::OkStatus();
                                 }});
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "Run"));
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kCancel, In20Milliseconds())), ElementsAre("j running"));
  gate.Open();
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kCancel, Patience())), IsEmpty());
}

TEST_P(JobShutdown, NewJobsAreRefused) {
  const JobRef held = world.Create({.id = "held"}, {});
  EXPECT_THAT(Open(Shutdown(world.core(), ShutdownMode::kDrain, Patience())), ElementsAre("held created"));
  const absl::Status status = CreateJob(world.core(), {.id = "new"}, world.Driver("new")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(world.log().Of("new"), ElementsAre("~"));
}

TEST_P(JobShutdown, TheDestructorCancelsAndWaits) {
  world.Start({.id = "running"}, Obedient(std::make_shared<Remote>()));
  world.Start({.id = "io", .context = &world.io()}, Obedient(std::make_shared<Remote>()));
  world.Start({.id = "pending", .auto_finalize = false}, {});
  world.Start({.id = "concluded", .auto_dismiss = false}, {});
  world.Create({.id = "created"}, {});
  const JobRef paused = world.Start({.id = "paused", .context = &world.io()}, Obedient(std::make_shared<Remote>()));
  ASSERT_TRUE(world.Pause(paused).ok());
  world.Settle();
  // The world checks that every driver had its hooks and is gone.
}

TEST(JobCoreLife, TwoCoresOnOneThreadShareTheLoopAndNothingElse) {
  HookLog log;
  JobCore first;
  JobCore second;
  EXPECT_EQ(&first.main_context(), &second.main_context());
  const JobRef a = *CreateJob(first, {.id = "j"}, std::make_unique<ScriptedDriver>(log, "a", Script{}));
  const JobRef b = *CreateJob(second, {.id = "j"}, std::make_unique<ScriptedDriver>(log, "b", Script{}));
  EXPECT_EQ(a->number(), 1u);
  EXPECT_EQ(b->number(), 1u);
  ASSERT_TRUE(StartJob(*a).ok());
  EXPECT_EQ(monitor::WaitFor(a, Patience())->ToString(), "succeeded");
  JobLock lock(second);
  EXPECT_EQ(monitor::Find(second, "j"), b.get());
  EXPECT_EQ(b->status(), JobStatus::kCreated);
  EXPECT_EQ(second.last_event(), 1u);
}

TEST(JobCoreLife, ManyCoresComeAndGoWithJobsRunning) {
  IOThread io("io");
  HookLog log;
  for (int i = 0; i < 30; ++i) {
    JobCore::Options options;
    if (i % 2 != 0) options.main_loop = JobCore::MainLoop::kOwnThread;
    JobCore core(std::move(options));
    for (AioContext* context : {static_cast<AioContext*>(nullptr), &io.context()}) {
      const std::string id = context == nullptr ? "m" : "i";
      const absl::StatusOr<JobRef> job =
          CreateJob(core, {.id = id, .context = context},
                    std::make_unique<ScriptedDriver>(log, id, Obedient(std::make_shared<Remote>())));
      ASSERT_TRUE(job.ok());
      ASSERT_TRUE(StartJob(**job).ok());
    }
  }
  log.CheckProtocol();
}

TEST(JobCoreLife, RunMainLoopRunsUntilItIsToldToQuit) {
  TestWorld world({.io_threads = 1});
  world.core().QuitMainLoop();
  world.core().RunMainLoop();  // a quit that came first
  const JobRef job = world.Start({.id = "j", .context = &world.io()}, {.clean = [&]() -> Co<void> {
                                   world.core().QuitMainLoop();
                                   co_return;
                                 }});
  world.core().RunMainLoop();
  ASSERT_TRUE(world.RunUntilNull(job));
}

// --- What dies ---

class JobMutexRuleDeathTest : public testing::Test {
 protected:
  JobMutexRuleDeathTest() { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

TEST_F(JobMutexRuleDeathTest, AReferenceThatOutlivesTheCore) {
  EXPECT_DEATH(
      {
        HookLog log;
        auto core = std::make_unique<JobCore>();
        JobRef ref = *CreateJob(*core, {.id = "kept"}, std::make_unique<ScriptedDriver>(log, "kept", Script{}));
        core.reset();
      },
      "JobRef|reference");
}

TEST_F(JobMutexRuleDeathTest, AnObserverThatOutlivesTheCore) {
  EXPECT_DEATH(
      {
        auto core = std::make_unique<JobCore>();
        const std::shared_ptr<AioContext> main = core->main_context().shared_from_this();
        monitor::EventObserver observer(*core, *main, [](const EventPage&) {});
        core.reset();
      },
      "observer|Observer");
}

void PauseUnderAnotherCoresLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  HookLog log;
  JobCore mine;
  JobCore other;
  JobRef job = *CreateJob(mine, {.id = "j"}, std::make_unique<ScriptedDriver>(log, "j", Script{}));
  JobLock lock(other);
  monitor::Pause(*job).IgnoreError();
}
TEST_F(JobMutexRuleDeathTest, AVerbUnderAnotherCoresLock) { EXPECT_DEATH(PauseUnderAnotherCoresLock(), "Pause"); }

void FindWithoutLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  JobCore core;
  monitor::Find(core, "j");
}
TEST_F(JobMutexRuleDeathTest, AMonitorCallWithoutTheLock) { EXPECT_DEATH(FindWithoutLock(), "Find"); }

void LockTwoCores() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  JobCore a;
  JobCore b;
  JobLock first(a);
  JobLock second(b);
}
TEST_F(JobMutexRuleDeathTest, ASecondLockOnTheSameThread) { EXPECT_DEATH(LockTwoCores(), ""); }

void WaitUnderLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  JobCore core;
  JobLock lock(core);
  AioWaitWhileUnlocked(core, [] { return false; }, {.name = "my wait"}).IgnoreError();
}
TEST_F(JobMutexRuleDeathTest, AWaitUnderTheLock) { EXPECT_DEATH(WaitUnderLock(), "job.?mutex"); }

void StartUnderLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  HookLog log;
  JobCore core;
  JobRef job = *CreateJob(core, {.id = "j"}, std::make_unique<ScriptedDriver>(log, "j", Script{}));
  JobLock lock(core);
  StartJob(*job).IgnoreError();
}
TEST_F(JobMutexRuleDeathTest, ADriverSideCallUnderTheLock) { EXPECT_DEATH(StartUnderLock(), ""); }

// whoever parks holds nothing that the pauser could need.
Co<absl::Status> YieldUnderLock(JobContext& job) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  JobLock lock(job.job().core());
  absl::Status status = co_await job.Yield();
  co_return status;
}
TEST_F(JobMutexRuleDeathTest, R50ALockHeldAcrossAnAwaitThatSuspends) {
  EXPECT_DEATH(
      {
        TestWorld world;
        const JobRef job = world.Start({.id = "j"}, {.run = [](JobContext& self) { return YieldUnderLock(self); }});
        world.Settle();
      },
      "job.?mutex");
}

Co<absl::Status> ParkUnderLock(JobContext& job, support::Event& io) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  co_await io;
  JobLock lock(job.job().core());
  absl::Status status = co_await job.PausePoint();
  co_return status;
}
TEST_F(JobMutexRuleDeathTest, R50ALockHeldAtAPausePointThatParks) {
  EXPECT_DEATH(
      {
        TestWorld world;
        support::Event io;
        const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) { return ParkUnderLock(self, io); }});
        world.Settle();
        world.Pause(job).IgnoreError();
        io.Set();
        world.Settle();
      },
      "job.?mutex");
}

void LeaveLockedFromCallback() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  JobCore core;
  alignas(JobLock) static unsigned char storage[sizeof(JobLock)];
  core.main_context().Post("forgetful", [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { new (storage) JobLock(core); });
  core.main_context().RunOnce(false);
}
TEST_F(JobMutexRuleDeathTest, ACallbackThatReturnsWithTheLock) { EXPECT_DEATH(LeaveLockedFromCallback(), "forgetful"); }

TEST_F(JobMutexRuleDeathTest, ACloseOfAnObserverElsewhereFromACallback) {
  EXPECT_DEATH(
      {
        TestWorld world({.io_threads = 1});
        std::atomic<bool> in_call{false};
        std::atomic<bool> go_on{false};
        monitor::EventObserver observer(world.core(), world.io(), [&](const EventPage&) {
          in_call = true;
          while (!go_on) std::this_thread::yield();
        });
        const JobRef job = world.Create({.id = "j"}, {});
        world.RunUntil([&] { return in_call.load(); }, "the call");
        world.main().Post("a callback", [&] { observer.Close(); });
        world.Settle();
      },
      "EventObserver::Close");
}

}  // namespace
}  // namespace jobcore
