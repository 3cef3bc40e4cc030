// SPDX-License-Identifier: Apache-2.0

#include "job-common/aio_context.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "job-common/job_mutex.h"
#include "support/virtual_time.h"

namespace jobcore {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using support::ManualClock;
using support::VirtualLoop;

// A main context on real time, with this thread as its home.
struct RealLoop {
  std::shared_ptr<AioContext> context = AioContext::Create({});
  AioHome home{*context};
};

struct Pipe {
  Pipe() { EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0); }
  ~Pipe() {
    close(ends[0]);
    if (ends[1] >= 0) close(ends[1]);
  }
  void Write() { EXPECT_EQ(write(ends[1], "x", 1), 1); }
  int reader() const { return ends[0]; }
  std::array<int, 2> ends;
};

// --- Posting ---

TEST(AioContext, WorkPostedByOneThreadRunsInTheOrderPosted) {
  constexpr int kThreads = 3;
  constexpr int kPosts = 20'000;
  RealLoop loop;
  std::vector<int> next(kThreads, 0);
  int total = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        loop.context->Post("count", [&, t, i] {
          ASSERT_EQ(next[t], i);
          ++next[t];
          ++total;
        });
      }
    });
  }
  while (total < kThreads * kPosts) loop.context->RunOnce(true);
  for (std::thread& thread : threads) thread.join();
}

TEST(AioContext, WorkPostedByACallbackWaitsForTheNextTurn) {
  VirtualLoop loop;
  std::string order;
  loop.context().Post("a", [&] {
    order += "a";
    loop.context().Post("c", [&] { order += "c"; });
  });
  loop.context().Post("b", [&] { order += "b"; });
  loop.context().RunOnce(false);
  EXPECT_EQ(order, "ab");
  loop.context().RunOnce(true);
  EXPECT_EQ(order, "abc");
}

TEST(AioContext, TheCurrentCallbackHasItsNameAndPlainCodeHasNone) {
  VirtualLoop loop;
  std::string seen;
  loop.context().Post("the name", [&] { seen = AioContext::CurrentCallback(); });
  EXPECT_EQ(AioContext::CurrentCallback(), nullptr);
  loop.context().RunOnce(false);
  EXPECT_EQ(seen, "the name");
  EXPECT_EQ(AioContext::CurrentCallback(), nullptr);
}

TEST(AioContext, ASleepingLoopIsWokenByEveryPostFromAnotherThread) {
  constexpr int kRounds = 100'000;
  RealLoop loop;
  std::atomic<int> answered{0};
  std::thread other([&] {
    for (int i = 0; i < kRounds; ++i) {
      loop.context->Post("ping", [&] { answered.fetch_add(1); });
      while (answered.load() <= i) {
        if (i % 2 == 0) std::this_thread::yield();
      }
    }
  });
  while (answered.load() < kRounds) loop.context->RunOnce(true);
  other.join();
}

TEST(AioContext, ASleepingLoopTakesATurnForEveryNotify) {
  constexpr int kRounds = 20'000;
  RealLoop loop;
  std::atomic<int> turns{0};
  std::thread other([&] {
    for (int i = 0; i < kRounds; ++i) {
      const int before = turns.load();
      if (before < 0) break;
      loop.context->Notify();
      while (turns.load() == before) std::this_thread::yield();
    }
    turns = -1'000'000'000;
    loop.context->Notify();
  });
  while (turns.load() >= 0) {
    loop.context->RunOnce(true);
    turns.fetch_add(1);
  }
  other.join();
}

TEST(AioContext, QueuedWorkIsDroppedUnrunWithTheLastReference) {
  struct Item final : WorkItem {
    Item() : WorkItem("item", [](WorkItem& self, Reason reason) { static_cast<Item&>(self).seen = reason; }) {}
    std::optional<Reason> seen;
  };
  Item item;
  auto context = AioContext::Create({});
  auto held = std::make_shared<int>(0);
  context->Post(item);
  context->Post("callable", [held] { FAIL() << "ran"; });
  EXPECT_EQ(held.use_count(), 2);
  context.reset();
  EXPECT_EQ(item.seen, WorkItem::Reason::kDrop);
  EXPECT_EQ(held.use_count(), 1);
}

