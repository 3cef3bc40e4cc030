// SPDX-License-Identifier: Apache-2.0
//
// What jobs have spent their time on, how fast they get on, and how long the rest will take.

#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job/rate_estimate.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using internal::RateEstimate;
using internal::TimeLeft;
using monitor::JobInfo;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

using Pauses = std::vector<std::pair<std::string, Nanoseconds>>;

Pauses PausesOf(const JobTimes& times) {
  Pauses pauses;
  for (const PauseTime& pause : times.pauses) pauses.emplace_back(pause.reason, pause.time);
  return pauses;
}

Nanoseconds Sum(const JobTimes& times) {
  return std::accumulate(times.in_status.begin(), times.in_status.end(), Nanoseconds(0));
}

class Times : public ::testing::Test {
 protected:
  // A job that does as many units of work as it is told to.
  JobRef StartWorker(uint64_t total, bool ready = false, JobSpec spec = {.id = "j"}) {
    return world.Start(std::move(spec), {.run = [this, total, ready](JobContext& self) -> Co<absl::Status> {
                         if (total != 0) self.progress().SetRemaining(total);
                         if (ready) self.Ready({});
                         while (!finish) {
                           if (absl::Status s = co_await self.Yield(); !s.ok()) co_return s;
                           self.progress().Advance(std::exchange(work, 0));
                         }
                         co_return absl::OkStatus();
                       }});
  }
  void Pass(Nanoseconds time) {
    world.Settle();
    world.clock().Advance(time);
    world.Settle();
  }
  // It takes the job `time` to do `units`.
  void Work(const JobRef& job, Nanoseconds time, uint64_t units) {
    Pass(time);
    work = units;
    Enter(*job);
    world.Settle();
    ASSERT_EQ(work, 0u);
  }
  void Finish(const JobRef& job) {
    finish = true;
    Enter(*job);
    world.Settle();
  }
  void Pause(const JobRef& job, std::string_view reason = monitor::kUserPause) {
    ASSERT_TRUE(world.Pause(job, reason).ok());
    world.Settle();
  }
  void Resume(const JobRef& job, std::string_view reason = monitor::kUserPause) {
    ASSERT_TRUE(world.Resume(job, reason).ok());
    world.Settle();
  }
  JobTimes TimesOf(const JobRef& job) { return world.Query(job).times; }

  TestWorld world{{.virtual_time = true}};
  bool finish = false;
  uint64_t work = 0;
};

using JobTimesTest = Times;
using JobRate = Times;

TEST_F(JobTimesTest, TheTimesInEachStatusAddUpToTheJobsAge) {
  const TimePoint start = world.clock().Now();
  Nanoseconds age{0};
  const JobRef job = world.Create({.id = "j", .auto_finalize = false, .auto_dismiss = false},
                                  {.run = [&](JobContext& self) -> Co<absl::Status> {
                                    while (!finish) {
                                      if (absl::Status s = co_await self.Yield(); !s.ok()) co_return s;
                                      if (work != 0) self.Ready({});
                                    }
                                    co_return absl::OkStatus();
                                  }});
  const auto stay = [&](std::string_view status, seconds time) {
    EXPECT_EQ(world.Status(job), status);
    EXPECT_EQ(world.Query(job).status_since, world.clock().Now());
    Pass(time);
    age += time;
    EXPECT_EQ(Sum(TimesOf(job)), age) << status;
  };
  stay("created", seconds(1));
  ASSERT_TRUE(StartJob(*job).ok());
  stay("running", seconds(2));
  Pause(job);
  stay("paused", seconds(4));
  Resume(job);
  stay("running", seconds(8));
  work = 1;
  Enter(*job);
  world.Settle();
  stay("ready", seconds(16));
  Pause(job);
  stay("standby", seconds(32));
  Resume(job);
  stay("ready", seconds(64));
  Finish(job);
  stay("pending", seconds(128));
  ASSERT_TRUE(world.Finalize(job).ok());
  world.Settle();
  stay("concluded", seconds(256));
  ASSERT_TRUE(world.Dismiss(job).ok());
  Pass(seconds(512));  // does not count any more

  const JobTimes times = TimesOf(job);
  EXPECT_EQ(times.In(JobStatus::kCreated), seconds(1));
  EXPECT_EQ(times.In(JobStatus::kRunning), seconds(2 + 8));
  EXPECT_EQ(times.In(JobStatus::kPaused), seconds(4));
  EXPECT_EQ(times.In(JobStatus::kReady), seconds(16 + 64));
  EXPECT_EQ(times.In(JobStatus::kStandby), seconds(32));
  EXPECT_EQ(times.In(JobStatus::kWaiting), seconds(0));
  EXPECT_EQ(times.In(JobStatus::kPending), seconds(128));
  EXPECT_EQ(times.In(JobStatus::kConcluded), seconds(256));
  EXPECT_EQ(times.In(JobStatus::kNull), seconds(0));
  EXPECT_EQ(times.Parked(), seconds(4 + 32));
  EXPECT_EQ(times.Running(), seconds(2 + 8 + 16 + 64));
  EXPECT_EQ(Sum(times), seconds(511));
  EXPECT_EQ(times.created.time, start);
  EXPECT_EQ(times.started->time, start + seconds(1));
  EXPECT_EQ(times.concluded->time, start + seconds(255));
}

