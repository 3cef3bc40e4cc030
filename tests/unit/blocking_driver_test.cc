// SPDX-License-Identifier: Apache-2.0
//
// Jobs whose work is a plain function. The main context is turned by hand, in virtual time; the functions run on
// threads of a pool and stop at turnstiles, so nothing depends on how fast they are. The last tests are races.

#include "job-driver/blocking_driver.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-driver/blocking_pool.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Where a function waits, without a check point, until the test lets it pass.
class Turnstile {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.wait(lock, [this] { return open_ || passes_ > 0; });
    if (!open_) --passes_;
  }
  void Let(int n = 1) {
    const std::scoped_lock lock(mutex_);
    passes_ += n;
    changed_.notify_all();
  }
  void Open() {
    const std::scoped_lock lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  int arrived() {
    const std::scoped_lock lock(mutex_);
    return arrived_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int passes_ = 0;
  int arrived_ = 0;
};

using Function = std::function<absl::Status(BlockingJob&)>;

// Calls a function, and writes down the hooks.
class TestDriver : public BlockingDriver {
 public:
  TestDriver(BlockingPool& pool, HookLog& log, std::string name, Function function)
      : BlockingDriver(pool),
        log_(log),
        name_(std::move(name)),
        number_(log.NewDriver()),
        function_(std::move(function)) {}
  ~TestDriver() override {
    EXPECT_FALSE(inside_.load());
    Note("~");
  }

  absl::Status RunBlocking(BlockingJob& job) override {
    Note("Run");
    EXPECT_EQ(AioContext::Current(), nullptr);
    struct Inside {
      explicit Inside(std::atomic<bool>& f) : flag(f) { flag = true; }
      ~Inside() { flag = false; }
      std::atomic<bool>& flag;
    } const inside(inside_);
    return function_(job);
  }
  void Cancel(JobContext&, CancelMode mode) override { Note(mode == CancelMode::kSoft ? "CancelSoft" : "CancelForce"); }
  Co<absl::Status> Complete(JobContext&) override {
    Note("Complete");
    completing = true;
    EndSleep();
    co_return absl::OkStatus();
  }
  Co<absl::Status> Prepare() override { return Finale<absl::Status>("Prepare"); }
  Co<absl::Status> Commit() override { return Finale<absl::Status>("Commit"); }
  Co<void> Abort() override { return Finale<void>("Abort"); }
  Co<void> Clean() override { return Finale<void>("Clean"); }

  std::atomic<bool> completing{false};

 private:
  void Note(std::string_view hook) { log_.Add(number_, name_, hook); }
  template <typename T>
  Co<T> Finale(std::string_view hook) {
    EXPECT_FALSE(inside_.load());
    Note(hook);
    return {};
  }

  HookLog& log_;
  const std::string name_;
  const int number_;
  const Function function_;
  std::atomic<bool> inside_{false};
};

class Blocking : public testing::Test {
 protected:
  void TearDown() override { turnstile.Open(); }

  JobRef Create(JobSpec spec, Function function) {
    auto made = std::make_unique<TestDriver>(pool, world.log(), spec.id, std::move(function));
    driver = made.get();
    absl::StatusOr<JobRef> job = CreateJob(world.core(), spec, std::move(made));
    EXPECT_TRUE(job.ok()) << job.status();
    return *std::move(job);
  }
  JobRef Start(std::string id, Function function) {
    JobRef job = Create({.id = std::move(id)}, std::move(function));
    EXPECT_TRUE(StartJob(*job).ok());
    return job;
  }
  // A job whose function has arrived at the turnstile. From there it goes to a check point, whose result it keeps.
  JobRef StartAtTurnstile(std::string id = "j") {
    const int before = turnstile.arrived();
    JobRef job = Start(std::move(id), AtTurnstile());
    EXPECT_TRUE(Arrived(before + 1));
    return job;
  }
  Function AtTurnstile() {
    return [this](BlockingJob& job) {
      turnstile.Pass();
      const absl::Status s = job.CheckPoint();
      answer = s.code();
      ++past;
      return s;
    };
  }
  // A job whose function sleeps, and waits at the turnstile afterwards.
  JobRef StartSleeper(Nanoseconds duration) {
    const int before = entered;
    JobRef job = Start("j", [=, this](BlockingJob& self) {
      ++entered;
      const absl::Status s = self.SleepFor(duration);
      answer = s.code();
      ++past;
      turnstile.Pass();
      return s;
    });
    EXPECT_TRUE(world.RunUntil([&] { return entered > before; }, "a sleeper"));
    AwaitSleep(job, "paused");
    return job;
  }
  // `job` can be paused nowhere but in its sleep: once it has been, that is under way.
  void AwaitSleep(const JobRef& job, std::string_view status) {
    ASSERT_TRUE(world.Pause(job, "test").ok());
    ASSERT_TRUE(world.RunUntilStatus(job, status));
    ASSERT_TRUE(world.Resume(job, "test").ok());
    world.Settle();
  }
  bool Arrived(int n) {
    return world.RunUntil([&] { return turnstile.arrived() >= n; }, "arrival at the turnstile");
  }
  bool Past(int n) {
    return world.RunUntil([&] { return past >= n; }, "passing a check point");
  }

  Turnstile turnstile;
  std::atomic<int> entered{0};
  std::atomic<int> past{0};
  std::atomic<absl::StatusCode> answer{absl::StatusCode::kUnknown};
  BlockingPool pool{1};
  TestWorld world{{.virtual_time = true}};
  TestDriver* driver = nullptr;  // of the job made last
};

constexpr const char* kSucceeded[] = {"created", "running", "waiting", "pending", "concluded", "null"};

// --- The function ---

TEST_F(Blocking, RunsOnAThreadOfThePoolAndItsJobGoesThroughAllStates) {
  std::thread::id thread;
  const JobRef job = Start("j", [&](BlockingJob& self) {
    thread = std::this_thread::get_id();
    EXPECT_EQ(self.id(), "j");
    return self.CheckPoint();
  });
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_NE(thread, std::this_thread::get_id());
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
  EXPECT_THAT(world.History("j"), testing::ElementsAreArray(kSucceeded));
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run", "Prepare", "Commit", "Clean"));
}

TEST_F(Blocking, ItsErrorFailsTheJob) {
  const JobRef job = Start("j", [](BlockingJob&) { return absl::DataLossError("disk on fire"); });
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "failed: disk on fire");
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run", "Abort", "Clean"));
}