TEST(AioContext, AnItemCanBePostedAgainFromItsOwnFunction) {
  struct Item final : WorkItem {
    explicit Item(AioContext& c) : WorkItem("item", &Run), context(c) {}
    static void Run(WorkItem& self, Reason) {
      Item& item = static_cast<Item&>(self);
      if (++item.runs < 5) item.context.Post(item);
    }
    AioContext& context;
    int runs = 0;
  };
  VirtualLoop loop;
  Item item(loop);
  loop.context().Post(item);
  loop.RunReady(4);
  EXPECT_EQ(item.runs, 4);
  loop.RunReady();
  EXPECT_EQ(item.runs, 5);
}

TEST(AioContext, AnAbandonedHomeKeepsItsContextAliveForTheScope) {
  auto context = AioContext::Create({});
  AioContext* const raw = context.get();
  const std::weak_ptr<AioContext> weak = context;
  {
    const AioHome home(*context);
    context->Post("drop the last reference", [&] { context.reset(); });
    raw->RunOnce(false);
    EXPECT_FALSE(weak.expired());
  }
  EXPECT_TRUE(weak.expired());
}

// --- Busy polling ---

// Stands still, and tells when somebody has looked at it often: the loop is polling.
class WatchedClock final : public Clock {
 public:
  TimePoint Now() override {
    if (looks_.fetch_add(1) == 100) polling_.count_down();
    return TimePoint(seconds(1));
  }
  void WaitUntilPolling() { polling_.wait(); }

 private:
  std::atomic<int> looks_{0};
  std::latch polling_{1};
};

TEST(AioContext, APostEndsBusyPollingAtOnce) {
  WatchedClock clock;
  // If the loop polled on it would do so forever: its hour never passes.
  auto context = AioContext::Create({.clock = &clock, .poll_max = std::chrono::hours(1)});
  const AioHome home(*context);
  bool ran = false;
  std::thread other([&] {
    clock.WaitUntilPolling();
    context->Post("work", [&] { ran = true; });
  });
  while (!ran) context->RunOnce(true);
  other.join();
}

TEST(AioContext, ANotifyEndsBusyPollingAtOnce) {
  WatchedClock clock;
  auto context = AioContext::Create({.clock = &clock, .poll_max = std::chrono::hours(1)});
  const AioHome home(*context);
  std::thread other([&] {
    clock.WaitUntilPolling();
    context->Notify();
  });
  context->RunOnce(true);
  other.join();
}

// Every look at it takes a microsecond. Work comes when it says so, be the loop asleep or not.
class AlarmClock final : public Clock {
 public:
  TimePoint Now() override {
    ++looks_;
    now_ += std::chrono::microseconds(1);
    Ring();
    return now_;
  }
  void SetAlarm(AioContext& context, Nanoseconds in) {
    context_ = &context;
    alarm_ = now_ + in;
  }
  void SleepUntilTheAlarm() {
    now_ = std::max(now_, alarm_);
    Ring();
  }
  void Advance(Nanoseconds delta) { now_ += delta; }
  int looks() const { return looks_; }

 private:
  void Ring() {
    if (context_ != nullptr && now_ >= alarm_) std::exchange(context_, nullptr)->Notify();
  }
  int looks_ = 0;
  TimePoint now_{seconds(1)};
  TimePoint alarm_;
  AioContext* context_ = nullptr;
};

// From the alarm to the end of the sleep it takes a millisecond, which is longer than any polling.
class SlowToWakePoller final : public Poller {
 public:
  SlowToWakePoller(AlarmClock& clock, int& sleeps) : clock_(clock), sleeps_(sleeps) {}
  absl::Status Add(int, FdEvents, uint64_t) override { return absl::OkStatus(); }
  absl::Status Modify(int, FdEvents, uint64_t) override { return absl::OkStatus(); }
  void Remove(int) override {}
  void Wait(Nanoseconds, std::vector<Ready>&) override {
    ++sleeps_;
    clock_.SleepUntilTheAlarm();
    clock_.Advance(milliseconds(1));
  }
  void Wake() override {}

 private:
  AlarmClock& clock_;
  int& sleeps_;
};