TEST_F(JobTimesTest, AJobThatIsCancelledBeforeItIsStartedWasNeverStarted) {
  const JobRef job = world.Create({.id = "j"}, {});
  Pass(seconds(3));
  ASSERT_TRUE(world.Cancel(job).ok());
  Pass(seconds(5));
  const JobTimes times = TimesOf(job);
  EXPECT_EQ(times.In(JobStatus::kCreated), seconds(3));
  EXPECT_EQ(Sum(times), seconds(3));
  EXPECT_FALSE(times.started.has_value());
  EXPECT_EQ(times.concluded->time - times.created.time, seconds(3));
}

TEST_F(JobTimesTest, AnAbandonedJobNeverConcludes) {
  const JobRef job = world.Create({.id = "j"}, {});
  Pass(seconds(3));
  ASSERT_TRUE(AbandonJob(*job).ok());
  Pass(seconds(5));
  EXPECT_EQ(Sum(TimesOf(job)), seconds(3));
  EXPECT_FALSE(TimesOf(job).concluded.has_value());
}

TEST_F(JobTimesTest, InternalJobsHaveTimesToo) {
  const JobRef job = StartWorker(0, false, {.internal = true});
  Pass(seconds(2));
  Pause(job);
  Pass(seconds(3));
  EXPECT_EQ(TimesOf(job).In(JobStatus::kRunning), seconds(2));
  EXPECT_EQ(TimesOf(job).In(JobStatus::kPaused), seconds(3));
}

TEST_F(JobTimesTest, EachPauseReasonCountsFromWhenItIsAskedForUntilItIsTakenBack) {
  const JobRef job = world.Create({.id = "j"}, Obedient(std::make_shared<Remote>()));
  Pause(job);  // in force before the job is started
  Pass(seconds(1));
  ASSERT_TRUE(StartJob(*job).ok());
  Pass(seconds(2));
  Pause(job, "maintenance");  // overlaps
  Pass(seconds(4));
  Resume(job);
  Pass(seconds(8));
  EXPECT_THAT(PausesOf(TimesOf(job)), ElementsAre(Pair("user", seconds(7)), Pair("maintenance", seconds(12))));
  Resume(job, "maintenance");
  Pass(seconds(16));
  Pause(job);  // again
  Pass(seconds(32));
  EXPECT_THAT(PausesOf(TimesOf(job)), ElementsAre(Pair("user", seconds(39)), Pair("maintenance", seconds(12))));
  EXPECT_EQ(TimesOf(job).In(JobStatus::kCreated), seconds(1));
  EXPECT_EQ(TimesOf(job).Parked(), seconds(2 + 4 + 8 + 32));
  EXPECT_EQ(TimesOf(job).Running(), seconds(16));
}

TEST_F(JobTimesTest, AForceCancelVoidsThePausesAtOnce) {
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   absl::Status s = co_await self.Yield();
                                   co_await gate.Pass();  // takes its time to stop
                                   co_return s;
                                 }});
  world.Settle();
  Pause(job, "user");
  Pause(job, "maintenance");
  Pass(seconds(3));
  ASSERT_TRUE(world.Cancel(job).ok());
  Pass(seconds(5));
  EXPECT_EQ(world.Status(job), "running");
  EXPECT_THAT(PausesOf(TimesOf(job)), ElementsAre(Pair("user", seconds(3)), Pair("maintenance", seconds(3))));
  EXPECT_EQ(TimesOf(job).In(JobStatus::kPaused), seconds(3));
  EXPECT_EQ(TimesOf(job).In(JobStatus::kRunning), seconds(5));
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(Sum(TimesOf(job)), seconds(8));
}

