// SPDX-License-Identifier: Apache-2.0
//
// RangeLock: who waits for whom, in which order, and where the waiter goes on.

#include "job-driver/block/range_lock.h"

#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/event.h"
#include "support/job_test_util.h"

namespace jobcore::block {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Takes a part, says so, and holds it until it is told to let go.
struct Holder {
  support::Event go;
  bool holds = false;
};

Co<void> Hold(RangeLock& lock, uint64_t offset, uint64_t length, Holder& holder) {
  const RangeLock::Hold hold = co_await lock.Acquire(offset, length);
  holder.holds = true;
  co_await holder.go;
  holder.holds = false;
}

Co<void> Note(RangeLock& lock, uint64_t offset, uint64_t length, std::string name, std::vector<std::string>& order) {
  const RangeLock::Hold hold = co_await lock.Acquire(offset, length);
  order.push_back(std::move(name));
}

TEST(RangeLock, DisjointPartsDoNotNoticeEachOther) {
  TestWorld world;
  RangeLock lock;
  Holder low, high;
  Spawn("holder", Hold(lock, 0, 100, low));
  Spawn("holder", Hold(lock, 100, 100, high));
  EXPECT_TRUE(low.holds && high.holds);
  low.go.Set();
  high.go.Set();
}

TEST(RangeLock, OverlapByOneByteWaits) {
  TestWorld world;
  RangeLock lock;
  Holder first, second;
  Spawn("holder", Hold(lock, 0, 101, first));
  Spawn("holder", Hold(lock, 100, 100, second));
  world.Settle();
  EXPECT_FALSE(second.holds);
  first.go.Set();
  ASSERT_TRUE(world.RunUntil([&] { return second.holds; }));
  second.go.Set();
}

TEST(RangeLock, ThoseWhoOverlapGoOnInTheOrderInWhichTheyAsked) {
  TestWorld world;
  RangeLock lock;
  Holder first;
  std::vector<std::string> order;
  Spawn("holder", Hold(lock, 0, 100, first));
  for (const char* name : {"a", "b", "c", "d"}) Spawn("note", Note(lock, 50, 10, name, order));
  EXPECT_THAT(order, IsEmpty());
  first.go.Set();
  ASSERT_TRUE(world.RunUntil([&] { return order.size() == 4; }));
  EXPECT_THAT(order, ElementsAre("a", "b", "c", "d"));
}

TEST(RangeLock, OneWhoOverlapsAWaiterOnlyWaitsBehindIt) {
  TestWorld world;
  RangeLock lock;
  Holder first, waiter, third;
  Spawn("holder", Hold(lock, 0, 100, first));
  Spawn("holder", Hold(lock, 50, 100, waiter));
  Spawn("holder", Hold(lock, 120, 10, third));  // free, but for the one who waits
  world.Settle();
  EXPECT_FALSE(waiter.holds);
  EXPECT_FALSE(third.holds);
  EXPECT_FALSE(lock.TryAcquire(140, 1));  // nor does this one overtake
  EXPECT_TRUE(lock.TryAcquire(150, 1));
  first.go.Set();
  ASSERT_TRUE(world.RunUntil([&] { return waiter.holds; }));
  world.Settle();
  EXPECT_FALSE(third.holds);
  waiter.go.Set();
  ASSERT_TRUE(world.RunUntil([&] { return third.holds; }));
  third.go.Set();
}

TEST(RangeLock, OneWhoWaitsForTwoWaitsForBoth) {
  TestWorld world;
  RangeLock lock;
  Holder low, high, both;
  Spawn("holder", Hold(lock, 0, 10, low));
  Spawn("holder", Hold(lock, 90, 10, high));
  Spawn("holder", Hold(lock, 0, 100, both));
  low.go.Set();
  world.Settle();
  EXPECT_FALSE(both.holds);
  high.go.Set();
  ASSERT_TRUE(world.RunUntil([&] { return both.holds; }));
  both.go.Set();
}

TEST(RangeLock, HoldThatIsMovedOrAssignedOverReleasesOnce) {
  RangeLock lock;
  RangeLock::Hold a = lock.TryAcquire(0, 10);
  RangeLock::Hold b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move)
  EXPECT_FALSE(lock.TryAcquire(0, 10));
  b = lock.TryAcquire(20, 10);
  EXPECT_TRUE(lock.TryAcquire(0, 10));
  EXPECT_FALSE(lock.TryAcquire(20, 10));
}