class BusyPolling : public testing::Test {
 protected:
  // Ten turns of a loop for which work comes when it has been idle for so long.
  void TenTurns(Nanoseconds work_comes_after) {
    sleeps_ = 0;
    const int looks = clock_.looks();
    for (int i = 0; i < 10; ++i) {
      clock_.SetAlarm(*context_, work_comes_after);
      context_->RunOnce(true);
    }
    looks_ = clock_.looks() - looks;
  }

  AlarmClock clock_;
  int sleeps_ = 0;  // in the last ten turns
  int looks_ = 0;   // at the clock
  const std::shared_ptr<AioContext> context_ =
      AioContext::Create({.clock = &clock_,
                          .poller = std::make_unique<SlowToWakePoller>(clock_, sleeps_),
                          .poll_max = std::chrono::microseconds(64)});
  const AioHome home_{*context_};
};

TEST_F(BusyPolling, EndsWhileItIsInVainAndBeginsAgainWhenItIsWorthIt) {
  TenTurns(std::chrono::microseconds(30));
  EXPECT_EQ(sleeps_, 0) << "a new loop polls";
  TenTurns(seconds(1));
  EXPECT_EQ(sleeps_, 10);
  TenTurns(std::chrono::microseconds(30));
  EXPECT_EQ(sleeps_, 1) << "however long the wake-up takes: it would have found the work";
}

TEST_F(BusyPolling, EndsIfTheWorkComesALittleLaterThanItMayTake) {
  TenTurns(std::chrono::microseconds(100));
  EXPECT_EQ(sleeps_, 10);
  TenTurns(std::chrono::microseconds(100));
  EXPECT_EQ(sleeps_, 10);
  EXPECT_LT(looks_, 100) << "it polls in vain";
}

// --- Bottom halves ---

TEST(BottomHalf, RunsOnceHoweverOftenItWasScheduled) {
  VirtualLoop loop;
  int runs = 0;
  BottomHalf bh(loop, "bh", [&] { ++runs; });
  for (int i = 0; i < 5; ++i) bh.Schedule();
  loop.RunReady();
  EXPECT_EQ(runs, 1);
  bh.Schedule();
  loop.RunReady();
  EXPECT_EQ(runs, 2);
}

TEST(BottomHalf, ScheduledByItsOwnCallbackRunsAgainOncePerTurn) {
  VirtualLoop loop;
  int runs = 0;
  std::optional<BottomHalf> bh;
  bh.emplace(loop, "bh", [&] {
    if (++runs < 1000) bh->Schedule();
  });
  bh->Schedule();
  for (int i = 1; i <= 1000; ++i) {
    loop.context().RunOnce(true);
    ASSERT_EQ(runs, i);
  }
  loop.RunReady();
  EXPECT_EQ(runs, 1000);
}

TEST(BottomHalf, CanBeDestroyedByItsOwnCallback) {
  VirtualLoop loop;
  auto witness = std::make_shared<int>(7);
  int seen = 0;
  std::unique_ptr<BottomHalf> bh;
  bh = std::make_unique<BottomHalf>(loop, "bh", [&, witness] {
    bh.reset();
    seen = *witness;  // what the callback captured is still there
  });
  bh->Schedule();
  loop.RunReady();
  EXPECT_EQ(seen, 7);
  EXPECT_EQ(witness.use_count(), 1);
}

TEST(BottomHalf, CanBeScheduledAndDestroyedByItsOwnCallback) {
  VirtualLoop loop;
  int runs = 0;
  std::unique_ptr<BottomHalf> bh;
  bh = std::make_unique<BottomHalf>(loop, "bh", [&] {
    ++runs;
    bh->Schedule();
    bh.reset();
  });
  bh->Schedule();
  loop.RunReady();
  EXPECT_EQ(runs, 1);
}

TEST(BottomHalf, DestroyedOrCancelledWhileScheduledDoesNotRun) {
  VirtualLoop loop;
  int runs = 0;
  auto gone = std::make_unique<BottomHalf>(loop, "gone", [&] { ++runs; });
  BottomHalf cancelled(loop, "cancelled", [&] { ++runs; });
  BottomHalf again(loop, "again", [&] { ++runs; });
  gone->Schedule();
  cancelled.Schedule();
  again.Schedule();
  gone.reset();
  cancelled.Cancel();
  again.Cancel();
  again.Schedule();
  loop.RunReady();
  EXPECT_EQ(runs, 1);
}

