// SPDX-License-Identifier: Apache-2.0

#include "job-common/progress.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

namespace jobcore {
namespace {

TEST(Progress, CountsTowardsItsTotal) {
  Progress progress(ProgressUnit::kBytes);
  progress.SetRemaining(100);
  progress.Advance(30);
  EXPECT_EQ(progress.Get().current, 30u);
  EXPECT_EQ(progress.Get().total, 100u);
  EXPECT_TRUE(progress.Get().total_known);
  progress.IncreaseRemaining(50);
  EXPECT_EQ(progress.Get().total, 150u);
  progress.SetRemaining(10, /*known=*/false);
  EXPECT_EQ(progress.Get().total, 40u);
  EXPECT_FALSE(progress.Get().total_known);
  progress.IncreaseRemaining(1);
  EXPECT_FALSE(progress.Get().total_known);
}

TEST(Progress, AdvancingPastTheTotalRaisesIt) {
  Progress progress(ProgressUnit::kItems);
  progress.SetRemaining(5);
  progress.Advance(7);
  EXPECT_EQ(progress.Get().current, 7u);
  EXPECT_EQ(progress.Get().total, 7u);
  EXPECT_TRUE(progress.Get().total_known);
}

TEST(Progress, SaturatesInsteadOfWrapping) {
  constexpr uint64_t kMax = (uint64_t{1} << 63) - 1;
  Progress progress(ProgressUnit::kBytes);
  progress.SetRemaining(~uint64_t{0}, /*known=*/false);
  EXPECT_EQ(progress.Get().total, kMax);
  EXPECT_FALSE(progress.Get().total_known);
  progress.Advance(5);
  progress.IncreaseRemaining(~uint64_t{0});
  progress.Advance(~uint64_t{0});
  EXPECT_EQ(progress.Get().current, kMax);
  EXPECT_EQ(progress.Get().total, kMax);
}

TEST(Progress, UnitsHaveNames) {
  EXPECT_EQ(ProgressUnitName(ProgressUnit::kBytes), "bytes");
  EXPECT_EQ(ProgressUnitName(ProgressUnit::kItems), "items");
  EXPECT_EQ(ProgressUnitName(ProgressUnit::kSteps), "steps");
}

TEST(Progress, EverySnapshotIsConsistentWhileAWriterChangesBothValues) {
  Progress progress(ProgressUnit::kBytes);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::minstd_rand random(1);
    while (!stop.load(std::memory_order_relaxed)) {
      switch (random() % 4) {
        case 0:
          progress.SetRemaining(random() % 4, random() % 2 == 0);
          break;
        case 1:
          progress.IncreaseRemaining(random() % 4);
          break;
        default:
          progress.Advance(random() % 8);
      }
    }
  });
  uint64_t last = 0;
  int violations = 0;
  for (int i = 0; i < 2'000'000; ++i) {
    const ProgressSnapshot s = progress.Get();
    if (s.current > s.total || s.current < last) ++violations;
    last = s.current;
  }
  stop = true;
  writer.join();
  EXPECT_EQ(violations, 0);
}

}  // namespace
}  // namespace jobcore
