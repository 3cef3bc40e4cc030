// SPDX-License-Identifier: Apache-2.0

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "job-common/aio_context.h"
#include "job-common/aio_wait.h"
#include "job-common/iothread.h"
#include "job-common/job_mutex.h"
#include "job-common/wait_domain.h"
#include "support/virtual_time.h"

namespace jobcore {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using support::ManualClock;
using support::VirtualLoop;

bool Mentions(const absl::Status& status, const char* text) {
  return std::string(status.message()).find(text) != std::string::npos;
}

// A main context whose home is a thread of its own, for those who wait for it from elsewhere.
class MainThread {
 public:
  MainThread() {
    std::promise<void> running;
    std::future<void> is_running = running.get_future();
    thread_ = std::thread([this, running = std::move(running)]() mutable {
      const AioHome home(*context_);
      running.set_value();
      while (running_) context_->RunOnce(true);
    });
    is_running.wait();
  }
  ~MainThread() {
    context_->Post("stop", [this] { running_ = false; });
    thread_.join();
  }
  AioContext& context() { return *context_; }

 private:
  const std::shared_ptr<AioContext> context_ = AioContext::Create({.name = "other main"});
  bool running_ = true;
  std::thread thread_;
};

// --- Plain code: who may wait for whom ---

TEST(Wait, TheHomeThreadRunsItsLoopMeanwhile) {
  VirtualLoop loop;
  int runs = 0;
  loop.context().Post("work", [&] { ++runs; });
  EXPECT_TRUE(AioWaitWhileUnlocked(loop, [&] { return runs == 0; }).ok());
  EXPECT_EQ(runs, 1);
}

TEST(Wait, AConditionThatDoesNotHoldIsNotWaitedFor) {
  VirtualLoop loop;
  loop.context().Post("work", [] { FAIL(); });
  EXPECT_TRUE(AioWaitWhileUnlocked(loop, [] { return false; }).ok());
  loop.context().Post("work", [] {});
  EXPECT_TRUE(AIO_WAIT_WHILE_UNLOCKED(loop, false).ok());
  auto context = AioContext::Create({});
}

TEST(Wait, AnIOThreadMayWaitForItsOwnContext) {
  VirtualLoop loop(AioContext::Kind::kIOThread);
  int runs = 0;
  loop.context().Post("work", [&] { ++runs; });
  EXPECT_TRUE(AioWaitWhileUnlocked(loop, [&] { return runs == 0; }).ok());
}

TEST(Wait, TheMainThreadMayWaitForAnIOThreadAndRunsItsOwnLoopMeanwhile) {
  auto main = AioContext::Create({});
  const AioHome home(*main);
  IOThread io("io");
  std::atomic<bool> done{false};
  bool ran = false;
  // The I/O thread needs the main loop to go on before it is done.
  io.context().Post("step 1", [&] {
    main->Post("step 2", [&] {
      ran = true;
      io.context().Post("step 3", [&] {
        done = true;
        io.context().wait_domain().Kick();
      });
    });
  });
  EXPECT_TRUE(AioWaitWhileUnlocked(io.context(), [&] { return !done; }).ok());
  EXPECT_TRUE(ran);
}

TEST(Wait, TheMainThreadMayWaitForAnotherMainContextAndIsWokenThroughEither) {
  auto main = AioContext::Create({});
  const AioHome home(*main);
  MainThread other;
  for (AioContext* changer : {main.get(), &other.context()}) {
    std::atomic<bool> done{false};
    std::thread thread([&] {
      done = true;
      changer->wait_domain().Kick();
    });
    EXPECT_TRUE(AioWaitWhileUnlocked(other.context(), [&] { return !done; }).ok());
    thread.join();
  }
}

TEST(Wait, APlainThreadParksUntilAKick) {
  MainThread main;
  std::atomic<bool> done{false};
  main.context().Post("work", [&] {
    done = true;
    main.context().wait_domain().Kick();
  });
  EXPECT_TRUE(AioWaitWhileUnlocked(main.context(), [&] { return !done; }).ok());
}

TEST(Wait, AWaitInsideACallbackIsRefusedAndToldTheAlternative) {
  VirtualLoop loop;
  absl::Status status;
  loop.context().Post("my callback",
                      [&] { status = AioWaitWhileUnlocked(loop, [] { return true; }, {.name = "my wait"}); });
  loop.RunReady();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Mentions(status, "my wait")) << status;
  EXPECT_TRUE(Mentions(status, "my callback")) << status;
  EXPECT_TRUE(Mentions(status, "co_await AioWaitWhile")) << status;
}