TEST(BottomHalf, DestroyedWhileScheduledIsFreedWithItsContext) {
  auto context = AioContext::Create({});
  const std::weak_ptr<AioContext> weak = context;
  {
    const AioHome home(*context);
    BottomHalf bh(*context, "bh", [] { FAIL(); });
    bh.Schedule();
  }
  context.reset();
  EXPECT_TRUE(weak.expired());
}

TEST(BottomHalf, NoScheduleFromAnotherThreadIsLost) {
  constexpr int kRounds = 100'000;
  RealLoop loop;
  std::atomic<int> payload{0};
  int seen = 0;
  BottomHalf bh(*loop.context, "bh", [&] { seen = payload.load(std::memory_order_relaxed); });
  std::thread other([&] {
    for (int i = 1; i <= kRounds; ++i) {
      payload.store(i, std::memory_order_relaxed);
      bh.Schedule();
    }
  });
  while (seen < kRounds) loop.context->RunOnce(true);
  other.join();
}

TEST(BottomHalf, DestroyedByItsCallbackWhileTheSchedulerIsStillInScheduleIsSafe) {
  for (int i = 0; i < 2'000; ++i) {
    auto context = AioContext::Create({});
    std::optional<AioHome> home(std::in_place, *context);
    bool done = false;
    std::unique_ptr<BottomHalf> bh;
    bh = std::make_unique<BottomHalf>(*context, "bh", [&] {
      bh.reset();
      done = true;
    });
    std::thread other([&] { bh->Schedule(); });
    AioContext* const raw = context.get();
    context.reset();
    while (!done) raw->RunOnce(true);
    home.reset();  // the last reference, unless the scheduler still has one
    other.join();
  }
}

// --- Timers ---

TEST(AioTimer, IsNeverEarlyToTheNanosecond) {
  VirtualLoop loop;
  bool fired = false;
  AioTimer timer(loop, "timer", [&] { fired = true; });
  const TimePoint start = loop.clock().Now();
  timer.ArmAt(start + Nanoseconds(1001));
  loop.clock().Advance(Nanoseconds(1000));
  loop.context().RunOnce(false);
  EXPECT_FALSE(fired);
  EXPECT_TRUE(timer.armed());
  loop.context().RunOnce(true);
  EXPECT_TRUE(fired);
  EXPECT_FALSE(timer.armed());
  EXPECT_EQ(loop.clock().Now() - start, Nanoseconds(1001));
  EXPECT_EQ(loop.context().now(), loop.clock().Now());
}

TEST(AioTimer, IsNeverEarlyOnTheSystemClock) {
  RealLoop loop;
  for (int i = 0; i < 50; ++i) {
    bool fired = false;
    TimePoint at;
    AioTimer timer(*loop.context, "timer", [&] {
      fired = true;
      at = Clock::System().Now();
    });
    const TimePoint deadline = Clock::System().Now() + std::chrono::microseconds(10 * i);
    timer.ArmAt(deadline);
    while (!fired) loop.context->RunOnce(true);
    EXPECT_GE(at, deadline);
  }
}

TEST(AioTimer, TimersRunInTheOrderOfTheirDeadlinesAndThenOfArming) {
  VirtualLoop loop;
  std::string order;
  AioTimer a(loop, "a", [&] { order += "a"; });
  AioTimer b(loop, "b", [&] { order += "b"; });
  AioTimer c(loop, "c", [&] { order += "c"; });
  const TimePoint start = loop.clock().Now();
  b.ArmAt(start + milliseconds(2));
  c.ArmAt(start + milliseconds(2));
  a.ArmAt(start + milliseconds(1));
  loop.clock().Advance(seconds(1));
  loop.context().RunOnce(false);
  EXPECT_EQ(order, "abc");
}

TEST(AioTimer, ACallbackCanDisarmOrDestroyAnotherDueTimer) {
  VirtualLoop loop;
  AioTimer disarmed(loop, "disarmed", [] { FAIL(); });
  auto destroyed = std::make_unique<AioTimer>(loop, "destroyed", [] { FAIL(); });
  bool last = false;
  AioTimer first(loop, "first", [&] {
    disarmed.Disarm();
    destroyed.reset();
  });
  AioTimer end(loop, "end", [&] { last = true; });
  const TimePoint start = loop.clock().Now();
  first.ArmAt(start);
  disarmed.ArmAt(start);
  destroyed->ArmAt(start);
  end.ArmAt(start);
  loop.context().RunOnce(false);
  EXPECT_TRUE(last);
}

