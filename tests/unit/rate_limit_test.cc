// SPDX-License-Identifier: Apache-2.0
//
// Speed limits: the arithmetic alone, and through a job in virtual time that is paused, woken, drained and given
// other speeds all the while. What is promised stands in rate_limit.h.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-driver/rate_limit.h"
#include "job/job_ops.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::AnyOf;
using ::testing::ElementsAre;

constexpr TimePoint kStart{seconds(1)};

TimePoint At(Nanoseconds since_start) { return kStart + since_start; }

RateLimit Limited(uint64_t speed) {
  Allowance allowance;
  allowance.SetSpeed(kStart, speed);
  RateLimit limit;
  limit.Adopt(allowance);
  return limit;
}

// What has been started when, and which speeds were in force, so that the bound can be looked at in every window.
class Ledger {
 public:
  void SetSpeed(TimePoint now, uint64_t speed) { speeds_.push_back({now, speed}); }
  void Start(TimePoint now, uint64_t units) { starts_.push_back({now, units, speeds_.back().value}); }
  uint64_t total() const {
    uint64_t sum = 0;
    for (const Entry& s : starts_) sum += s.value;
    return sum;
  }
  size_t size() const { return starts_.size(); }

  // In every window that begins with one start and ends with another (no other window is worse).
  void CheckBound() const {
    for (size_t i = 0; i < starts_.size(); ++i) {
      long double sum = 0;
      for (size_t j = i; j < starts_.size(); ++j) {
        // All but the last request: "one request" is the slack for that one.
        const long double allowed =
            Allowed(starts_[i].when, starts_[j].when) + 0.1L * static_cast<long double>(starts_[j].speed);
        if (!Unlimited(starts_[i].when, starts_[j].when)) {
          ASSERT_LE(sum, allowed * (1 + 1e-15L)) << "from start " << i << " to start " << j;
        }
        sum += static_cast<long double>(starts_[j].value);
      }
    }
  }

 private:
  struct Entry {
    TimePoint when;
    uint64_t value;      // units, or speed
    uint64_t speed = 0;  // of a start: then in force
  };
  // The speeds in force, added up.
  long double Allowed(TimePoint from, TimePoint to) const {
    long double sum = 0;
    for (size_t k = 0; k < speeds_.size(); ++k) {
      const TimePoint begin = std::max(from, speeds_[k].when);
      const TimePoint end = std::min(to, k + 1 < speeds_.size() ? speeds_[k + 1].when : kNoDeadline);
      if (end > begin) {
        sum += static_cast<long double>((end - begin).count()) * static_cast<long double>(speeds_[k].value) / 1e9L;
      }
    }
    return sum;
  }
  bool Unlimited(TimePoint from, TimePoint to) const {
    for (size_t k = 0; k < speeds_.size(); ++k) {
      const TimePoint end = k + 1 < speeds_.size() ? speeds_[k + 1].when : kNoDeadline;
      if (speeds_[k].value == 0 && speeds_[k].when <= to && end >= from) return true;
    }
    return false;
  }
  std::vector<Entry> starts_;
  std::vector<Entry> speeds_;
};

// --- The arithmetic ---

TEST(RateLimit, TheFirstRequestStartsAtOnceWhateverItsSize) {
  RateLimit limit = Limited(1);
  EXPECT_EQ(limit.StartTime(kStart), kStart);
}

TEST(RateLimit, WhatIsOwedIsPaidToTheNanosecond) {
  RateLimit limit = Limited(1000);  // half a slice is 50 units
  limit.Take(kStart, 1050);
  EXPECT_EQ(limit.StartTime(kStart), At(seconds(1)));
  EXPECT_EQ(limit.StartTime(At(seconds(1) - nanoseconds(1))), At(seconds(1)));  // asking early changes nothing
  EXPECT_EQ(limit.StartTime(At(seconds(1))), At(seconds(1)));
}