TEST(Wait, AWaitInsideACoroutineIsRefusedEvenIfPlainCodeStartedIt) {
  VirtualLoop loop;
  absl::Status status;
  Spawn("my coroutine", [](AioContext& context, absl::Status& s) -> Co<void> {
    s = AioWaitWhileUnlocked(context, [] { return true; });
    co_return;
  }(loop, status));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Mentions(status, "my coroutine")) << status;
}

TEST(Wait, APlainThreadIsRefusedToWaitForAnIOThread) {
  IOThread io("io9");
  const absl::Status status = AioWaitWhileUnlocked(io.context(), [] { return true; }, {.name = "w"});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Mentions(status, "'w'")) << status;
  EXPECT_TRUE(Mentions(status, "plain thread")) << status;
  EXPECT_TRUE(Mentions(status, "io9")) << status;
}

TEST(Wait, AnIOThreadIsRefusedToWaitForAnotherContext) {
  VirtualLoop io(AioContext::Kind::kIOThread);
  IOThread other("io9");
  auto main = AioContext::Create({.name = "the main"});
  for (AioContext* ctx : {&other.context(), main.get()}) {
    const absl::Status status = AioWaitWhileUnlocked(*ctx, [] { return true; });
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(Mentions(status, ctx->name().c_str())) << status;
    EXPECT_TRUE(Mentions(status, "co_await AioWaitWhile")) << status;
  }
}

// --- Deadlines ---

TEST(Wait, TheHomeThreadGivesUpAtTheDeadline) {
  VirtualLoop loop;
  const TimePoint deadline = loop.clock().Now() + seconds(10);
  const absl::Status status = AioWaitWhileUnlocked(loop, [] { return true; }, {.name = "godot", .deadline = deadline});
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Mentions(status, "godot"));
  EXPECT_EQ(loop.clock().Now(), deadline);
}

TEST(Wait, AConditionThatEndsAtTheDeadlineIsNotLate) {
  VirtualLoop loop;
  const TimePoint deadline = loop.clock().Now() + seconds(10);
  bool holds = true;
  AioTimer timer(loop, "timer", [&] { holds = false; });
  timer.ArmAt(deadline);
  EXPECT_TRUE(AioWaitWhileUnlocked(loop, [&] { return holds; }, {.deadline = deadline}).ok());
}

// Time goes by at each look at the clock, also between the last look at the condition and that at the clock: what holds
// at the deadline is not late.
TEST(WaitDeadline, IsReadBeforeTheCondition) {
  class Hurrying final : public Clock {
   public:
    TimePoint Now() override { return now += Nanoseconds(1); }
    TimePoint now{};
  };
  const auto wait = [](Hurrying& clock, TimePoint deadline) {
    ManualClock unused;
    const auto main =
        AioContext::Create({.clock = &clock, .poller = std::make_unique<support::AutoAdvancePoller>(unused)});
    const AioHome home(*main);
    return AioWaitWhileUnlocked(*main, [&] { return clock.now < deadline; }, {.deadline = deadline});
  };
  for (int i = 1; i < 20; ++i) {  // so that each look at the clock is the one that reaches the deadline
    Hurrying clock;
    EXPECT_TRUE(wait(clock, clock.now + Nanoseconds(i)).ok()) << i;
  }
}