TEST_F(Blocking, ItsExceptionsFailTheJobAsThoseOfRunDo) {
  const JobRef a = Start("a", [](BlockingJob&) -> absl::Status { throw std::runtime_error("boom"); });
  ASSERT_TRUE(world.RunUntilNull(a));
  EXPECT_EQ(world.EventOutcome("a"), "failed: Run threw an exception: boom");
  const JobRef b = Start("b", [](BlockingJob&) -> absl::Status { throw 7; });
  ASSERT_TRUE(world.RunUntilNull(b));
  EXPECT_EQ(world.EventOutcome("b"), "failed: Run threw something that is not a std::exception");
}

TEST_F(Blocking, ProgressDetailsAndReadinessAreSeenWhileItRuns) {
  const JobRef job = Start("j", [this](BlockingJob& self) {
    self.progress().SetRemaining(100);
    self.progress().Advance(40);
    self.PublishDetails({{"phase", "reading"}});
    self.Ready();
    turnstile.Pass();
    self.progress().Advance(60);
    return absl::OkStatus();
  });
  ASSERT_TRUE(Arrived(1));
  const monitor::JobInfo info = world.Query(job);
  EXPECT_EQ(info.progress.current, 40u);
  EXPECT_EQ(info.progress.total, 100u);
  ASSERT_NE(info.details, nullptr);
  EXPECT_EQ(info.details->at(0).second, "reading");
  EXPECT_EQ(info.status, JobStatus::kReady);
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(job->progress().Get().current, 100u);
}