TEST_F(JobTimesTest, TheEndOfRunVoidsAPauseThatHadNoEffect) {
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j", .auto_finalize = false}, {.run = [&](JobContext&) -> Co<absl::Status> {
                                   co_await gate.Pass();
                                   co_return absl::OkStatus();
                                 }});
  world.Settle();
  Pause(job);
  Pass(seconds(3));
  gate.Open();
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  Pass(seconds(5));
  EXPECT_THAT(PausesOf(TimesOf(job)), ElementsAre(Pair("user", seconds(3))));
  EXPECT_EQ(TimesOf(job).Parked(), seconds(0));
}

TEST_F(JobTimesTest, ReasonsBeyondTheLimitAreCountedTogetherAndOverlapsOnce) {
  const JobRef job = StartWorker(0);
  const auto name = [](size_t i) { return "window:" + std::to_string(i); };
  constexpr size_t kMax = JobTimes::kMaxPauseReasons;
  for (size_t i = 0; i < kMax + 2; ++i) Pause(job, name(i));
  Pass(seconds(1));
  Resume(job, name(kMax));
  Pass(seconds(2));
  Resume(job, name(kMax + 1));
  Pass(seconds(4));
  Resume(job, name(0));
  Pause(job, name(0));  // finds its own again
  Pass(seconds(8));
  const Pauses pauses = PausesOf(TimesOf(job));
  ASSERT_THAT(pauses, SizeIs(kMax + 1));
  EXPECT_THAT(pauses.front(), Pair("window:0", seconds(15)));
  EXPECT_THAT(pauses.back(), Pair(std::string(JobTimes::kOtherPauses), seconds(3)));
}

TEST_F(JobTimesTest, ADriverThatDoesNotYieldIsChargedForItsTurn) {
  const JobRef job = world.Start({.id = "j", .auto_dismiss = false}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   world.clock().Advance(seconds(2));
                                   self.Ready({});
                                   world.clock().Advance(seconds(3));
                                   // The loop knows only when its turn began; time does not go back to then.
                                   EXPECT_EQ(Sum(world.Query(JobRef(self.job())).times), seconds(2));
                                   absl::Status s = co_await self.PausePoint();
                                   world.clock().Advance(seconds(5));
                                   co_return s;
                                 }});
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));  // before Run has been entered
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  EXPECT_EQ(TimesOf(job).In(JobStatus::kRunning), seconds(2));
  EXPECT_EQ(TimesOf(job).In(JobStatus::kReady), seconds(8));
  EXPECT_EQ(Sum(TimesOf(job)), seconds(10));
}

TEST_F(JobTimesTest, TheTurnThatEndsAtAPausePointWasNotSpentParked) {
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   EXPECT_TRUE(world.Pause(JobRef(self.job())).ok());
                                   world.clock().Advance(seconds(3));
                                   co_return co_await self.PausePoint();
                                 }});
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  Pass(seconds(5));
  EXPECT_EQ(TimesOf(job).Running(), seconds(3));
  EXPECT_EQ(TimesOf(job).Parked(), seconds(5));
  EXPECT_THAT(PausesOf(TimesOf(job)), ElementsAre(Pair("user", seconds(8))));
}

TEST_F(JobTimesTest, WallTimesAreAsFarApartAsMonotonicOnes) {
  const JobRef job = world.Create({.id = "j", .auto_dismiss = false}, {});
  const WallTime now = std::chrono::system_clock::now();
  EXPECT_LT(std::chrono::abs(TimesOf(job).created.wall - now), hours(1));
  Pass(hours(10));
  ASSERT_TRUE(StartJob(*job).ok());
  Pass(hours(20));
  const JobTimes times = TimesOf(job);
  EXPECT_EQ(times.started->wall - times.created.wall, hours(10));
  EXPECT_EQ(times.concluded->wall - times.created.wall, hours(10));
  EXPECT_EQ(world.core().WallTimeOf(world.clock().Now()) - times.created.wall, hours(30));
}