TEST(Wait, TheDeadlineIsOnTheClockOfTheContextWaitedFor) {
  VirtualLoop loop;
  ManualClock other_clock;
  other_clock.Advance(std::chrono::hours(1));
  auto other = AioContext::Create({.name = "other", .clock = &other_clock});
  const TimePoint start = loop.clock().Now();
  // Our loop sleeps for as long as is left there; while it does, the other clock goes on.
  AioTimer tick(loop, "tick", [&] { other_clock.Advance(seconds(10)); });
  tick.ArmAt(start + seconds(10));
  const absl::Status status =
      AioWaitWhileUnlocked(*other, [] { return true; }, {.deadline = other_clock.Now() + seconds(10)});
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(loop.clock().Now(), start + seconds(10));
}

TEST(Wait, APlainThreadGivesUpAtTheDeadline) {
  auto main = AioContext::Create({});
  const TimePoint deadline = Clock::System().Now() + milliseconds(5);
  const absl::Status status = AioWaitWhileUnlocked(*main, [] { return true; }, {.name = "godot", .deadline = deadline});
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_GE(Clock::System().Now(), deadline);
}

TEST(Wait, APlainThreadOnAManualClockFindsOutAtTheNextKick) {
  ManualClock clock;
  auto main = AioContext::Create({.clock = &clock});
  std::atomic<bool> evaluated{false};
  std::thread thread([&] {
    while (!evaluated) std::this_thread::yield();
    clock.Advance(seconds(10));
    main->wait_domain().Kick();
  });
  const absl::Status status = AioWaitWhileUnlocked(*main,
                                                   [&] {
                                                     evaluated = true;
                                                     return true;
                                                   },
                                                   {.deadline = clock.Now() + seconds(10)});
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  thread.join();
}

// --- No wake-up is lost ---

// A condition that ends, with a kick from another thread, just after it has been found to hold.
class EndsWhileEvaluated {
 public:
  explicit EndsWhileEvaluated(AioContext& ctx) : ctx_(ctx) {}
  bool Holds() {
    if (!std::exchange(holds_, false)) return false;
    std::thread([this] { ctx_.wait_domain().Kick(); }).join();
    return true;
  }

 private:
  AioContext& ctx_;
  bool holds_ = true;
};

TEST(Wait, AKickWhileTheConditionIsEvaluatedIsNotLost) {
  auto main = AioContext::Create({});
  EndsWhileEvaluated parked(*main);
  EXPECT_TRUE(AioWaitWhileUnlocked(*main, [&] { return parked.Holds(); }).ok());
  const AioHome home(*main);
  EndsWhileEvaluated in_loop(*main);
  EXPECT_TRUE(AioWaitWhileUnlocked(*main, [&] { return in_loop.Holds(); }).ok());
}

// Two threads pass a number back and forth, each waiting for the other's kick.
template <typename WaitForOdd, typename WaitForEven>
void PassBackAndForth(int rounds, std::atomic<int>& value, AioContext& ctx, WaitForOdd wait_for_odd,
                      WaitForEven wait_for_even) {
  std::thread other([&] {
    for (int i = 0; i < rounds; ++i) {
      wait_for_odd(2 * i + 1);
      value.fetch_add(1, std::memory_order_relaxed);
      ctx.wait_domain().Kick();
    }
  });
  for (int i = 0; i < rounds; ++i) {
    value.fetch_add(1, std::memory_order_relaxed);
    ctx.wait_domain().Kick();
    wait_for_even(2 * i + 2);
  }
  other.join();
}