TEST(AioTimer, CanBeDestroyedByItsOwnCallback) {
  VirtualLoop loop;
  auto witness = std::make_shared<int>(7);
  int seen = 0;
  std::unique_ptr<AioTimer> timer;
  timer = std::make_unique<AioTimer>(loop, "timer", [&, witness] {
    timer.reset();
    seen = *witness;
  });
  timer->ArmAt(loop.clock().Now());
  loop.RunReady();
  EXPECT_EQ(seen, 7);
  EXPECT_EQ(witness.use_count(), 1);
}

TEST(AioTimer, ArmedAgainByItsOwnCallbackFiresOncePerTurn) {
  VirtualLoop loop;
  int fired = 0;
  std::optional<AioTimer> timer;
  timer.emplace(loop, "timer", [&] {
    if (++fired < 3) timer->ArmAt(TimePoint());  // long ago
  });
  AioTimer other(loop, "other", [&] { EXPECT_EQ(fired, 1); });
  timer->ArmAt(TimePoint());
  other.ArmAt(loop.clock().Now());
  loop.context().RunOnce(false);
  EXPECT_EQ(fired, 1);
  loop.RunReady();
  EXPECT_EQ(fired, 3);
}

TEST(AioTimer, ArmingReplacesTheEarlierSetting) {
  VirtualLoop loop;
  int fired = 0;
  AioTimer timer(loop, "timer", [&] { ++fired; });
  const TimePoint start = loop.clock().Now();
  timer.ArmAt(start + seconds(1));
  timer.ArmAt(start + seconds(5));
  EXPECT_EQ(timer.deadline(), start + seconds(5));
  loop.context().RunOnce(true);
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(loop.clock().Now(), start + seconds(5));
}

TEST(AioTimer, RunOnceReturnsAtItsOwnDeadlineIfNoTimerComesFirst) {
  VirtualLoop loop;
  AioTimer timer(loop, "timer", [] { FAIL(); });
  const TimePoint start = loop.clock().Now();
  timer.ArmAt(start + seconds(5));
  loop.context().RunOnce(true, start + seconds(2));
  EXPECT_EQ(loop.clock().Now(), start + seconds(2));
}

// --- Descriptors ---

TEST(FdHandler, IsCalledAgainWhileItsDescriptorIsReadable) {
  RealLoop loop;
  Pipe pipe;
  int calls = 0;
  auto handler = FdHandler::Create(*loop.context, "pipe", pipe.reader(), FdEvents::kReadable, [&](FdEvents events) {
    EXPECT_TRUE(Has(events, FdEvents::kReadable));
    EXPECT_FALSE(Has(events, FdEvents::kError));
    ++calls;
  });
  ASSERT_TRUE(handler.ok());
  loop.context->RunOnce(false);
  EXPECT_EQ(calls, 0);
  pipe.Write();
  loop.context->RunOnce(true);
  loop.context->RunOnce(true);
  EXPECT_EQ(calls, 2);
  char c;
  EXPECT_EQ(read(pipe.reader(), &c, 1), 1);
  loop.context->RunOnce(false);
  EXPECT_EQ(calls, 2);
}

TEST(FdHandler, SeesTheEndOfAPipeAsReadableWithError) {
  RealLoop loop;
  Pipe pipe;
  FdEvents seen = FdEvents::kNone;
  auto handler = FdHandler::Create(*loop.context, "pipe", pipe.reader(), FdEvents::kReadable,
                                   [&](FdEvents events) { seen = events; });
  ASSERT_TRUE(handler.ok());
  close(pipe.ends[1]);
  pipe.ends[1] = -1;
  loop.context->RunOnce(true);
  EXPECT_EQ(seen, FdEvents::kReadable | FdEvents::kError);
}

