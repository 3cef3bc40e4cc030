// SPDX-License-Identifier: Apache-2.0

#include "job-common/coroutine.h"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "job-common/aio_context.h"
#include "job-common/job_mutex.h"
#include "support/event.h"
#include "support/virtual_time.h"

namespace jobcore {
namespace {

using support::Event;
using support::ForeignEvent;
using support::ForeignInline;
using support::VirtualLoop;

// Owns a coroutine and notes its end.
template <typename T>
struct Owner : CoRoot {
  explicit Owner(Co<T> c) : CoRoot(&Done), co(std::move(c)) {}
  void Start() { CoRoot::Start(co); }
  static void Done(CoRoot& root) { ++static_cast<Owner&>(root).done; }
  Co<T> co;
  int done = 0;
};

Co<int> Value(int value) { co_return value; }
Co<void> Nothing() { co_return; }

// The address of something on the stack, as a number.
__attribute__((noinline)) uintptr_t StackPosition() { return reinterpret_cast<uintptr_t>(__builtin_frame_address(0)); }

TEST(Coroutine, IsLazy) {
  VirtualLoop loop;
  bool ran = false;
  Owner<void> owner([](bool& flag) -> Co<void> {
    flag = true;
    co_return;
  }(ran));
  EXPECT_FALSE(ran);
  owner.Start();
  EXPECT_TRUE(ran);
  EXPECT_EQ(owner.done, 1);
}

TEST(Coroutine, ADefaultConstructedOneIsFinishedAndYieldsADefaultValue) {
  VirtualLoop loop;
  EXPECT_TRUE(Co<int>().done());
  EXPECT_TRUE(Co<int>().trivial());
  Owner<int> awaiting([]() -> Co<int> { co_return co_await Co<int>() + 1; }());
  awaiting.Start();
  EXPECT_EQ(awaiting.co.Take(), 1);
  Owner<void> outermost((Co<void>()));
  outermost.Start();
  EXPECT_EQ(outermost.done, 1);
}

TEST(Coroutine, AMillionSynchronousAwaitsDoNotGrowTheStack) {
  VirtualLoop loop;
  Owner<long> owner([]() -> Co<long> {
    long sum = 0;
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (int i = 0; i < 1'000'000; ++i) {
      sum += co_await Value(1);
      const uintptr_t here = StackPosition();
      low = std::min(low, here);
      high = std::max(high, here);
    }
    EXPECT_LT(high - low, 4096u);
    co_return sum;
  }());
  owner.Start();
  EXPECT_EQ(owner.co.Take(), 1'000'000);
}

Co<int> Depth(int n) {
  if (n == 0) co_return 0;
  co_return co_await Depth(n - 1) + 1;
}

TEST(Coroutine, AChainOfAHundredThousandUnwindsWithoutStack) {
  VirtualLoop loop;
  Owner<int> owner(Depth(100'000));
  owner.Start();
  EXPECT_EQ(owner.co.Take(), 100'000);
}

Co<void> PingPong(Event& mine, Event& other, int rounds, int& count) {
  for (int i = 0; i < rounds; ++i) {
    co_await mine;
    ++count;
    other.Set();
  }
}

TEST(Coroutine, TwoThatWakeEachOther25000TimesDoNotGrowTheStack) {
  VirtualLoop loop;
  Event a, b;
  int count = 0;
  Owner<void> ping(PingPong(a, b, 25'000, count));
  Owner<void> pong(PingPong(b, a, 25'000, count));
  ping.Start();
  pong.Start();
  a.Set();
  EXPECT_EQ(count, 50'000);
  EXPECT_EQ(ping.done + pong.done, 2);
}

TEST(Coroutine, ExceptionsTravelThroughCoAwait) {
  VirtualLoop loop;
  struct Thrower {
    static Co<int> Throw(Event& event) {
      co_await event;
      throw std::runtime_error("from the depth");
    }
    static Co<std::string> Catch(Event& event) {
      try {
        co_return std::to_string(co_await Throw(event));
      } catch (const std::exception& e) {
        co_return e.what();
      }
    }
  };
  Event event;
  Owner<std::string> caught(Thrower::Catch(event));
  caught.Start();
  event.Set();
  EXPECT_EQ(caught.co.Take(), "from the depth");

  Owner<int> uncaught(Thrower::Throw(event));
  uncaught.Start();
  event.Set();
  EXPECT_EQ(uncaught.done, 1);
  EXPECT_THROW(uncaught.co.Take(), std::runtime_error);
}

// Suspends in a foreign awaitable at the bottom of a chain, and awaits more after it.
Co<int> Foreign(ForeignEvent& event) {
  co_await event;
  co_return co_await Value(20) + co_await Value(1);
}
Co<int> AboveForeign(ForeignEvent& event) {
  const int value = co_await Foreign(event);
  co_return value * 2;
}

TEST(Coroutine, GoesOnWhenAForeignAwaitableResumesItDirectly) {
  VirtualLoop loop;
  ForeignEvent event;
  Owner<int> owner(AboveForeign(event));
  owner.Start();
  ASSERT_TRUE(event.awaited());
  event.Set();
  EXPECT_EQ(owner.done, 1);
  EXPECT_EQ(owner.co.Take(), 42);
}

TEST(Coroutine, FreesItselfWhenAForeignResumptionFinishesIt) {
  VirtualLoop loop;
  auto witness = std::make_shared<int>(0);
  for (int depth = 0; depth < 3; ++depth) {
    ForeignEvent event;
    Spawn("foreign", [](ForeignEvent& e, int d, std::shared_ptr<int>) -> Co<void> {
      if (d == 0) {
        co_await e;  // the outermost is resumed and finishes at once
      } else if (d == 1) {
        co_await Foreign(e);
      } else {
        co_await AboveForeign(e);
        co_await ForeignInline();
        co_await Nothing();
      }
    }(event, depth, witness));
    EXPECT_EQ(witness.use_count(), 2);
    event.Set();
    EXPECT_EQ(witness.use_count(), 1);
  }
}

TEST(Coroutine, AForeignAwaitableMayResumeWhileItSuspends) {
  VirtualLoop loop;
  Owner<int> owner([]() -> Co<int> {
    co_await ForeignInline();
    const int a = co_await Value(1);
    co_await ForeignInline();
    co_await Nothing();
    co_return a + co_await Value(2);
  }());
  owner.Start();
  EXPECT_EQ(owner.done, 1);
  EXPECT_EQ(owner.co.Take(), 3);
}

// A coroutine of a foreign type that awaits one of ours: its bare handle is resumed directly.
struct Foreigner {
  struct promise_type {
    Foreigner get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

TEST(Coroutine, AForeignCoroutineMayAwaitOurAwaitables) {
  VirtualLoop loop;
  Event event;
  bool done = false;
  [](Event& e, bool& flag) -> Foreigner {
    co_await e;
    flag = true;
  }(event, done);
  EXPECT_FALSE(done);
  event.Set();
  EXPECT_TRUE(done);
}

TEST(Coroutine, CountsAsACallbackWhereverItWasStarted) {
  VirtualLoop loop;
  std::string name;
  Spawn("my name", [](std::string& n) -> Co<void> {
    n = AioContext::CurrentCallback();
    co_return;
  }(name));
  EXPECT_EQ(name, "my name");
  EXPECT_EQ(AioContext::CurrentCallback(), nullptr);
}

TEST(Coroutine, ASuspendedOneCanBeDestroyedByItsOwner) {
  VirtualLoop loop;
  Event event;
  auto witness = std::make_shared<int>(0);
  {
    Owner<void> owner([](Event& e, std::shared_ptr<int>) -> Co<void> { co_await e; }(event, witness));
    owner.Start();
    EXPECT_EQ(witness.use_count(), 2);
  }
  EXPECT_EQ(witness.use_count(), 1);
}

TEST(Coroutine, MoveOnlyResultsAreMoved) {
  VirtualLoop loop;
  Owner<std::unique_ptr<int>> owner([]() -> Co<std::unique_ptr<int>> {
    auto inner = []() -> Co<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
    co_return co_await inner();
  }());
  owner.Start();
  EXPECT_EQ(*owner.co.Take(), 3);
}

class CoroutineDeathTest : public ::testing::Test {
 protected:
  CoroutineDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(CoroutineDeathTest, SuspendingWithAJobMutexHeldDies) {
  EXPECT_DEATH(
      {
        VirtualLoop loop;
        JobMutex mutex;
        Event event;
        Spawn("holder", [](JobMutex& m, Event& e) -> Co<void> {
          m.Lock();
          co_await e;
          m.Unlock();
        }(mutex, event));
      },
      "job_mutex is held where it must not be: suspended coroutine: holder");
}

TEST_F(CoroutineDeathTest, AnExceptionThatLeavesASpawnedCoroutineDiesNamingIt) {
  EXPECT_DEATH(
      {
        VirtualLoop loop;
        Spawn("thrower", []() -> Co<void> {
          throw std::runtime_error("oh no");
          co_return;
        }());
      },
      "an exception left coroutine 'thrower': oh no");
}

TEST_F(CoroutineDeathTest, SpawnOnAPlainThreadDies) {
  EXPECT_DEATH(Spawn("lost", Nothing()), "Spawn 'lost': this thread is home of no context");
}

}  // namespace
}  // namespace jobcore