TEST(Wait, NoKickIsLostBetweenAPlainThreadAndTheMainThread) {
  auto main = AioContext::Create({});
  const AioHome home(*main);
  std::atomic<int> value{0};
  const auto wait = [&](int expected) {
    EXPECT_TRUE(AioWaitWhileUnlocked(*main, [&] { return value.load(std::memory_order_relaxed) < expected; }).ok());
  };
  PassBackAndForth(50'000, value, *main, wait, wait);
}

TEST(Wait, NoKickIsLostBetweenTwoPlainThreads) {
  auto main = AioContext::Create({});
  std::atomic<int> value{0};
  const auto wait = [&](int expected) {
    EXPECT_TRUE(AioWaitWhileUnlocked(*main, [&] { return value.load(std::memory_order_relaxed) < expected; }).ok());
  };
  PassBackAndForth(50'000, value, *main, wait, wait);
}

// --- Coroutines ---

struct Waiting {
  std::optional<absl::Status> result;
  AioContext* resumed_in = nullptr;

  static Co<void> Run(AioContext& ctx, absl::AnyInvocable<bool()> condition, WaitOptions options, Waiting& self) {
    const auto holds = [&condition] { return condition(); };
    self.result = co_await AioWaitWhile(ctx, holds, options);
    self.resumed_in = AioContext::Current();
  }
};

TEST(CoWait, ACoroutineGoesOnAfterTheKickThatEndsItsCondition) {
  VirtualLoop loop;
  bool holds = true;
  int evaluated = 0;
  Waiting waiting;
  Spawn("w", Waiting::Run(loop, [&] { return ++evaluated, holds; }, {}, waiting));
  loop.RunReady();
  const int before = evaluated;
  loop.RunReady();
  EXPECT_EQ(evaluated, before) << "evaluated without a kick";
  loop.context().wait_domain().Kick();
  loop.RunReady();
  EXPECT_GT(evaluated, before);
  EXPECT_FALSE(waiting.result.has_value());
  holds = false;
  loop.context().wait_domain().Kick();
  loop.RunReady();
  ASSERT_TRUE(waiting.result.has_value());
  EXPECT_TRUE(waiting.result->ok());
}

TEST(CoWait, AConditionThatDoesNotHoldDoesNotSuspend) {
  VirtualLoop loop;
  Waiting waiting;
  Spawn("w", Waiting::Run(loop, [] { return false; }, {}, waiting));
  ASSERT_TRUE(waiting.result.has_value());
  EXPECT_TRUE(waiting.result->ok());
}

TEST(CoWait, ACoroutineGivesUpAtTheDeadline) {
  VirtualLoop loop;
  Waiting waiting;
  const TimePoint deadline = loop.clock().Now() + seconds(10);
  Spawn("w", Waiting::Run(loop, [] { return true; }, {.name = "godot", .deadline = deadline}, waiting));
  EXPECT_FALSE(waiting.result.has_value());
  while (!waiting.result) loop.context().RunOnce(true);
  EXPECT_EQ(waiting.result->code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Mentions(*waiting.result, "godot"));
  EXPECT_EQ(loop.clock().Now(), deadline);
}

TEST(CoWait, AKickBeforeTheDeadlineDisarmsIt) {
  VirtualLoop loop;
  bool holds = true;
  Waiting waiting;
  Spawn("w", Waiting::Run(loop, [&] { return holds; }, {.deadline = loop.clock().Now() + seconds(10)}, waiting));
  holds = false;
  loop.context().wait_domain().Kick();
  loop.RunReady();
  ASSERT_TRUE(waiting.result.has_value());
  EXPECT_TRUE(waiting.result->ok());
  loop.clock().Advance(seconds(20));
  loop.RunReady();
}

TEST(CoWait, ACoroutineThatIsDestroyedWhileAKickIsQueuedLeavesNothingBehind) {
  VirtualLoop loop;
  bool holds = true;
  CoRoot root([](CoRoot&) { FAIL(); });
  Co<absl::Status> co = AioWaitWhile(loop, [&] { return holds; }, {.deadline = loop.clock().Now() + seconds(1)});
  root.Start(co);
  loop.context().wait_domain().Kick();  // queued
  co.Reset();
  holds = false;
  loop.context().wait_domain().Kick();
  loop.RunReady();
  loop.clock().Advance(seconds(10));
  loop.RunReady();
}

TEST(CoWait, ACoroutineDestroyedWhileAKickIsQueuedDoesNotNeedTheLoopAgain) {
  VirtualLoop loop;
  CoRoot root([](CoRoot&) { FAIL(); });
  Co<absl::Status> co = AioWaitWhile(loop, [] { return true; }, {.deadline = loop.clock().Now() + seconds(1)});
  root.Start(co);
  loop.context().wait_domain().Kick();
  co.Reset();
}

TEST(CoWait, AKickFromTheConditionItselfIsSafe) {
  // Not nice, but it is the sharpest form of "kicked again while it finishes".
  VirtualLoop loop;
  int evaluated = 0;
  Waiting waiting;
  Spawn("w", Waiting::Run(
                 loop,
                 [&] {
                   loop.context().wait_domain().Kick();
                   return ++evaluated < 5;
                 },
                 {}, waiting));
  loop.RunReady();
  EXPECT_TRUE(waiting.result.has_value());
}

TEST(CoWait, ACoroutineMayWaitForAnyContextAndGoesOnInItsOwnThread) {
  auto main = AioContext::Create({});
  const AioHome home(*main);
  std::atomic<bool> holds{true};
  std::atomic<bool> finished{false};
  Waiting waiting;
  IOThread b("b"), a("a");  // end first: a kick of `main` may still be on its way
  a.context().Post("start", [&] {
    Spawn("w", [](IOThread& other, std::atomic<bool>& h, Waiting& w, std::atomic<bool>& f, AioContext& m) -> Co<void> {
      co_await Waiting::Run(other.context(), [&h] { return h.load(); }, {}, w);
      f = true;
      m.wait_domain().Kick();
    }(b, holds, waiting, finished, *main));
    b.context().Post("end", [&] {
      holds = false;
      b.context().wait_domain().Kick();
    });
  });
  EXPECT_TRUE(AioWaitWhileUnlocked(*main, [&] { return !finished; }).ok());
  EXPECT_TRUE(waiting.result->ok());
  EXPECT_EQ(waiting.resumed_in, &a.context());
}

TEST(CoWait, NoKickIsLostBetweenACoroutineAndAPlainThread) {
  constexpr int kRounds = 50'000;
  MainThread main;
  AioContext& ctx = main.context();
  std::atomic<int> value{0};
  ctx.Post("start", [&] {
    Spawn("coroutine", [](AioContext& c, std::atomic<int>& v) -> Co<void> {
      for (int i = 0; i < kRounds; ++i) {
        const int expected = 2 * i + 1;
        (void)co_await AioWaitWhile(c, [&v, expected] { return v.load() < expected; });
        v.fetch_add(1);
        c.wait_domain().Kick();
      }
    }(ctx, value));
  });
  for (int i = 0; i < kRounds; ++i) {
    value.fetch_add(1);
    ctx.wait_domain().Kick();
    const int expected = 2 * i + 2;
    ASSERT_TRUE(AioWaitWhileUnlocked(ctx, [&] { return value.load() < expected; }).ok());
  }
}

TEST(CoWait, OnAPlainThreadIsRefused) {
  auto main = AioContext::Create({});
  CoRoot root([](CoRoot&) {});
  Co<absl::Status> co = AioWaitWhile(*main, [] { return true; });
  root.Start(co);
  EXPECT_EQ(co.Take().code(), absl::StatusCode::kFailedPrecondition);
}

// --- Misuse ---

class WaitDeathTest : public ::testing::Test {
 protected:
  WaitDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(WaitDeathTest, WaitingWithAJobMutexHeldDiesNamingTheWait) {
  EXPECT_DEATH(
      {
        VirtualLoop loop;
        JobMutex mutex;
        mutex.Lock();
        (void)AioWaitWhileUnlocked(loop, [] { return false; }, {.name = "my wait"});
      },
      "job_mutex is held where it must not be: AioWaitWhileUnlocked: my wait");
}

TEST_F(WaitDeathTest, KickingWithAJobMutexHeldDies) {
  EXPECT_DEATH(
      {
        JobMutex mutex;
        WaitDomain domain;
        mutex.Lock();
        domain.Kick();
      },
      "job_mutex is held where it must not be: WaitDomain: Kick");
}

}  // namespace
}  // namespace jobcore