TEST(RateLimit, AWaitIsRoundedUpToTheNextNanosecond) {
  RateLimit limit = Limited(3);
  limit.Take(kStart, 1);
  EXPECT_EQ(limit.StartTime(kStart), At(nanoseconds(283'333'334)));  // 1/3 s less half a slice
}

TEST(RateLimit, ASliceMayBeStartedAtOnce) {
  RateLimit limit = Limited(1000);
  for (int i = 0; i < 101; ++i) {
    ASSERT_EQ(limit.StartTime(kStart), kStart) << i;
    limit.Take(kStart, 1);
  }
  EXPECT_EQ(limit.StartTime(kStart), At(milliseconds(51)));  // until half a slice is free
}

TEST(RateLimit, IdleTimeGivesNoCredit) {
  RateLimit limit = Limited(1000);
  const TimePoint later = At(std::chrono::hours(1));
  uint64_t started = 0;
  while (limit.StartTime(later) == later) {
    limit.Take(later, 1);
    ++started;
  }
  EXPECT_EQ(started, 101u);
}

TEST(RateLimit, ALowSpeedIsKeptToWithoutRounding) {
  RateLimit limit = Limited(3);  // a unit takes 333333333.3… ns
  TimePoint now = kStart;
  constexpr int kUnits = 30000;
  for (int i = 0; i < kUnits; ++i) {
    now = limit.StartTime(now);
    limit.Take(now, 1);
  }
  // The last one starts when all but half a slice of those before it have been paid.
  const Nanoseconds exact = nanoseconds(int64_t{kUnits - 1} * 1'000'000'000 / 3) - milliseconds(50);
  EXPECT_LE(now - At(exact), nanoseconds(1));
  EXPECT_GE(now - At(exact), nanoseconds(-1));
}

TEST(RateLimit, AHigherSpeedPaysWhatIsLeftFaster) {
  Allowance allowance;
  allowance.SetSpeed(kStart, 1);
  RateLimit limit;
  limit.Adopt(allowance);
  limit.Take(kStart, 1'000'000);
  EXPECT_GT(limit.StartTime(kStart), At(seconds(999'999)));
  allowance.SetSpeed(At(seconds(10)), 1'000'000);  // 10 units are paid
  limit.Adopt(allowance);
  EXPECT_EQ(limit.StartTime(At(seconds(10))), At(seconds(11) - milliseconds(50) - nanoseconds(10'000)));
}

TEST(RateLimit, ALowerSpeedCountsOnlyFromItsMoment) {
  Allowance allowance;
  allowance.SetSpeed(kStart, 1000);
  RateLimit limit;
  limit.Adopt(allowance);
  limit.Take(kStart, 1000);
  allowance.SetSpeed(At(milliseconds(500)), 100);
  limit.Adopt(allowance);  // half of it is paid; half a slice is 5 now
  EXPECT_EQ(limit.StartTime(At(milliseconds(500))), At(milliseconds(500 + 4950)));
}

TEST(RateLimit, ChangesThatTheJobDidNotLookAtCountToo) {
  Allowance allowance;
  allowance.SetSpeed(kStart, 1000);
  RateLimit limit;
  limit.Adopt(allowance);
  limit.Take(kStart, 2000);
  allowance.SetSpeed(At(seconds(1)), 10);    // 1000 paid
  allowance.SetSpeed(At(seconds(2)), 1000);  // 10 paid
  limit.Adopt(allowance);
  EXPECT_EQ(limit.StartTime(At(seconds(2))), At(seconds(2) + milliseconds(940)));
}

TEST(RateLimit, AnUnlimitedTimePaysEverything) {
  Allowance allowance;
  allowance.SetSpeed(kStart, 1);
  RateLimit limit;
  limit.Adopt(allowance);
  limit.Take(kStart, 1'000'000);
  allowance.SetSpeed(At(seconds(1)), 0);
  allowance.SetSpeed(At(seconds(1)), 1);
  limit.Adopt(allowance);
  EXPECT_EQ(limit.StartTime(At(seconds(1))), At(seconds(1)));
}

TEST(RateLimit, TheLargestNumbersNeitherOverflowNorLetAnythingThrough) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  for (const uint64_t speed : {uint64_t{1}, uint64_t{1} << 63, kMax}) {
    RateLimit limit = Limited(speed);
    for (int i = 0; i < 3; ++i) limit.Take(kStart, kMax);
    const TimePoint start = limit.StartTime(kStart);
    if (speed == 1) {
      EXPECT_EQ(start, kNoDeadline);
      EXPECT_EQ(limit.StartTime(kNoDeadline - nanoseconds(1)), kNoDeadline);
    } else {
      EXPECT_GT(start, At(seconds(2)));
      EXPECT_LT(start, At(seconds(7)));
    }
    // As much as the clock can hold has been allowed: still a limit, and no wrap-around.
    RateLimit old = Limited(speed);
    const TimePoint late = kNoDeadline - seconds(1);
    EXPECT_EQ(old.StartTime(late), late);
    old.Take(late, kMax);
    old.Take(late, kMax);
    EXPECT_GT(old.StartTime(late), late);
  }
}

TEST(RateLimit, RandomSequencesStayWithinTheBoundAndCloseToIt) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto upto = [&](uint64_t n) { return random() % (n + 1); };
    const auto upto_ns = [&](int64_t n) { return nanoseconds(static_cast<int64_t>(upto(static_cast<uint64_t>(n)))); };
    const auto pick_speed = [&] { return uint64_t{1} << upto(seed % 2 == 0 ? 30 : 10); };
    const bool changes = seed % 3 == 0;
    const bool idle = seed % 5 == 0;
    Allowance allowance;
    RateLimit limit;
    Ledger ledger;
    uint64_t speed = pick_speed();
    TimePoint now = kStart;
    const auto set_speed = [&] {
      allowance.SetSpeed(now, speed);
      ledger.SetSpeed(now, speed);
    };
    set_speed();
    while (ledger.size() < 150) {
      if (changes && upto(5) == 0) {
        for (uint64_t n = 1 + upto(2); n > 0; --n) {  // the job looks only after the last
          speed = upto(9) == 0 ? 0 : pick_speed();
          set_speed();
          now += upto_ns(200'000'000);
        }
      }
      limit.Adopt(allowance);
      const TimePoint start = limit.StartTime(now);
      if (start == now) {
        const uint64_t units = 1 + upto(std::max<uint64_t>(1, speed / (1 + upto(30))));
        limit.Take(now, units);
        ledger.Start(now, units);
        if (idle) now += upto_ns(1'000'000'000);
      } else if (upto(1) == 0) {
        now += std::min<Nanoseconds>(upto_ns((start - now).count()), milliseconds(300));  // woken early, for nothing
      } else {
        now = changes ? std::min(start, now + milliseconds(300)) : start;
      }
    }
    ledger.CheckBound();
    if (!changes && !idle) {
      const long double ideal =
          static_cast<long double>((now - kStart).count()) * static_cast<long double>(speed) / 1e9L;
      EXPECT_GE(static_cast<long double>(ledger.total()), 0.95L * ideal);
    }
  }
}

// --- Through a job, in virtual time ---

class Throttle : public testing::Test {
 protected:
  // Works as fast as it may, in pieces of up to `piece` units.
  JobRef StartWorker(int64_t speed, uint64_t piece, bool random_pieces = false) {
    ledger.SetSpeed(world.clock().Now(), static_cast<uint64_t>(speed));
    return world.Start({.id = "j", .speed = speed}, {.run = [=, this](JobContext& job) -> Co<absl::Status> {
                         std::mt19937_64 random(7);
                         for (;;) {
                           const uint64_t units = random_pieces ? 1 + random() % piece : piece;
                           if (absl::Status s = co_await job.Throttle(units); !s.ok()) co_return s;
                           ledger.Start(world.clock().Now(), units);
                           if (ledger.size() >= enough) {
                             if (absl::Status s = co_await job.Yield(); !s.ok()) co_return s;
                           }
                         }
                       }});
  }
  void Turn(int turns = 3) {
    for (int i = 0; i < turns; ++i) world.main().RunOnce(false);
  }
  void SetSpeed(const JobRef& job, int64_t speed) {
    ASSERT_TRUE(world.SetSpeed(job, speed).ok());
    ledger.SetSpeed(world.clock().Now(), static_cast<uint64_t>(speed));
  }
  Nanoseconds Throttled(const JobRef& job) {
    JobLock lock(world.core());
    return JobOps::ThrottledTime(*job);
  }

  TestWorld world{{.virtual_time = true}};
  Ledger ledger;
  size_t enough = std::numeric_limits<size_t>::max();
};

TEST_F(Throttle, AJobWorksAsFastAsItMay) {
  const JobRef job = StartWorker(1000, 10);
  EXPECT_EQ(world.Query(job).speed, 1000);
  for (int ms = 0; ms < 20'000; ++ms) {
    Turn();
    world.clock().Advance(milliseconds(1));
  }
  ledger.CheckBound();
  EXPECT_GE(ledger.total(), 19'000u);
  EXPECT_GE(Throttled(job), milliseconds(19'800));
  EXPECT_LE(Throttled(job), milliseconds(20'000));
}

TEST_F(Throttle, EnterPausesAndResumesNeitherCutNorExtendTheWait) {
  const JobRef job = StartWorker(1000, 1000);
  Turn();
  ASSERT_EQ(ledger.size(), 1u);
  for (int ms = 0; ms < 949; ++ms) {
    if (ms % 2 == 0) Enter(*job);
    if (ms % 3 == 0) {
      ASSERT_TRUE(world.Pause(job, "maintenance").ok());
    }
    if (ms % 5 == 0) Turn(1);
    if (ms % 7 == 0) Enter(*job);
    if (ms % 3 == 0) {
      ASSERT_TRUE(world.Resume(job, "maintenance").ok());
    }
    Turn();
    world.clock().Advance(milliseconds(1));
  }
  Turn();
  EXPECT_EQ(ledger.size(), 1u) << "1000 units at 1000 per second are owed, less half a slice";
  world.clock().Advance(milliseconds(1));
  Turn();
  EXPECT_EQ(ledger.size(), 2u);
}

TEST_F(Throttle, AJobThatWaitsCanBePausedAndItsDebtGoesOnBeingPaid) {
  const JobRef job = StartWorker(1000, 1000);
  Turn();
  ASSERT_TRUE(world.Pause(job).ok());
  Turn();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_EQ(world.log().Count("j", "Pause"), 1);
  EXPECT_EQ(Throttled(job), Nanoseconds(0));
  world.clock().Advance(seconds(5));
  Turn();
  EXPECT_EQ(ledger.size(), 1u);
  ASSERT_TRUE(world.Resume(job).ok());
  Turn();
  EXPECT_EQ(world.log().Count("j", "Resume"), 1);
  EXPECT_EQ(ledger.size(), 2u) << "paid while it was paused; no credit beyond that";
}

TEST_F(Throttle, IsAPausePointWithoutALimitToo) {
  enough = 3;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   EXPECT_TRUE(world.Pause(JobRef(self.job())).ok());
                                   co_return co_await self.Throttle(1);
                                 }});
  Turn();
  EXPECT_EQ(world.Status(job), "paused");
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

TEST_F(Throttle, AFasterSpeedIsFeltAtOnce) {
  const JobRef job = StartWorker(1, 1'000'000);
  Turn();
  ASSERT_EQ(ledger.size(), 1u);
  world.clock().Advance(seconds(1));
  Turn();
  SetSpeed(job, 1'000'000);
  Turn();
  EXPECT_EQ(ledger.size(), 1u);
  world.clock().Advance(milliseconds(950));
  Turn();
  EXPECT_EQ(ledger.size(), 2u);
  enough = 10;
  SetSpeed(job, 0);
  Turn();
  EXPECT_EQ(ledger.size(), 10u);
  EXPECT_EQ(world.Query(job).speed, 0);
}

TEST_F(Throttle, ASlowerSpeedIsFeltAtOnce) {
  const JobRef job = StartWorker(1000, 1000);
  Turn();
  world.clock().Advance(milliseconds(500));
  SetSpeed(job, 100);
  Turn();
  world.clock().Advance(milliseconds(4949));
  Turn();
  EXPECT_EQ(ledger.size(), 1u);
  world.clock().Advance(milliseconds(1));
  Turn();
  EXPECT_EQ(ledger.size(), 2u);
}

TEST_F(Throttle, AChangeDuringASleepOfTheDriverDoesNotEndTheSleep) {
  TimePoint woke{};
  const TimePoint begun = world.clock().Now();
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   if (absl::Status s = co_await self.Sleep(seconds(1)); !s.ok()) co_return s;
                                   woke = world.clock().Now();
                                   co_return absl::OkStatus();
                                 }});
  for (int i = 0; i < 9; ++i) {
    Turn();
    SetSpeed(job, i);
    world.clock().Advance(milliseconds(110));
  }
  Turn();
  world.clock().Advance(milliseconds(10));
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(woke - begun, seconds(1));
}

TEST_F(Throttle, AWakeUpThatComesMeanwhileIsLeftForTheNextYield) {
  bool through = false;
  const JobRef job = world.Start({.id = "j", .speed = 1000}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   for (int i = 0; i < 2; ++i)
                                     if (absl::Status s = co_await self.Throttle(1000); !s.ok()) co_return s;
                                   absl::Status s = co_await self.Yield();
                                   through = true;
                                   co_return s;
                                 }});
  Turn();
  Enter(*job);
  Turn();
  world.clock().Advance(seconds(1));
  Turn();
  EXPECT_TRUE(through);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_F(Throttle, AForceCancelEndsTheWait) {
  const JobRef job = StartWorker(1, 1'000'000);
  Turn();
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
  EXPECT_EQ(ledger.size(), 1u);
}

TEST_F(Throttle, WaitsInTheHooksOfAPauseToo) {
  TimePoint hook_done{};
  const TimePoint begun = world.clock().Now();
  Script script;
  script.run = [&](JobContext& self) -> Co<absl::Status> {
    if (absl::Status s = co_await self.Throttle(1000); !s.ok()) co_return s;
    co_return co_await self.Yield();
  };
  script.pause = [&](JobContext& self) -> Co<void> {
    (void)co_await self.Throttle(1);
    hook_done = world.clock().Now();
  };
  const JobRef job = world.Start({.id = "j", .speed = 1000}, std::move(script));
  Turn();
  ASSERT_TRUE(world.Pause(job).ok());
  for (int i = 0; i < 100; ++i) {
    Turn();
    Enter(*job);
    world.clock().Advance(milliseconds(10));
  }
  EXPECT_EQ(hook_done - begun, milliseconds(950));
  EXPECT_EQ(world.Status(job), "paused");
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_F(Throttle, WaitsInTheHooksOfAMoveWithoutKeepingTheLoop) {
  IOThread other("other", {.clock = &world.clock()});
  TimePoint hook_done{};
  const TimePoint begun = world.clock().Now();
  Script script;
  script.run = [&](JobContext& self) -> Co<absl::Status> {
    if (absl::Status s = co_await self.Throttle(1000); !s.ok()) co_return s;
    co_return co_await self.Yield();
  };
  script.pause = [&](JobContext& self) -> Co<void> {
    (void)co_await self.Throttle(1);
    hook_done = world.clock().Now();
  };
  const JobRef job = world.Start({.id = "j", .speed = 1000}, std::move(script));
  Turn();
  {
    JobLock lock(world.core());
    ASSERT_TRUE(monitor::Move(*job, other.context()).ok());
  }
  for (int i = 0; i < 100; ++i) {
    Turn();
    world.clock().Advance(milliseconds(10));
  }
  EXPECT_EQ(hook_done - begun, milliseconds(950));
  EXPECT_EQ(&job->context(), &other.context());
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_F(Throttle, TheBoundHoldsInEveryWindowWhateverIsDoneToTheJob) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto upto = [&](uint64_t n) { return static_cast<int64_t>(random() % (n + 1)); };
    ledger = Ledger();
    int64_t speed = 1 + upto(100'000);
    const bool changes = seed % 2 == 0;
    const JobRef job = StartWorker(speed, static_cast<uint64_t>(1 + speed / (1 + upto(20))), true);
    const TimePoint begun = world.clock().Now();
    long double ideal = 0;
    while (world.clock().Now() - begun < seconds(4)) {
      switch (upto(4)) {
        case 0:
          for (int64_t n = upto(20); n > 0; --n) Enter(*job);
          break;
        case 1:
          ASSERT_TRUE(world.Pause(job, "maintenance").ok());
          Turn(static_cast<int>(upto(3)));
          ASSERT_TRUE(world.Resume(job, "maintenance").ok());
          break;
        case 2:
          if (!changes || upto(20) != 0) break;
          speed = 1 + upto(100'000);
          SetSpeed(job, speed);
          break;
        default:
          break;
      }
      Turn(static_cast<int>(upto(3)));
      const auto step = nanoseconds(upto(5'000'000));
      ideal += static_cast<long double>(step.count()) * static_cast<long double>(speed) / 1e9L;
      world.clock().Advance(step);
    }
    Turn();
    ASSERT_GT(ledger.size(), 2u);
    ledger.CheckBound();
    EXPECT_GE(static_cast<long double>(ledger.total()), 0.95L * ideal);
    ASSERT_TRUE(world.Cancel(job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
  }
}

TEST_F(Throttle, OfANegativeSpeedIsRefused) {
  const JobRef job = world.Create({.id = "j"}, {});
  ExpectRefused(world.SetSpeed(job, -1), "Parameter 'speed' expects a non-negative value", "j",
                absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(world.Query(job).speed, 0);
  const absl::StatusOr<JobRef> other = CreateJob(world.core(), {.id = "k", .speed = -1}, world.Driver("k"));
  ExpectRefused(other.status(), "Parameter 'speed' expects a non-negative value", "k",
                absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(AbandonJob(*job).ok());
}

TEST_F(Throttle, SetSpeedIsAVerbAndItsTableHolds) {
  const JobRef job = world.Start({.id = "j", .auto_dismiss = false}, {});
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  ExpectRefused(world.SetSpeed(job, -1), "Job 'j' in state 'concluded' cannot accept command verb 'set-speed'", "j");
  ASSERT_TRUE(world.Dismiss(job).ok());
}

TEST(ThrottleThreads, NoChangeOfSpeedIsMissed) {
  TestWorld world({.io_threads = 1});
  std::atomic<int> pieces{0};
  const JobRef job =
      world.Start({.id = "j", .context = &world.io(), .speed = 1}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                    for (;;) {
                      if (absl::Status s = co_await self.Throttle(1'000'000); !s.ok()) co_return s;
                      pieces.fetch_add(1);
                    }
                  }});
  for (int round = 0; round < 2000; ++round) {
    const int before = pieces.load();
    ASSERT_TRUE(world.SetSpeed(job, 0).ok());
    ASSERT_TRUE(world.RunUntil([&] { return pieces.load() > before; }, "work without a limit"));
    ASSERT_TRUE(world.SetSpeed(job, 1).ok());
  }
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

}  // namespace
}  // namespace jobcore