TEST(FdHandler, ChangesItsInterest) {
  RealLoop loop;
  Pipe pipe;
  int calls = 0;
  auto handler = FdHandler::Create(*loop.context, "pipe", pipe.ends[1], FdEvents::kNone, [&](FdEvents events) {
    EXPECT_TRUE(Has(events, FdEvents::kWritable));
    ++calls;
  });
  ASSERT_TRUE(handler.ok());
  loop.context->RunOnce(false);
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE((*handler)->SetInterest(FdEvents::kWritable).ok());
  loop.context->RunOnce(true);
  EXPECT_EQ(calls, 1);
}

TEST(FdHandler, CanBeDestroyedByItsOwnCallbackAndByAnothers) {
  RealLoop loop;
  std::array<Pipe, 2> pipes;
  std::array<std::unique_ptr<FdHandler>, 2> handlers;
  auto witness = std::make_shared<int>(7);
  int calls = 0;
  for (int i = 0; i < 2; ++i) {
    auto handler =
        FdHandler::Create(*loop.context, "pipe", pipes[i].reader(), FdEvents::kReadable, [&, witness](FdEvents) {
          ++calls;
          handlers = {};  // both
          EXPECT_EQ(*witness, 7);
        });
    ASSERT_TRUE(handler.ok());
    handlers[i] = std::move(*handler);
    pipes[i].Write();
  }
  loop.context->RunOnce(true);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(witness.use_count(), 1);
}

TEST(FdHandler, AReusedDescriptorNumberDoesNotGetTheEventsOfItsPredecessor) {
  RealLoop loop;
  std::array<Pipe, 2> pipes;
  std::array<std::unique_ptr<FdHandler>, 2> handlers;
  int calls = 0;
  const auto replace_both = [&](FdEvents) {
    ++calls;
    for (int i = 0; i < 2; ++i) {
      handlers[i].reset();
      char c;
      EXPECT_EQ(read(pipes[i].reader(), &c, 1), 1);
      handlers[i] = std::move(*FdHandler::Create(*loop.context, "successor", pipes[i].reader(), FdEvents::kReadable,
                                                 [](FdEvents) { FAIL(); }));
    }
  };
  for (int i = 0; i < 2; ++i) {
    handlers[i] = std::move(
        *FdHandler::Create(*loop.context, "predecessor", pipes[i].reader(), FdEvents::kReadable, replace_both));
    pipes[i].Write();
  }
  loop.context->RunOnce(true);
  loop.context->RunOnce(false);
  EXPECT_EQ(calls, 1);
}

TEST(FdHandler, CreateFailsForWhatCannotBeWatched) {
  RealLoop loop;
  EXPECT_FALSE(FdHandler::Create(*loop.context, "bad", -1, FdEvents::kReadable, [](FdEvents) {}).ok());
  loop.context->RunOnce(false);  // and leaves nothing behind
}

// --- In a foreign loop ---

TEST(AioContext, RunsInsideAForeignLoopOfPoll) {
  constexpr int kPosts = 10'000;
  RealLoop loop;
  Pipe pipe;
  int posts = 0, timers = 0, reads = 0;
  AioTimer timer(*loop.context, "timer", [&] { ++timers; });
  timer.ArmAt(Clock::System().Now() + milliseconds(5));
  auto handler = FdHandler::Create(*loop.context, "pipe", pipe.reader(), FdEvents::kReadable, [&](FdEvents) {
    char c;
    EXPECT_EQ(read(pipe.reader(), &c, 1), 1);
    ++reads;
  });
  ASSERT_TRUE(handler.ok());
  std::thread other([&] {
    for (int i = 0; i < kPosts; ++i) loop.context->Post("post", [&] { ++posts; });
    pipe.Write();
  });
  while (posts < kPosts || timers < 1 || reads < 1) {
    const Nanoseconds timeout = loop.context->Prepare();
    pollfd p{.fd = loop.context->fd(), .events = POLLIN, .revents = 0};
    const auto ms = std::chrono::ceil<milliseconds>(timeout).count();
    ASSERT_GE(poll(&p, 1, timeout.count() < 0 ? -1 : static_cast<int>(ms)), 0);
    loop.context->Dispatch();
  }
  other.join();
}