Co<void> WaitAtHome(RangeLock& lock, AioContext& home, std::atomic<int>& at_home) {
  {
    const RangeLock::Hold hold = co_await lock.Acquire(0, 10);
    if (home.IsHome()) ++at_home;
  }
  co_return;
}

TEST(RangeLock, WaitersOfDifferentContextsGoOnAtHome) {
  TestWorld world({.io_threads = 2});
  RangeLock lock;
  std::atomic<int> at_home{0};
  Holder first;
  Spawn("holder", Hold(lock, 0, 10, first));
  for (int i = 0; i < 2; ++i) {
    AioContext& home = world.io(i);
    home.Post("start", [&lock, &home, &at_home] { Spawn("waiter", WaitAtHome(lock, home, at_home)); });
  }
  Spawn("waiter", WaitAtHome(lock, world.main(), at_home));
  world.Settle();
  EXPECT_EQ(at_home, 0);
  first.go.Set();
  ASSERT_TRUE(world.RunUntil([&] { return at_home == 3; }));
  world.Settle();
}

TEST(RangeLock, WaiterWhoseContextHasGoneGivesUpItsPlace) {
  RangeLock lock;
  RangeLock::Hold first = lock.TryAcquire(0, 10);
  bool resumed = false;
  Co<void> waiters[2];
  CoRoot roots[2] = {CoRoot([](CoRoot&) {}), CoRoot([](CoRoot&) {})};
  IOThread gone("gone");
  gone.context().Post("waiters", [&] {
    for (int i = 0; i < 2; ++i) {
      waiters[i] = [](RangeLock& l, bool& r) -> Co<void> {
        const RangeLock::Hold hold = co_await l.Acquire(0, 10);
        r = true;
      }(lock, resumed);
      roots[i].Start(waiters[i]);
    }
  });
  ASSERT_TRUE(gone.Stop().ok());
  first.End();
  EXPECT_FALSE(resumed);
  EXPECT_TRUE(lock.TryAcquire(0, 10));
}

TEST(RangeLockDeathTest, MustNotBeDestroyedWhileSomebodyHoldsAPart) {
  EXPECT_DEATH(
      {
        RangeLock::Hold hold;
        RangeLock lock;
        hold = lock.TryAcquire(0, 1);
      },
      "destroyed while somebody holds");
}

// --- Everybody at once ---

constexpr int kCells = 32;

struct TwoThreads {
  RangeLock lock;
  std::array<int, kCells> owners{};  // guarded by the parts of the lock; plain, so that TSan looks on
  std::atomic<int> wrong{0};
  std::atomic<int> finished{0};
};

Co<void> Turns(TwoThreads& storm, AioContext& home, int self, int turns) {
  std::mt19937 random(static_cast<unsigned>(self));
  for (int turn = 0; turn < turns; ++turn) {
    const unsigned begin = random() % kCells;
    const unsigned length = 1 + random() % std::min<unsigned>(8, kCells - begin);
    const RangeLock::Hold hold = co_await storm.lock.Acquire(begin, length);
    if (!home.IsHome()) ++storm.wrong;
    for (unsigned i = begin; i < begin + length; ++i)
      if (std::exchange(storm.owners[i], self) != 0) ++storm.wrong;
    if (turn % 3 == 0) {  // holds it beyond a turn of its loop
      const auto never = [] { return false; };
      const absl::Status waited = co_await AioWaitWhile(home, never);
      if (!waited.ok()) ++storm.wrong;
    }
    for (unsigned i = begin; i < begin + length; ++i)
      if (std::exchange(storm.owners[i], 0) != self) ++storm.wrong;
  }
  ++storm.finished;
}

TEST(RangeLock, StormOfTwoThreadsNeverHasTwoOwnersOfOnePart) {
  TestWorld world({.io_threads = 2});
  TwoThreads storm;
  constexpr int kEach = 4;
  for (int i = 0; i < 2 * kEach; ++i) {
    AioContext& home = world.io(i % 2);
    home.Post("start", [&storm, &home, i] { Spawn("turns", Turns(storm, home, i + 1, 2000)); });
  }
  ASSERT_TRUE(world.RunUntil([&] { return storm.finished == 2 * kEach; }));
  EXPECT_EQ(storm.wrong, 0);
  EXPECT_TRUE(storm.lock.TryAcquire(0, kCells));
  world.Settle();
}

}  // namespace
}  // namespace jobcore::block
