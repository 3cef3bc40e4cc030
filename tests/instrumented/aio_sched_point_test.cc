// SPDX-License-Identifier: Apache-2.0
//
// The narrow windows of the event loop, held open by the instrumented build's SchedPoints.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "job-common/aio_context.h"
#include "job-common/aio_wait.h"
#include "job-common/coroutine.h"
#include "job-common/iothread.h"
#include "job-common/job_mutex.h"
#include "job-common/sched_point.h"
#include "support/virtual_time.h"

namespace jobcore {
namespace {

using support::VirtualLoop;

// At the first pass of `point`: runs `action`, on the thread that passes it.
class AtPoint {
 public:
  AtPoint(std::string_view point, std::function<void()> action) {
    point_ = point;
    action_ = std::move(action);
    passed_ = false;
    previous_ = SetSchedHook(&Hook);
  }
  ~AtPoint() { SetSchedHook(previous_); }

  static bool passed() { return passed_; }

 private:
  static void Hook(const char* point) {
    if (point == point_ && !passed_.exchange(true)) action_();
  }

  static inline std::string_view point_;
  static inline std::function<void()> action_;
  static inline std::atomic<bool> passed_{false};
  SchedHook previous_;
};

void InAnotherThread(std::function<void()> action) { std::thread(std::move(action)).join(); }

class LoopWindow : public ::testing::TestWithParam<const char*> {};

TEST_P(LoopWindow, APostOnTheWayToSleepWakesTheLoop) {
  VirtualLoop loop;  // aborts where a real loop would sleep for ever
  bool ran = false;
  const AtPoint at(GetParam(), [&] { InAnotherThread([&] { loop.context().Post("late", [&] { ran = true; }); }); });
  loop.context().RunOnce(true);
  EXPECT_TRUE(AtPoint::passed());
  EXPECT_TRUE(ran);
}

TEST_P(LoopWindow, AKickOnTheWayToSleepEndsTheWait) {
  VirtualLoop loop;
  std::atomic<bool> holds{true};
  const AtPoint at(GetParam(), [&] {
    InAnotherThread([&] {
      holds = false;
      loop.context().wait_domain().Kick();
    });
  });
  EXPECT_TRUE(AioWaitWhileUnlocked(loop, [&] { return holds.load(); }).ok());
  EXPECT_TRUE(AtPoint::passed());
}

INSTANTIATE_TEST_SUITE_P(Points, LoopWindow,
                         ::testing::Values("aio.sleep.announce", "aio.sleep.announced", "aio.sleep.wait"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '.' ? '_' : c;
                           return name;
                         });

TEST(WaitWindow, AKickRightAfterTheWaiterWasCountedEndsTheWait) {
  auto main = AioContext::Create({});
  std::atomic<bool> holds{true};
  const AtPoint at("wait_domain.add.counted", [&] {
    InAnotherThread([&] {
      holds = false;
      main->wait_domain().Kick();
    });
  });
  EXPECT_TRUE(AioWaitWhileUnlocked(*main, [&] { return holds.load(); }).ok());
  EXPECT_TRUE(AtPoint::passed());
}

TEST(WaitWindow, AWaiterThatComesBetweenTheChangeAndTheCountIsNotForgotten) {
  for (const char* point : {"wait_domain.kick.changed", "wait_domain.kick.epoch"}) {
    auto main = AioContext::Create({});
    std::atomic<bool> holds{true};
    std::atomic<bool> in_window{false};
    std::latch evaluated(1);
    std::thread kicker;
    {
      const AtPoint at(point, [&] {
        in_window = true;
        evaluated.wait();
      });
      kicker = std::thread([&] {
        main->wait_domain().Kick();  // for an earlier change; stops in the window
        holds = false;
        main->wait_domain().Kick();
      });
      while (!in_window) std::this_thread::yield();
      bool first = true;
      EXPECT_TRUE(AioWaitWhileUnlocked(*main, [&] {
                    if (std::exchange(first, false)) evaluated.count_down();
                    return holds.load();
                  }).ok());
      kicker.join();
    }
  }
}

Co<void> WaitFor(AioContext& context, std::atomic<bool>& holds) {
  (void)co_await AioWaitWhile(context, [&holds] { return holds.load(); }, {.name = "for ever"});
}

// The kicker holds the list of the domain. Were he to drop what others have posted to a context that has been stopped,
// and one of these to kick, too, he would wait for himself.
TEST(StoppedContextWindowDeathTest, AKickDropsNothingThatOthersHavePosted) {
  const auto scenario = [] {
    auto main = AioContext::Create({});
    std::atomic<bool> holds{true};
    IOThread io("io", {.start_thread = false});
    InAnotherThread([&] {
      const AioHome home(io.context());
      io.context().Post("spawn", [&] { Spawn("waiter", WaitFor(*main, holds)); });
      io.context().RunOnce(false);
    });
    if (!io.Stop().ok()) std::_Exit(1);
    bool dropped = false;
    // As the barrier of ~JobCore does.
    std::shared_ptr<void> kicks(nullptr, [&](void*) {
      dropped = true;
      main->wait_domain().Kick();
    });
    const AtPoint at("aio.post.pushed", [&] { InAnotherThread([&] { main->wait_domain().Kick(); }); });
    io.context().Post("late", [kicks = std::move(kicks)] {});
    std::_Exit(dropped ? 0 : 2);  // the waiter's loop has been stopped: nobody can let it go on
  };
  EXPECT_EXIT(scenario(), ::testing::ExitedWithCode(0), "");
}

TEST(JobMutexWindow, ANewcomerQueuesBehindAWaiterEvenIfTheMutexIsFree) {
  static std::atomic<int> waiting;
  static std::latch* go_on;
  waiting = 0;
  std::latch latch(1);
  go_on = &latch;
  const SchedHook previous = SetSchedHook([](const char* point) {
    if (std::string_view(point) != "job_mutex.waiting") return;
    if (waiting.fetch_add(1) == 0) go_on->wait();
  });
  JobMutex mutex;
  const auto lock_and_unlock = [&] {
    mutex.Lock();
    mutex.Unlock();
  };
  mutex.Lock();
  std::thread waiter(lock_and_unlock);
  while (waiting.load() < 1) std::this_thread::yield();
  mutex.Unlock();  // free, but somebody waits: he is between counting himself and the gate
  lock_and_unlock();
  EXPECT_EQ(waiting.load(), 2) << "overtook the waiter";
  latch.count_down();
  waiter.join();
  lock_and_unlock();
  EXPECT_EQ(waiting.load(), 2) << "nobody waits any more";
  SetSchedHook(previous);
}

TEST(BottomHalfWindow, ScheduleKeepsTheContextWhenTheCallbackDestroysEverything) {
  for (const char* point : {"aio.post.pushed", "aio.wake.seen_sleeping"}) {
    auto context = AioContext::Create({});
    const std::weak_ptr<AioContext> weak = context;
    AioContext* const raw = context.get();
    std::optional<AioHome> home(std::in_place, *context);
    bool done = false;
    std::unique_ptr<BottomHalf> bh;
    bh = std::make_unique<BottomHalf>(*context, "bh", [&] {
      bh.reset();
      done = true;
    });
    context.reset();

    std::latch destroyed(1);
    bool expired = false;
    const AtPoint at(point, [&] {
      destroyed.wait();
      expired = weak.expired();
    });
    // Announced but not asleep: the scheduler finds that it has to wake us.
    EXPECT_LT(raw->Prepare(), Nanoseconds(0));
    std::thread scheduler([&] { bh->Schedule(); });
    while (!done) raw->RunOnce(false);
    home.reset();
    destroyed.count_down();
    scheduler.join();
    EXPECT_TRUE(AtPoint::passed());
    EXPECT_FALSE(expired);
    EXPECT_TRUE(weak.expired());
  }
}

}  // namespace
}  // namespace jobcore
