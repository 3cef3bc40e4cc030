// SPDX-License-Identifier: Apache-2.0
//
// Jobs that do not end although they have been force-cancelled: one event each, at its time, and nothing else. In
// virtual time.

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"
#include "support/virtual_time.h"

namespace jobcore {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Unresponsive : public testing::Test {
 protected:
  // Ignores everything until the gate opens.
  JobRef StartStubborn(std::string id, Gate& gate, bool internal = false) {
    return world.Start({.id = internal ? "" : std::move(id), .internal = internal},
                       {.run = [&gate](JobContext&) -> Co<absl::Status> {
                         co_await gate.Pass();
                         co_return absl::OkStatus();
                       }});
  }
  void Advance(Nanoseconds delta) {
    world.clock().Advance(delta);
    world.Settle();
  }

  TestWorld world{{.virtual_time = true, .unresponsive_after = seconds(30)}};
};

TEST_F(Unresponsive, AJobThatDoesNotEndInTimeGetsOneEvent) {
  Gate& gate = world.NewGate();
  const JobRef job = StartStubborn("j", gate);
  Advance(seconds(100));
  world.NewEvents();
  ASSERT_TRUE(world.Cancel(job).ok());
  world.Settle();
  Advance(seconds(30) - milliseconds(1));
  EXPECT_THAT(world.NewEvents(), IsEmpty());
  Advance(milliseconds(1));
  EXPECT_THAT(world.NewEvents(), ElementsAre("j unresponsive"));
  ASSERT_TRUE(world.Cancel(job).ok());  // already under way
  Advance(seconds(100));
  EXPECT_THAT(world.NewEvents(), IsEmpty());
  EXPECT_EQ(world.Status(job), "running") << "a running driver is never freed";
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.NewEvents(), ElementsAre("j aborting", "j concluded", "j null"));
}

TEST_F(Unresponsive, TheEventSaysWhatTheJobIsAt) {
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   while (!self.force_cancelled()) (void)co_await self.Yield();
                                   co_await world.NewGate().Pass();
                                   co_return absl::CancelledError();
                                 }});
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  world.Settle();
  Advance(seconds(30));
  EventCursor cursor;
  JobLock lock(world.core());
  const EventPage page = world.core().ReadEvents(cursor);
  ASSERT_FALSE(page.events.empty());
  const JobEvent& event = page.events.back();
  EXPECT_EQ(event.kind, JobEvent::Kind::kUnresponsive);
  EXPECT_EQ(event.status, JobStatus::kRunning);
  EXPECT_EQ(event.waits_for, "AioWaitWhile for 30.0 s: 'gate of a test'");
}

TEST_F(Unresponsive, AJobThatEndsInTimeGetsNone) {
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  world.NewEvents();
  Advance(seconds(100));
  EXPECT_THAT(world.NewEvents(), IsEmpty());
}

TEST_F(Unresponsive, EachHasItsOwnDeadlineAndTheOthersAreNotForgotten) {
  Gate& early = world.NewGate();
  Gate& late = world.NewGate();
  const JobRef a = StartStubborn("a", early);
  const JobRef b = StartStubborn("b", late);
  const JobRef c = StartStubborn("c", late);
  const JobRef d = StartStubborn("d", late);
  world.Settle();
  world.NewEvents();
  for (const JobRef* job : {&a, &b, &c}) {
    ASSERT_TRUE(world.Cancel(*job).ok());
    Advance(seconds(10));
  }
  early.Open();
  ASSERT_TRUE(world.RunUntilNull(a));  // the head of the queue has ended
  world.NewEvents();
  Advance(seconds(9));
  EXPECT_THAT(world.NewEvents(), IsEmpty());
  Advance(seconds(1));
  EXPECT_THAT(world.NewEvents(), ElementsAre("b unresponsive"));
  ASSERT_TRUE(world.Cancel(d).ok());
  Advance(seconds(10));
  EXPECT_THAT(world.NewEvents(), ElementsAre("c unresponsive"));
  Advance(seconds(20));
  EXPECT_THAT(world.NewEvents(), ElementsAre("d unresponsive"));
  late.Open();
  for (const JobRef* job : {&b, &c, &d}) ASSERT_TRUE(world.RunUntilNull(*job));
}

