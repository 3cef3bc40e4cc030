// SPDX-License-Identifier: Apache-2.0
//
// What the watchdog reports, and what it does not. Its clock is the test's; the loops have the system's.

#include "job-monitor/watchdog.h"

#include <future>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "job-common/io_engine.h"
#include "support/held_engine.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using monitor::DumpWaits;
using monitor::WaitDump;
using monitor::Watchdog;
using support::HeldEngine;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using namespace std::chrono_literals;

struct WatchdogTest : testing::Test {
  explicit WatchdogTest(TestWorld::Options options = {.io_threads = 1}) : world(options) {
    watchdog.emplace(world.core(), NewOptions());
  }

  Watchdog::Options NewOptions() {
    Watchdog::Options options;
    options.callback = [this](const WaitDump& d, const std::string& reason) {
      dump = d;
      reasons.push_back(reason);
    };
    options.wait_limit = 10s;
    options.overdue_limit = 2s;
    options.loop_limit = 1s;
    options.clock = &clock;
    options.start_thread = false;
    return options;
  }
  // What is new when the watchdog has looked `time` later.
  Strings After(Nanoseconds time) {
    clock.Advance(time);
    reasons.clear();
    watchdog->Check();
    return reasons;
  }
  Script Reads(int times = 1) {
    return {.run = [this, times](JobContext&) -> Co<absl::Status> {
      for (int i = 0; i < times; ++i) (void)co_await Read(engine, 0, 0, {});
      co_return absl::OkStatus();
    }};
  }

  HeldEngine engine;
  support::ManualClock clock;
  TestWorld world;
  WaitDump dump;
  Strings reasons;
  std::optional<Watchdog> watchdog;
};

TEST_F(WatchdogTest, ReportsAnAwaitThatHasLastedForTheLimitOnce) {
  const JobRef job = world.Start({.id = "a"}, Reads());
  world.Settle();
  EXPECT_THAT(After(0s), IsEmpty());
  EXPECT_THAT(After(10s - 1ns), IsEmpty());
  EXPECT_THAT(After(1ns), ElementsAre("job 'a' has been suspended in 'I/O read' for 10.0 s"));
  ASSERT_EQ(dump.jobs.size(), 1u);
  EXPECT_THAT(dump.jobs[0].what, StartsWith("I/O read for "));
  EXPECT_THAT(After(100s), IsEmpty());
  engine.CompleteOne();
  EXPECT_TRUE(world.RunUntilNull(job));
}

TEST_F(WatchdogTest, ANewAwaitIsANewIncidentAndCountsFromItsOwnBeginning) {
  const JobRef job = world.Start({.id = "a"}, Reads(2));
  world.Settle();
  EXPECT_THAT(After(0s), IsEmpty());
  EXPECT_THAT(After(9s), IsEmpty());
  engine.CompleteOne();
  ASSERT_TRUE(world.RunUntil([&] { return engine.held() == 1; }));
  EXPECT_THAT(After(9s), IsEmpty());
  EXPECT_THAT(After(10s), ElementsAre(StartsWith("job 'a' has been suspended in 'I/O read'")));
  engine.CompleteOne();
  EXPECT_TRUE(world.RunUntilNull(job));
}

TEST_F(WatchdogTest, HooksAreWatchedToo) {
  Script script = Obedient(std::make_shared<Remote>(), ReadyCapabilities{});
  script.complete = [this](JobContext&) -> Co<absl::Status> {
    (void)co_await Write(engine, 0, 0, {});
    co_return absl::OkStatus();
  };
  script.clean = [this]() -> Co<void> { (void)co_await DataSync(engine, 0); };
  const JobRef job = world.Start({.id = "a"}, script);
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Complete(job).ok());
  world.Settle();
  EXPECT_THAT(After(0s), IsEmpty());
  EXPECT_THAT(After(10s), ElementsAre("the Complete hook of job 'a' has been suspended in 'I/O write' for 10.0 s"));
  engine.CompleteOne();
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntil([&] { return engine.held() == 1; }));
  EXPECT_THAT(After(0s), IsEmpty());
  EXPECT_THAT(After(10s), ElementsAre("the Clean hook of job 'a' has been suspended in 'I/O data sync' for 10.0 s"));
  engine.CompleteOne();
  EXPECT_TRUE(world.RunUntilNull(job));
}

TEST_F(WatchdogTest, WhatMayLastIsNotReported) {
  const auto remote = std::make_shared<Remote>();
  Script sleeper;
  sleeper.run = [](JobContext& job) -> Co<absl::Status> { co_return co_await job.Sleep(1h); };
  const JobRef created = world.Create({.id = "created"}, {});
  const JobRef yields = world.Start({.id = "yields"}, Obedient(remote));
  const JobRef sleeps = world.Start({.id = "sleeps"}, sleeper);
  const JobRef paused = world.Start({.id = "paused"}, Obedient(remote));
  ASSERT_TRUE(world.Pause(paused).ok());
  const JobRef pending = world.Start({.id = "pending", .auto_finalize = false}, Returning(absl::OkStatus()));
  const JobRef concluded = world.Start({.id = "concluded", .auto_dismiss = false}, Returning(absl::OkStatus()));
  std::atomic<bool> done{false};
  std::thread plain([&] {
    EXPECT_TRUE(AioWaitWhileUnlocked(world.core(), [&] { return !done; }, {.name = "long", .watched = false}).ok());
  });
  ASSERT_TRUE(world.RunUntil([&] { return !DumpWaits(world.core()).waits.empty(); }));
  ASSERT_TRUE(world.RunUntilStatus(pending, "pending"));
  ASSERT_TRUE(world.RunUntilStatus(concluded, "concluded"));
  ASSERT_TRUE(world.RunUntilStatus(paused, "paused"));
  world.Settle();
  for (int i = 0; i < 5; ++i) EXPECT_THAT(After(100s), IsEmpty());
  done = true;
  world.main().wait_domain().Kick();
  plain.join();
}