TEST(JobInfoTest, NamesTheContextInWhichTheJobRuns) {
  TestWorld world({.io_threads = 1});
  EXPECT_EQ(world.Query(world.Create({.id = "a", .context = &world.io()}, {})).context, "io0");
  EXPECT_EQ(world.Query(world.Create({.id = "b"}, {})).context, world.main().name());
}

// --- Rate and ETA ---

TEST_F(JobRate, IsTheAverageAtFirst) {
  const JobRef job = StartWorker(1000);
  EXPECT_EQ(world.Query(job).rate, 0);
  EXPECT_FALSE(world.Query(job).eta.has_value());
  Work(job, milliseconds(500), 10);
  EXPECT_DOUBLE_EQ(world.Query(job).rate, 20);
  EXPECT_EQ(world.Query(job).eta, milliseconds(49500));
}

TEST_F(JobRate, ForgetsWhatIsLongAgo) {
  const JobRef job = StartWorker(1'000'000);
  for (int i = 0; i < 10; ++i) {
    Work(job, seconds(1), 100);
    EXPECT_DOUBLE_EQ(world.Query(job).rate, 100);
  }
  for (int i = 0; i < 10; ++i) {
    Work(job, seconds(1), 500);
    EXPECT_DOUBLE_EQ(world.Query(job).rate, 500);
  }
  for (int i = 0; i < 3; ++i) {
    Pass(seconds(1));
    EXPECT_EQ(world.Query(job).rate, 0);
    EXPECT_FALSE(world.Query(job).eta.has_value());
  }
}

TEST_F(JobRate, IsNeverTakenOverLessThanASecondHoweverOftenSomebodyLooks) {
  const JobRef job = StartWorker(1'000'000);
  for (int i = 0; i < 1000; ++i) {  // bursts: 50 units at every fifth of a second, nothing between
    Work(job, milliseconds(10), i % 20 == 19 ? 50 : 0);
    const double rate = world.Query(job).rate;
    if (i < 150) continue;
    EXPECT_GE(rate, 200) << i;
    EXPECT_LE(rate, 300) << i;
  }
}

TEST_F(JobRate, OfAJobThatWasNotLookedAtIsThatSinceThen) {
  const JobRef job = StartWorker(1'000'000);
  Work(job, seconds(10), 100);
  EXPECT_DOUBLE_EQ(world.Query(job).rate, 10);
  Work(job, seconds(100), 5000);
  EXPECT_DOUBLE_EQ(world.Query(job).rate, 50);
}

TEST_F(JobRate, APausedJobHasNeitherRateNorEtaAndThePauseDoesNotCount) {
  const JobRef job = StartWorker(1000);
  Work(job, seconds(2), 20);
  EXPECT_DOUBLE_EQ(world.Query(job).rate, 10);
  Work(job, seconds(2), 40);
  EXPECT_DOUBLE_EQ(world.Query(job).rate, 20);
  Pause(job);
  Pass(hours(1));
  EXPECT_EQ(world.Query(job).rate, 0);
  EXPECT_FALSE(world.Query(job).eta.has_value());
  Resume(job);
  EXPECT_DOUBLE_EQ(world.Query(job).rate, 15);  // the whole run, without the pause
  EXPECT_EQ(world.Query(job).eta, Nanoseconds(seconds(940)) / 15);
  Work(job, seconds(1), 30);
  EXPECT_DOUBLE_EQ(world.Query(job).rate, 30);  // from the resumption on
}

TEST_F(JobRate, APauseThatNobodyHasSeenDoesNotCountEither) {
  const JobRef job = StartWorker(1000);
  Work(job, seconds(2), 20);
  Pause(job);
  Pass(hours(1));
  Resume(job);
  EXPECT_DOUBLE_EQ(world.Query(job).rate, 10);
}

TEST_F(JobRate, AJobOfUnknownLengthHasARateAndNoEta) {
  const JobRef job = StartWorker(0);
  Work(job, seconds(1), 50);
  EXPECT_DOUBLE_EQ(world.Query(job).rate, 50);
  EXPECT_FALSE(world.Query(job).eta.has_value());
}

TEST_F(JobRate, AReadyJobHasAnEtaWhileSomethingIsLeft) {
  const JobRef job = StartWorker(100, /*ready=*/true);
  Work(job, seconds(1), 50);
  EXPECT_EQ(world.Query(job).status, JobStatus::kReady);
  EXPECT_EQ(world.Query(job).eta, seconds(1));
  Work(job, milliseconds(500), 50);
  EXPECT_GT(world.Query(job).rate, 0);
  EXPECT_FALSE(world.Query(job).eta.has_value());
}