TEST_F(Blocking, CompleteRunsBesideItAndCanEndItsSleep) {
  const JobRef job = Start("j", [this](BlockingJob& self) -> absl::Status {
    self.Ready();
    while (!driver->completing) {
      if (absl::Status s = self.SleepFor(hours(1)); !s.ok()) return s;
    }
    return absl::OkStatus();
  });
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  Replies replies;
  ASSERT_TRUE(world.Complete(job, replies.Make(world.main())).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
}

// --- Pause ---

TEST_F(Blocking, IsPausedOnlyOnceItHasStoppedAtACheckPoint) {
  const JobRef job = StartAtTurnstile();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");  // it is not at a check point yet
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  world.Settle();
  EXPECT_EQ(past, 0);
  EXPECT_EQ(pool.usage().running, 1u);  // it keeps its thread
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(past, 1);
  EXPECT_EQ(answer, absl::StatusCode::kOk);
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

TEST_F(Blocking, CountsNoFurtherWhilePaused) {
  std::atomic<int64_t> count{0};
  std::atomic<bool> stop{false};
  const JobRef job = Start("j", [&](BlockingJob& self) -> absl::Status {
    while (!stop) {
      if (absl::Status s = self.CheckPoint(); !s.ok()) return s;
      ++count;
    }
    return absl::OkStatus();
  });
  for (int i = 0; i < 100; ++i) {
    const int64_t before = count;
    ASSERT_TRUE(world.RunUntil([&] { return count > before; }, "counting"));
    ASSERT_TRUE(world.Pause(job).ok());
    ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
    const int64_t at = count;
    world.Settle();
    ASSERT_EQ(count, at);
    ASSERT_TRUE(world.Resume(job).ok());
  }
  stop = true;
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_F(Blocking, APauseTakenBackBeforeItStoppedLeavesNoTrace) {
  const JobRef job = StartAtTurnstile();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_EQ(past, 0);
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("j"), testing::ElementsAreArray(kSucceeded));
}

TEST_F(Blocking, APauseTakenBackAndAskedAgainStillWaitsUntilItHasStopped) {
  const JobRef job = StartAtTurnstile();
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(world.Pause(job).ok());
    world.Settle();
    ASSERT_TRUE(world.Resume(job).ok());
    ASSERT_TRUE(world.Pause(job).ok());
    world.Settle();
    ASSERT_EQ(world.Status(job), "running");
    ASSERT_TRUE(world.Resume(job).ok());
    world.Settle();
  }
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  // Again, without a step of the loop between.
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_EQ(past, 0);
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_F(Blocking, PausedBeforeItsStartIsNotQueued) {
  const JobRef job = Create({.id = "j"}, AtTurnstile());
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(StartJob(*job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  EXPECT_EQ(pool.usage().threads, 0u);
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(Arrived(1));
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_F(Blocking, PausedWhileItWaitsForAThreadGivesUpItsPlaceAtOnce) {
  const JobRef first = StartAtTurnstile("first");
  const JobRef second = Start("second", AtTurnstile());
  world.Settle();
  EXPECT_EQ(pool.usage().queued, 1u);
  ASSERT_TRUE(world.Pause(second).ok());
  world.Settle();
  EXPECT_EQ(world.Status(second), "paused");
  EXPECT_EQ(pool.usage().queued, 0u);
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilNull(first));
  world.Settle();
  EXPECT_EQ(world.Status(second), "paused");
  EXPECT_EQ(pool.usage().running, 0u);
  EXPECT_EQ(turnstile.arrived(), 1);
  ASSERT_TRUE(world.Resume(second).ok());
  ASSERT_TRUE(Arrived(2));
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilNull(second));
  EXPECT_EQ(world.EventOutcome("second"), "succeeded");
}

TEST_F(Blocking, PausedThoughItReturnsInsteadOfReachingACheckPoint) {
  const JobRef job = Start("j", [this](BlockingJob&) {
    turnstile.Pass();
    return absl::OkStatus();
  });
  ASSERT_TRUE(Arrived(1));
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  EXPECT_EQ(pool.usage().running, 0u);  // the thread is free
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

TEST_F(Blocking, AReadyOneIsStandbyAtACheckPoint) {
  const JobRef job = Start("j", [this](BlockingJob& self) {
    self.Ready();
    turnstile.Pass();
    return self.CheckPoint();
  });
  ASSERT_TRUE(Arrived(1));
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilStatus(job, "standby"));
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

// --- Cancel ---

TEST_F(Blocking, ForceCancelledBeforeItsFirstStepIsNeverEntered) {
  const JobRef job = Start("j", AtTurnstile());
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
  EXPECT_EQ(pool.usage().threads, 0u);
}

TEST_F(Blocking, ForceCancelledWhileItWaitsForAThreadIsNeverEntered) {
  const JobRef first = StartAtTurnstile("first");
  const JobRef second = Start("second", AtTurnstile());
  const JobRef paused = Start("paused", AtTurnstile());
  world.Settle();
  EXPECT_EQ(pool.usage().queued, 2u);
  ASSERT_TRUE(world.Pause(paused).ok());
  world.Settle();
  ASSERT_TRUE(world.Cancel(second).ok());
  ASSERT_TRUE(world.Cancel(paused).ok());
  ASSERT_TRUE(world.RunUntilNull(second));
  ASSERT_TRUE(world.RunUntilNull(paused));
  EXPECT_EQ(pool.usage().queued, 0u);
  EXPECT_EQ(world.EventOutcome("second"), "cancelled");
  EXPECT_EQ(world.EventOutcome("paused"), "cancelled");
  turnstile.Open();
  ASSERT_TRUE(world.RunUntilNull(first));
  EXPECT_EQ(turnstile.arrived(), 1);
  EXPECT_THAT(world.log().Of("second"), ElementsAre("CancelForce", "Abort", "Clean"));
}

TEST_F(Blocking, ForceCancelledWhileItRunsTheJobWaitsForItsReturn) {
  const JobRef job = StartAtTurnstile();
  ASSERT_TRUE(world.Cancel(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run", "CancelForce"));
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(answer, absl::StatusCode::kCancelled);
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run", "CancelForce", "Abort", "Clean"));
}

TEST_F(Blocking, ForceCancelledWhileAPauseWaitsForItTheJobWaitsForItsReturn) {
  const JobRef job = StartAtTurnstile();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(answer, absl::StatusCode::kCancelled);
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_F(Blocking, ForceCancelledWhilePausedItsCheckPointSaysSo) {
  const JobRef job = StartAtTurnstile();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  EXPECT_EQ(past, 0);
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(answer, absl::StatusCode::kCancelled);
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_F(Blocking, ForceCancelEndsASleepPausedOrNot) {
  for (const bool paused : {false, true}) {
    const JobRef job = StartSleeper(hours(1));
    world.Settle();
    if (paused) {
      ASSERT_TRUE(world.Pause(job).ok());
      ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
    }
    ASSERT_TRUE(world.Cancel(job).ok());
    ASSERT_TRUE(Past(paused ? 2 : 1));
    EXPECT_EQ(answer, absl::StatusCode::kCancelled);
    world.Settle();
    EXPECT_EQ(world.Status(job), "running");  // it has not returned yet
    turnstile.Let();
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(world.EventOutcome("j"), "cancelled");
  }
}

TEST_F(Blocking, ForceCancelledTooLateForItToNoticeIsCancelledAllTheSame) {
  const JobRef job = Start("j", [this](BlockingJob& self) {
    turnstile.Pass();
    EXPECT_TRUE(self.force_cancelled());
    return absl::OkStatus();
  });
  ASSERT_TRUE(Arrived(1));
  ASSERT_TRUE(world.Cancel(job).ok());
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_F(Blocking, EveryCheckPointAfterAForceCancelSaysCancelled) {
  int cancelled = 0;
  const JobRef job = Start("j", [&](BlockingJob& self) {
    turnstile.Pass();
    for (int i = 0; i < 3; ++i) {
      if (absl::IsCancelled(self.CheckPoint())) ++cancelled;
      if (absl::IsCancelled(self.SleepFor(hours(1)))) ++cancelled;
    }
    return absl::OkStatus();
  });
  ASSERT_TRUE(Arrived(1));
  ASSERT_TRUE(world.Cancel(job).ok());
  world.Settle();
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(cancelled, 6);
}

TEST_F(Blocking, ASoftCancelEndsOneSleepAndIsLeftToTheFunction) {
  const JobRef job = Start("j", [this](BlockingJob& self) {
    self.Ready({.soft_cancel = true});
    turnstile.Pass();
    EXPECT_TRUE(self.cancel_requested());
    EXPECT_FALSE(self.force_cancelled());
    EXPECT_TRUE(self.SleepFor(hours(1)).ok());
    ++past;
    EXPECT_TRUE(self.SleepFor(seconds(2)).ok());
    ++past;
    return self.CheckPoint();
  });
  ASSERT_TRUE(Arrived(1));
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  world.Settle();
  turnstile.Let();
  ASSERT_TRUE(Past(1));
  AwaitSleep(job, "standby");
  EXPECT_EQ(past, 1);
  world.clock().Advance(seconds(2));
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(past, 2);
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

// --- SleepFor ---

TEST_F(Blocking, ASleepEndsWhenTheClockOfTheJobsContextSaysSo) {
  const JobRef job = StartSleeper(seconds(3));
  world.Settle();
  world.clock().Advance(seconds(3) - Nanoseconds(1));
  world.Settle();
  Enter(*job);  // of no concern to it
  world.Settle();
  EXPECT_EQ(past, 0);
  world.clock().Advance(Nanoseconds(1));
  ASSERT_TRUE(Past(1));
  EXPECT_EQ(answer, absl::StatusCode::kOk);
}

// Run then waits for nothing but the function: no timer of the sleep is left that would wake it again and again.
TEST_F(Blocking, AfterASleepTheLoopRests) {
  const JobRef job = StartSleeper(seconds(3));
  world.Settle();
  world.clock().Advance(seconds(3));
  ASSERT_TRUE(Arrived(1));
  Enter(*job);  // a look at the function, which runs
  world.Settle();
  EXPECT_LT(world.main().Prepare(), Nanoseconds(0));
  world.main().Dispatch();
}

TEST_F(Blocking, APauseNeitherCutsASleepNorExtendsIt) {
  const JobRef job = StartSleeper(seconds(10));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  world.clock().Advance(seconds(4));
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_EQ(past, 0);
  world.clock().Advance(seconds(6));
  ASSERT_TRUE(Past(1));
}

TEST_F(Blocking, ASleepThatIsOverWhileTheJobIsPausedEndsWhenItIsResumed) {
  const JobRef job = StartSleeper(seconds(10));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  world.clock().Advance(seconds(20));
  world.Settle();
  EXPECT_EQ(past, 0);
  EXPECT_EQ(world.Status(job), "paused");
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(Past(1));
}

TEST_F(Blocking, ASleepBegunWhileAPauseWaitsCountsFromThere) {
  const JobRef job = Start("j", [this](BlockingJob& self) {
    turnstile.Pass();
    const absl::Status s = self.SleepFor(seconds(10));
    ++past;
    return s;
  });
  ASSERT_TRUE(Arrived(1));
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  world.clock().Advance(seconds(4));
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_EQ(past, 0);
  world.clock().Advance(seconds(6));
  ASSERT_TRUE(Past(1));
}

TEST_F(Blocking, ASleepOfNoTimeIsACheckPoint) {
  const JobRef job = Start("j", [this](BlockingJob& self) {
    EXPECT_TRUE(self.SleepFor(seconds(0)).ok());
    turnstile.Pass();
    const absl::Status s = self.SleepFor(seconds(-1));
    ++past;
    return s;
  });
  ASSERT_TRUE(Arrived(1));
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  EXPECT_EQ(past, 0);
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

// --- The pool ---

TEST_F(Blocking, ThePoolServesInTheOrderOfStart) {
  std::vector<std::string> order;  // one thread writes it
  const JobRef first = StartAtTurnstile("first");
  std::vector<JobRef> jobs;
  for (const char* id : {"a", "b", "c", "d"}) {
    jobs.push_back(Start(id, [&](BlockingJob& self) {
      order.push_back(self.id());
      return absl::OkStatus();
    }));
  }
  world.Settle();
  EXPECT_EQ(pool.usage().queued, 4u);
  EXPECT_EQ(pool.usage().running, 1u);
  turnstile.Let();
  for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(order, ElementsAre("a", "b", "c", "d"));
  EXPECT_EQ(pool.usage().threads, 1u);
}

TEST(BlockingPoolTest, NeverRunsMoreFunctionsThanItHasThreads) {
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  Turnstile turnstile;
  BlockingPool pool(3);
  TestWorld world;
  std::vector<JobRef> jobs;
  for (int i = 0; i < 9; ++i) {
    auto driver = std::make_unique<TestDriver>(pool, world.log(), "j", [&](BlockingJob&) {
      most = std::max<int>(most, ++inside);
      turnstile.Pass();
      --inside;
      return absl::OkStatus();
    });
    jobs.push_back(*CreateJob(world.core(), {.id = "j" + std::to_string(i)}, std::move(driver)));
    ASSERT_TRUE(StartJob(*jobs.back()).ok());
  }
  ASSERT_TRUE(world.RunUntil([&] { return turnstile.arrived() == 3; }, "three at the turnstile"));
  world.Settle();
  const BlockingPool::Usage usage = pool.usage();
  EXPECT_EQ(usage.max_threads, 3u);
  EXPECT_EQ(usage.threads, 3u);
  EXPECT_EQ(usage.running, 3u);
  EXPECT_EQ(usage.queued, 6u);
  EXPECT_EQ(turnstile.arrived(), 3);
  turnstile.Open();
  for (const JobRef& job : jobs) world.RunUntilNull(job);
  EXPECT_EQ(most, 3);
  EXPECT_EQ(pool.usage().running, 0u);
}

TEST(BlockingPoolTest, AnIdleThreadIsUsedBeforeAnotherIsMade) {
  BlockingPool pool(100);
  TestWorld world;
  for (int i = 0; i < 50; ++i) {
    auto driver = std::make_unique<TestDriver>(pool, world.log(), "j", [](BlockingJob&) { return absl::OkStatus(); });
    const JobRef job = *CreateJob(world.core(), {.id = "j"}, std::move(driver));
    ASSERT_TRUE(StartJob(*job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
  }
  // More than one, if a thread has not come back to the queue yet.
  EXPECT_LT(pool.usage().threads, 20u);
}

TEST(BlockingPoolDeathTest, NeedsAThreadAndMustBeOutOfWorkWhenDestroyed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(BlockingPool(0, "p"), "BlockingPool 'p': needs at least one thread");
  EXPECT_DEATH(
      {
        auto pool = std::make_unique<BlockingPool>(1, "p");
        TestWorld world;
        Turnstile turnstile;
        const Function stay = [&](BlockingJob&) {
          turnstile.Pass();
          return absl::OkStatus();
        };
        std::vector<JobRef> jobs;
        for (const char* id : {"a", "b"}) {
          jobs.push_back(
              *CreateJob(world.core(), {.id = id}, std::make_unique<TestDriver>(*pool, world.log(), id, stay)));
          (void)StartJob(*jobs.back());
        }
        world.RunUntil([&] { return turnstile.arrived() == 1; });
        pool.reset();
      },
      "BlockingPool 'p' destroyed while 1 functions run in it and 1 wait");
}

// --- With others ---

TEST_F(Blocking, OfAGroupIsCancelledWhenACoroutineJobFails) {
  JobTxnBuilder group(world.core());
  const JobRef blocking = Create({.id = "b", .group = &group}, AtTurnstile());
  Gate& gate = world.NewGate();
  const JobRef other = world.Create({.id = "c", .group = &group}, {.run = [&](JobContext&) -> Co<absl::Status> {
                                      co_await gate.Pass();
                                      co_return absl::DataLossError("lost");
                                    }});
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(StartJob(*blocking).ok());
  ASSERT_TRUE(StartJob(*other).ok());
  ASSERT_TRUE(Arrived(1));
  gate.Open();
  ASSERT_TRUE(world.RunUntilStatus(other, "aborting"));
  world.Settle();
  EXPECT_EQ(world.Status(other), "aborting");  // the group waits for the function
  turnstile.Let();
  ASSERT_TRUE(world.RunUntilNull(blocking));
  ASSERT_TRUE(world.RunUntilNull(other));
  EXPECT_EQ(answer, absl::StatusCode::kCancelled);
  EXPECT_EQ(world.EventOutcome("b"), "cancelled");
  EXPECT_EQ(world.EventOutcome("c"), "failed: lost");
  EXPECT_THAT(world.log().Of("b"), ElementsAre("Run", "CancelForce", "Abort", "Clean"));
}

TEST_F(Blocking, OfAGroupTakesACoroutineJobWithItWhenItFails) {
  JobTxnBuilder group(world.core());
  const JobRef blocking =
      Create({.id = "b", .group = &group}, [](BlockingJob&) { return absl::DataLossError("lost"); });
  const JobRef other = world.Create({.id = "c", .group = &group}, Obedient(std::make_shared<Remote>()));
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(StartJob(*other).ok());
  ASSERT_TRUE(StartJob(*blocking).ok());
  ASSERT_TRUE(world.RunUntilNull(other));
  EXPECT_EQ(world.EventOutcome("b"), "failed: lost");
  EXPECT_EQ(world.EventOutcome("c"), "cancelled");
}

// --- Races ---

TEST(BlockingRaces, CoreAndPoolMayBeDestroyedAsSoonAsTheJobIsOver) {
  for (int i = 0; i < 100; ++i) {
    BlockingPool pool(2);
    TestWorld world({.own_thread = i % 2 == 0, .io_threads = 1});
    for (const char* id : {"a", "b"}) {
      auto driver = std::make_unique<TestDriver>(pool, world.log(), id, [](BlockingJob& job) -> absl::Status {
        for (;;) {
          if (absl::Status s = job.CheckPoint(); !s.ok()) return s;
        }
      });
      const JobRef job = *CreateJob(world.core(), {.id = id, .context = &world.io()}, std::move(driver));
      ASSERT_TRUE(StartJob(*job).ok());
      if (i % 3 == 0) world.Pause(job).IgnoreError();
      if (i % 3 == 1) world.RunUntil([&] { return pool.usage().running != 0; }, "a function");
    }
  }
}

// Whoever sees PAUSED under the mutex sees a function that stands still.
TEST(BlockingRaces, ManyJobsAreAskedForEverythingAtOnce) {
  constexpr int kJobs = 200;
  std::vector<std::atomic<bool>> in_code(kJobs);
  std::vector<std::atomic<int>> steps(kJobs);
  BlockingPool pool(3);
  TestWorld world({.own_thread = true, .io_threads = 2, .event_capacity = 1 << 16});
  Resource disk(world.core(), "disk0");
  std::vector<JobRef> jobs;
  for (int i = 0; i < kJobs; ++i) {
    const std::string id = "j" + std::to_string(i);
    auto driver = std::make_unique<TestDriver>(pool, world.log(), id, [&, i](BlockingJob& job) -> absl::Status {
      job.progress().SetRemaining(60);
      for (int step = 0; step < 60; ++step) {
        in_code[i] = true;
        job.progress().Advance(1);
        if (step == 30) job.Ready({.complete = false, .soft_cancel = true});
        if (job.cancel_requested() && !job.force_cancelled()) return absl::OkStatus();
        std::this_thread::yield();
        in_code[i] = false;
        const absl::Status s = step % 8 == 7 ? job.SleepFor(std::chrono::microseconds(step)) : job.CheckPoint();
        if (!s.ok()) return s;
      }
      if (i % 50 == 49) throw std::runtime_error("boom");
      return absl::OkStatus();
    });
    const size_t where = static_cast<size_t>(i) % 3;
    AioContext* const context = where == 2 ? nullptr : &world.io(where);
    JobSpec spec = {.id = id, .context = context, .auto_dismiss = false};
    if (i % 8 == 0) spec.resources = {&disk};
    jobs.push_back(*CreateJob(world.core(), spec, std::move(driver)));
    ASSERT_TRUE(StartJob(*jobs.back()).ok());
  }
  std::atomic<int> seen_paused{0};
  const auto pester = [&](unsigned seed) {
    std::mt19937 random(seed);
    for (int n = 0; n < 20000; ++n) {
      const size_t i = random() % kJobs;
      const JobRef& job = jobs[i];
      const std::string reason = "r" + std::to_string(random() % 2);
      switch (random() % 32) {
        case 0:
          if (i % 4 == 0) world.Cancel(job, random() % 2 == 0 ? CancelMode::kForce : CancelMode::kSoft).IgnoreError();
          break;
        case 1:
        case 2:
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
          world.Pause(job, reason).IgnoreError();
          break;
        case 9:
        case 10: {
          const size_t to = random() % 3;
          JobLock lock(world.core());
          monitor::Move(*job, to == 2 ? world.main() : world.io(to)).IgnoreError();
          break;
        }
        case 11:
          world.Change(job, {{"a", "b"}}).IgnoreError();
          break;
        default:
          world.Resume(job, reason).IgnoreError();
          break;
      }
      JobLock lock(world.core());
      if (job->status() == JobStatus::kPaused || job->status() == JobStatus::kStandby) {
        ++seen_paused;
        EXPECT_FALSE(in_code[i]);
      }
    }
  };
  std::atomic<bool> stop{false};
  std::atomic<int> sections{0};
  const auto drain = [&] {
    while (!stop || sections == 0) {  // in the end nobody is in its way
      const auto patience = stop ? std::chrono::milliseconds(10'000) : std::chrono::milliseconds(5);
      const TimePoint deadline = world.main().clock().Now() + patience;
      const absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking({&disk}, {.deadline = deadline});
      if (!section.ok()) continue;
      ++sections;
      JobLock lock(world.core());
      for (size_t i = 0; i < kJobs; i += 8) {
        const bool over = IsCompleted(jobs[i]->status()) || jobs[i]->force_cancelled();
        EXPECT_TRUE(over || !in_code[i]) << i;
      }
    }
  };
  std::thread a(pester, 1);
  std::thread b(pester, 2);
  std::thread c(drain);
  a.join();
  b.join();
  stop = true;
  c.join();
  EXPECT_GT(sections, 0);
  EXPECT_GT(seen_paused, 0);
  for (const JobRef& job : jobs) {
    world.Resume(job, "r0").IgnoreError();
    world.Resume(job, "r1").IgnoreError();
  }
  const auto all_over = [&] {
    for (const JobRef& job : jobs) {
      JobLock lock(world.core());
      if (!IsConcluded(job->status())) return false;
    }
    return true;
  };
  world.RunUntil(all_over, "the end of all jobs");
  int succeeded = 0;
  for (int i = 0; i < kJobs; ++i) {
    const std::string outcome = world.Outcome(jobs[i]);
    if (outcome == "succeeded") ++succeeded;
    const std::string otherwise = i % 50 == 49 ? "failed: Run threw an exception: boom" : "cancelled";
    EXPECT_THAT(outcome, testing::AnyOf("succeeded", "cancelled", otherwise));
  }
  EXPECT_GT(succeeded, 0);
  EXPECT_EQ(pool.usage().running, 0u);
  EXPECT_EQ(pool.usage().queued, 0u);
}

}  // namespace
}  // namespace jobcore
