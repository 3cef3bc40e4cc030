// SPDX-License-Identifier: Apache-2.0

#include "block/written_extents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <utility>

namespace jobcore::internal {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

std::optional<std::pair<uint64_t, uint64_t>> Take(WrittenExtents& extents, uint64_t rest) {
  const std::optional<Extent> oldest = extents.TakeOldest(rest);
  if (!oldest) return std::nullopt;
  return std::pair(oldest->offset, oldest->length);
}

TEST(WrittenExtents, TheOldestIsTakenIfEnoughStays) {
  WrittenExtents extents;
  EXPECT_EQ(Take(extents, 0), std::nullopt);
  extents.Add({.offset = 8 * kMiB, .length = 2 * kMiB});
  extents.Add({.offset = 0, .length = kMiB});
  extents.Add({.offset = 4 * kMiB, .length = 2 * kMiB});
  EXPECT_EQ(Take(extents, 3 * kMiB + 1), std::nullopt);
  EXPECT_EQ(Take(extents, 3 * kMiB), std::pair(8 * kMiB, 2 * kMiB));
  EXPECT_EQ(Take(extents, 3 * kMiB), std::nullopt);
  EXPECT_EQ(Take(extents, 0), std::pair(uint64_t{0}, kMiB));
  EXPECT_EQ(Take(extents, 0), std::pair(4 * kMiB, 2 * kMiB));
  EXPECT_EQ(Take(extents, 0), std::nullopt);
}

TEST(WrittenExtents, SmallNeighboursAreTakenTogether) {
  WrittenExtents extents;
  for (uint64_t offset = 0; offset < 2 * kMiB; offset += 4096) extents.Add({.offset = offset, .length = 4096});
  extents.Add({.offset = 3 * kMiB, .length = 4096});  // beyond a hole
  extents.Add({.offset = 2 * kMiB, .length = 4096});  // overtaken
  EXPECT_EQ(Take(extents, 0), std::pair(uint64_t{0}, kMiB));
  EXPECT_EQ(Take(extents, 0), std::pair(kMiB, kMiB));
  EXPECT_EQ(Take(extents, 0), std::pair(3 * kMiB, uint64_t{4096}));
  EXPECT_EQ(Take(extents, 0), std::pair(2 * kMiB, uint64_t{4096}));
  EXPECT_EQ(Take(extents, 0), std::nullopt);
}

}  // namespace
}  // namespace jobcore::internal