TEST_F(WatchdogTest, ReportsAWaitWithoutADeadlineAndNamesWhoHoldsIt) {
  const JobRef job = world.Start({.id = "a"}, Reads());
  world.Settle();
  std::thread plain([&] { EXPECT_TRUE(monitor::WaitFor(job).ok()); });
  ASSERT_TRUE(world.RunUntil([&] { return !DumpWaits(world.core()).waits.empty(); }));
  EXPECT_THAT(After(0s), IsEmpty());
  EXPECT_THAT(After(10s), ElementsAre(StartsWith("job 'a' has been"), "wait 'wait for job 'a'' has lasted for 10.0 s"));
  EXPECT_THAT(dump.waits.at(0).held_by, ElementsAre(StartsWith("job 'a', running: I/O read")));
  engine.CompleteOne();
  EXPECT_TRUE(world.RunUntilNull(job));
  plain.join();
}

struct WatchdogVirtualTest : WatchdogTest {
  WatchdogVirtualTest() : WatchdogTest({.virtual_time = true}) {}
};

TEST_F(WatchdogVirtualTest, AWaitMayLastUntilItsDeadlineAndNotMuchLonger) {
  std::atomic<bool> done{false};
  const TimePoint deadline = world.clock().Now() + 1h;
  std::thread plain([&] {  // parked: it does not see the virtual clock move
    const absl::Status status =
        AioWaitWhileUnlocked(world.core(), [&] { return !done; }, {.name = "bounded", .deadline = deadline});
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  });
  ASSERT_TRUE(world.RunUntil([&] { return !DumpWaits(world.core()).waits.empty(); }));
  EXPECT_THAT(After(100s), IsEmpty());
  EXPECT_THAT(After(100s), IsEmpty());
  world.clock().Advance(2h);
  EXPECT_THAT(After(100s), IsEmpty());  // seen past its deadline for the first time
  EXPECT_THAT(After(2s), ElementsAre("wait 'bounded' still goes on 2.0 s after its deadline"));
  EXPECT_EQ(dump.waits.at(0).left, -1h);
  EXPECT_THAT(ToString(dump), HasSubstr("7200 s, 3600 s past its deadline"));
  world.main().wait_domain().Kick();
  plain.join();
}

TEST_F(WatchdogTest, ReportsALoopThatIsNotRunAlthoughItHasWork) {
  EXPECT_THAT(After(0s), IsEmpty());
  EXPECT_THAT(After(10s), IsEmpty());  // nothing to do
  world.main().Post("work", [] {});
  EXPECT_THAT(After(0s), IsEmpty());
  EXPECT_THAT(After(1s), ElementsAre("loop 'main' has had work and has not been run for 1.0 s"));
  EXPECT_THAT(After(1s), IsEmpty());
  world.main().RunOnce(false);
  world.main().Post("work", [] {});
  EXPECT_THAT(After(10s), IsEmpty());  // another turn
  world.main().RunOnce(false);
}

TEST(WatchdogOwnThread, ReportsALoopThatIsStuckInACallbackFromAThreadOfItsOwn) {
  TestWorld world({.own_thread = true});
  std::promise<std::string> report;
  Watchdog::Options options;
  options.callback = [&](const WaitDump& dump, const std::string& reason) {
    report.set_value(absl::StrCat(dump.loops.at(0).callback, ": ", reason));  // a second time throws
  };
  options.loop_limit = 2ms;
  options.interval = 1ms;
  std::promise<void> is_in, go_on;
  // First: on a busy machine an earlier turn may last as long, too.
  world.main().Post("stuck", [&] {
    is_in.set_value();
    go_on.get_future().wait();
  });
  is_in.get_future().wait();
  {
    const Watchdog watchdog(world.core(), options);
    EXPECT_THAT(report.get_future().get(), testing::MatchesRegex("stuck: loop 'main' has been in one turn for .* ms, "
                                                                 "and is in callback 'stuck'"));
  }
  go_on.set_value();
}

TEST_F(WatchdogTest, AStuckMutexIsReportedOnceUntilItWasFree) {
  for (int round = 0; round < 2; ++round) {
    std::promise<void> holds, release;
    std::thread holder([&]() JOBCORE_EXCLUDES(job_mutex) {
      JobLock lock(world.core());
      holds.set_value();
      release.get_future().wait();
    });
    holds.get_future().wait();
    EXPECT_THAT(After(0s), IsEmpty());
    EXPECT_THAT(After(1s), ElementsAre(StartsWith("job_mutex is held by thread ")));
    EXPECT_THAT(dump.obstacle, StartsWith("job_mutex is held by thread "));
    EXPECT_THAT(After(0s), IsEmpty());
    release.set_value();
    holder.join();
    EXPECT_THAT(After(0s), IsEmpty());
  }
}

}  // namespace
}  // namespace jobcore