TEST_F(JobRate, AJobWhoseRunHasEndedHasNone) {
  const JobRef job = StartWorker(100, false, {.id = "j", .auto_finalize = false});
  Work(job, seconds(1), 50);
  EXPECT_GT(world.Query(job).rate, 0);
  Finish(job);
  EXPECT_EQ(world.Status(job), "pending");
  EXPECT_EQ(world.Query(job).rate, 0);
  EXPECT_FALSE(world.Query(job).eta.has_value());
}

TEST(RateEstimateTest, BeforeThereIsAWindowTheAverageHolds) {
  RateEstimate rate;
  EXPECT_EQ(rate.Update(TimePoint(seconds(5)), 0, seconds(0)), 0);
  EXPECT_DOUBLE_EQ(rate.Update(TimePoint(seconds(5)), 30, seconds(3)), 10);
  EXPECT_DOUBLE_EQ(rate.Update(TimePoint(milliseconds(5999)), 39, milliseconds(3900)), 10);
}

TEST(RateEstimateTest, TheWindowIsBetweenOneAndTwoIntervalsIfThereAreManyQueries) {
  RateEstimate rate;
  TimePoint now{};
  for (int i = 0; i <= 3000; ++i, now += milliseconds(1)) {
    // 1 unit per ms in the first second, 3 after it.
    const uint64_t current = i <= 1000 ? i : 1000 + 3 * (i - 1000);
    const double r = rate.Update(now, current, now.time_since_epoch());
    // From the sample at 0 or at 1000; the average, in the first second, is the same.
    const int since = i < 2000 ? 0 : 1000;
    EXPECT_DOUBLE_EQ(r, i == 0 ? 0 : static_cast<double>(current - since) * 1000 / (i - since)) << i;
  }
}

TEST(RateEstimateTest, TimeLeftIsSaidOnlyWhereItCanBe) {
  EXPECT_EQ(TimeLeft({.current = 25, .total = 100, .total_known = true}, 50), milliseconds(1500));
  EXPECT_EQ(TimeLeft({.current = 100, .total = 100, .total_known = true}, 50), Nanoseconds(0));
  EXPECT_FALSE(TimeLeft({.current = 25, .total = 100, .total_known = false}, 50).has_value());
  EXPECT_FALSE(TimeLeft({.current = 25, .total = 100, .total_known = true}, 0).has_value());
  EXPECT_FALSE(TimeLeft({.current = 0, .total = uint64_t{1} << 62, .total_known = true}, 1e-9).has_value());
}

// Says nothing without ThreadSanitizer, but for that time never goes back.
TEST(JobTimesRaces, QueriesFromSeveralThreadsOfAJobThatIsPausedAndResumed) {
  TestWorld world({.io_threads = 1});
  std::atomic<bool> stop{false};
  const JobRef job = world.Start({.id = "j", .context = &world.io(), .auto_dismiss = false},
                                 {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   while (!stop) {
                                     self.progress().Advance(1);
                                     if (absl::Status s = co_await self.Sleep(Nanoseconds(0)); !s.ok()) co_return s;
                                   }
                                   co_return absl::OkStatus();
                                 }});
  const auto watch = [&] {
    Nanoseconds age{0};
    Nanoseconds paused{0};
    while (!stop) {
      const JobInfo info = world.Query(job);
      EXPECT_GE(info.rate, 0);
      EXPECT_GE(Sum(info.times), age);
      age = Sum(info.times);
      if (info.times.pauses.empty()) continue;
      EXPECT_GE(info.times.pauses[0].time, paused);
      EXPECT_LE(info.times.pauses[0].time, age);
      paused = info.times.pauses[0].time;
    }
  };
  std::thread a(watch);
  std::thread b(watch);
  for (int i = 0; i < 200; ++i) {
    EXPECT_TRUE(world.Pause(job).ok());
    std::this_thread::yield();
    EXPECT_TRUE(world.Resume(job).ok());
  }
  stop = true;
  a.join();
  b.join();
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  const JobTimes times = world.Query(job).times;
  EXPECT_EQ(Sum(times) - times.In(JobStatus::kConcluded), times.concluded->time - times.created.time);
}

}  // namespace
}  // namespace jobcore