TEST(AioContext, APostBetweenPrepareAndDispatchMakesTheDescriptorReadableUntilDispatch) {
  RealLoop loop;
  const auto readable = [&] {
    pollfd p{.fd = loop.context->fd(), .events = POLLIN, .revents = 0};
    return poll(&p, 1, 0) == 1;
  };
  EXPECT_LT(loop.context->Prepare(), Nanoseconds(0));
  EXPECT_FALSE(readable());
  bool ran = false;
  loop.context->Post("post", [&] { ran = true; });
  EXPECT_TRUE(readable());
  EXPECT_EQ(loop.context->Prepare(), Nanoseconds(0));
  loop.context->Dispatch();
  EXPECT_TRUE(ran);
  EXPECT_FALSE(readable());
}

// --- Misuse ---

class AioContextDeathTest : public ::testing::Test {
 protected:
  AioContextDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST(AioContext, WakeUpsThatNobodyHasLookedAtAreOneAndTheNextIsAnother) {
  const std::unique_ptr<Poller> poller = Poller::Epoll();
  const auto readable = [&] {
    pollfd p{.fd = poller->fd(), .events = POLLIN, .revents = 0};
    return poll(&p, 1, 0) == 1;
  };
  std::vector<Poller::Ready> ready;
  for (int round = 0; round < 3; ++round) {
    EXPECT_FALSE(readable());
    for (int i = 0; i <= round; ++i) poller->Wake();
    EXPECT_TRUE(readable());
    poller->Wait(Nanoseconds(-1), ready);  // does not wait
    EXPECT_FALSE(readable());
  }
  EXPECT_TRUE(ready.empty());
}

TEST_F(AioContextDeathTest, RunOnceOnAForeignThreadDies) {
  auto context = AioContext::Create({.name = "ctx"});
  EXPECT_DEATH(context->RunOnce(false), "RunOnce: context 'ctx' .*a plain thread");
}

TEST_F(AioContextDeathTest, RunOnceInsideACallbackDiesNamingBoth) {
  EXPECT_DEATH(
      {
        RealLoop loop;
        loop.context->Post("outer", [&] { loop.context->RunOnce(false); });
        loop.context->RunOnce(false);
      },
      "context 'main' cannot be run from inside callback 'outer'");
}

TEST_F(AioContextDeathTest, ACallbackThatReturnsWithAJobMutexHeldDies) {
  EXPECT_DEATH(
      {
        RealLoop loop;
        JobMutex mutex;
        loop.context->Post("leaky", [&] { mutex.Lock(); });
        loop.context->RunOnce(false);
      },
      "job_mutex is held where it must not be: main: leaky");
}

TEST_F(AioContextDeathTest, ATurnWithAJobMutexHeldDies) {
  EXPECT_DEATH(
      {
        RealLoop loop;
        JobMutex mutex;
        mutex.Lock();
        loop.context->RunOnce(false);
      },
      "job_mutex is held where it must not be: main: AioContext::RunOnce");
}

TEST_F(AioContextDeathTest, AThreadCannotBeHomeTwiceNorAContextHaveTwoHomes) {
  auto a = AioContext::Create({.name = "a"});
  auto b = AioContext::Create({.name = "b"});
  EXPECT_DEATH(
      {
        const AioHome home_a(*a);
        const AioHome home_b(*b);
      },
      "home of 'a' and cannot be that of 'b' too");
  EXPECT_DEATH(
      {
        const AioHome home(*a);
        std::thread([&] { const AioHome second(*a); }).join();
      },
      "'a' has a home thread already");
}

TEST_F(AioContextDeathTest, DestroyingAContextWithAnArmedTimerDiesNamingIt) {
  EXPECT_DEATH(
      {
        auto context = AioContext::Create({.name = "ctx"});
        std::optional<AioHome> home(std::in_place, *context);
        AioTimer timer(*context, "forgotten", [] {});
        timer.ArmAt(Clock::System().Now());
        home.reset();
        context.reset();
      },
      "'ctx' destroyed while timer 'forgotten' is armed");
}

TEST_F(AioContextDeathTest, ArmingATimerOnAForeignThreadDies) {
  EXPECT_DEATH(
      {
        RealLoop loop;
        AioTimer timer(*loop.context, "timer", [] {});
        std::thread([&] { timer.ArmAt(TimePoint()); }).join();
      },
      "AioTimer::ArmAt: context 'main' used from a thread that is not its home");
}

}  // namespace
}  // namespace jobcore