TEST_F(Unresponsive, HundredsAtOnceAreAllReported) {
  Gate& gate = world.NewGate();
  std::vector<JobRef> jobs;
  for (int i = 0; i < 300; ++i) jobs.push_back(StartStubborn("j" + std::to_string(i), gate));
  world.Settle();
  world.NewEvents();
  monitor::CancelAll(world.core());
  world.Settle();
  Advance(seconds(30));
  EXPECT_EQ(world.NewEvents().size(), 300u);
  gate.Open();
  for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_F(Unresponsive, AnInternalJobHasNoEvents) {
  Gate& gate = world.NewGate();
  const JobRef job = StartStubborn("", gate, /*internal=*/true);
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  world.Settle();
  Advance(seconds(100));
  EXPECT_THAT(world.NewEvents(), IsEmpty());
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(UnresponsiveOff, ThereIsNoEvent) {
  TestWorld world({.virtual_time = true, .unresponsive_after = Nanoseconds(0)});
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j"}, {.run = [&gate](JobContext&) -> Co<absl::Status> {
                                   co_await gate.Pass();
                                   co_return absl::OkStatus();
                                 }});
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  world.Settle();
  world.clock().Advance(seconds(1000));
  world.Settle();
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running"));
  EXPECT_EQ(world.LastEvent(), 2u);
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
}

// A loop that may sleep jumps to the next timer: none is left when the last cancelled job has ended.
TEST(UnresponsiveTimer, IsDisarmedWhenTheLastCancelledJobHasEnded) {
  support::VirtualLoop loop;
  HookLog log;  // outlives the drivers
  JobCore core({.main_context = loop.context().shared_from_this(), .unresponsive_after = seconds(30)});
  const TimePoint begun = loop.clock().Now();
  for (int round = 0; round < 3; ++round) {
    const absl::StatusOr<JobRef> job =
        CreateJob(core, {.id = "j"},
                  std::make_unique<ScriptedDriver>(log, "j", Script{.run = [](JobContext& self) -> Co<absl::Status> {
                                                     (void)co_await self.Yield();
                                                     co_return co_await self.Sleep(milliseconds(0));
                                                   }}));
    ASSERT_TRUE(job.ok());
    ASSERT_TRUE(StartJob(**job).ok());
    loop.RunReady();
    const absl::StatusOr<JobOutcome> outcome = monitor::CancelAndWait(*job);
    ASSERT_TRUE(outcome.ok());
    loop.RunReady();
    loop.context().RunOnce(/*may_block=*/true, begun + seconds(100 * (round + 1)));
    EXPECT_EQ(loop.clock().Now(), begun + seconds(100 * (round + 1)));
  }
}

TEST(UnresponsiveTimer, DoesNotKeepACoreAlive) {
  for (const bool own_thread : {false, true}) {
    TestWorld world({.own_thread = own_thread, .io_threads = 1});
    Gate& gate = world.NewGate();
    const JobRef job = world.Start({.id = "j", .context = &world.io()}, {.run = [&](JobContext&) -> Co<absl::Status> {
                                     co_await gate.Pass();
                                     co_return absl::OkStatus();
                                   }});
    world.Settle();
    ASSERT_TRUE(world.Cancel(job).ok());
    world.Settle();
    gate.Open();  // the core goes while its watch may not have looked again
  }
}

TEST(UnresponsiveThreads, ManyCancelledJobsComeAndGo) {
  TestWorld world({.own_thread = true, .io_threads = 2, .unresponsive_after = std::chrono::microseconds(50)});
  for (int round = 0; round < 300; ++round) {
    std::vector<JobRef> jobs;
    for (int i = 0; i < 4; ++i) {
      auto remote = std::make_shared<Remote>();
      jobs.push_back(world.Start({.id = "j" + std::to_string(i), .context = &world.io(static_cast<size_t>(i % 2))},
                                 Obedient(remote)));
    }
    monitor::CancelAll(world.core());
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
  }
}

}  // namespace
}  // namespace jobcore
