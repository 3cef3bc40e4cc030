// SPDX-License-Identifier: Apache-2.0
//
// DirtyBitmap against a model that has one bool per chunk.

#include "job-driver/block/dirty_bitmap.h"

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace jobcore::block {
namespace {

class Model {
 public:
  Model(uint64_t size, uint64_t granularity)
      : size_(size), granularity_(granularity), dirty_((size + granularity - 1) / granularity) {}

  uint64_t chunk_end(size_t i) const { return std::min((i + 1) * granularity_, size_); }
  void Mark(uint64_t offset, uint64_t length, bool dirty) {
    for (size_t i = 0; i < dirty_.size(); ++i)
      if (length != 0 && i * granularity_ < offset + length && offset < chunk_end(i)) dirty_[i] = dirty;
  }
  void ClearWhole(uint64_t offset, uint64_t length) {
    for (size_t i = 0; i < dirty_.size(); ++i)
      if (offset <= i * granularity_ && chunk_end(i) <= offset + length) dirty_[i] = false;
  }
  bool AnyDirty(uint64_t offset, uint64_t length) const {
    for (size_t i = 0; i < dirty_.size(); ++i)
      if (dirty_[i] && length != 0 && i * granularity_ < offset + length && offset < chunk_end(i)) return true;
    return false;
  }
  bool IsDirty(uint64_t offset) const { return dirty_[offset / granularity_]; }
  uint64_t dirty_bytes() const {
    uint64_t bytes = 0;
    for (size_t i = 0; i < dirty_.size(); ++i)
      if (dirty_[i]) bytes += chunk_end(i) - i * granularity_;
    return bytes;
  }
  std::optional<DirtyBitmap::Range> Next(uint64_t from, uint64_t max) const {
    if (from >= size_) return std::nullopt;
    size_t first = from / granularity_;
    while (first < dirty_.size() && !dirty_[first]) ++first;
    if (first >= dirty_.size()) return std::nullopt;
    size_t end = first + 1;
    while (end < dirty_.size() && dirty_[end] && (end + 1 - first) * granularity_ <= max) ++end;
    return DirtyBitmap::Range{.offset = first * granularity_, .length = chunk_end(end - 1) - first * granularity_};
  }

 private:
  const uint64_t size_;
  const uint64_t granularity_;
  std::vector<bool> dirty_;
};

void ExpectSame(const std::optional<DirtyBitmap::Range>& got, const std::optional<DirtyBitmap::Range>& expected) {
  ASSERT_EQ(got.has_value(), expected.has_value());
  if (!got.has_value()) return;
  EXPECT_EQ(got->offset, expected->offset);
  EXPECT_EQ(got->length, expected->length);
}

// Random changes; long and short ones, at words' and the image's ends too.
void CompareAtRandom(uint64_t size, uint64_t granularity, unsigned seed, int steps) {
  SCOPED_TRACE(testing::Message() << "size " << size << ", granularity " << granularity << ", seed " << seed);
  std::mt19937_64 random(seed);
  DirtyBitmap bitmap(size, granularity);
  Model model(size, granularity);
  const auto place = [&] {
    uint64_t at = random() % (size + 1);
    if (random() % 2 == 0) at = at / granularity * granularity;
    if (random() % 4 == 0) at = at / (64 * granularity) * (64 * granularity);
    return random() % 16 == 0 ? size : at;
  };
  for (int step = 0; step < steps; ++step) {
    uint64_t offset = place();
    uint64_t end = random() % 3 == 0 ? std::min(size, offset + random() % (3 * granularity)) : place();
    if (offset > end) std::swap(offset, end);
    const uint64_t length = end - offset;
    switch (random() % 4) {
      case 0:
        bitmap.Set(offset, length);
        model.Mark(offset, length, true);
        break;
      case 1:
        bitmap.Clear(offset, length);
        model.Mark(offset, length, false);
        break;
      case 2:
        bitmap.ClearWhole(offset, length);
        model.ClearWhole(offset, length);
        break;
      default:
        EXPECT_EQ(bitmap.AnyDirty(offset, length), model.AnyDirty(offset, length));
    }
    ASSERT_EQ(bitmap.dirty_bytes(), model.dirty_bytes());
    ASSERT_EQ(bitmap.clean(), model.dirty_bytes() == 0);
    if (offset < size) {
      ASSERT_EQ(bitmap.IsDirty(offset), model.IsDirty(offset));
    }
    const uint64_t from = place();
    const uint64_t max = random() % 2 == 0 ? random() % (4 * granularity) : random() % (2 * size + 1);
    ASSERT_NO_FATAL_FAILURE(ExpectSame(bitmap.Next(from, max), model.Next(from, max))) << from << " max " << max;
  }
}

TEST(DirtyBitmap, DoesWhatOneBoolPerChunkDoes) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    CompareAtRandom(1, 512, seed, 100);
    CompareAtRandom(64 * 512, 512, seed, 300);
    CompareAtRandom(65 * 512 - 1, 512, seed, 300);
    CompareAtRandom(1000, 1, seed, 300);
    CompareAtRandom(200 * 4096 + 77, 4096, seed, 300);
  }
}

TEST(DirtyBitmap, DoesSoWithSeveralSummaryWordsToo) {
  for (unsigned seed = 0; seed < 4; ++seed) {
    CompareAtRandom(uint64_t{3 * 64 * 64 + 5} * 512 - 100, 512, seed, 400);
    CompareAtRandom(uint64_t{2 * 64 * 64} * 512, 512, seed, 400);
  }
}

TEST(DirtyBitmap, FindsALonelyChunkFromWhereverItLooks) {
  constexpr uint64_t kChunks = 3 * 64 * 64 + 1;
  for (const uint64_t dirty : {uint64_t{0}, uint64_t{63}, uint64_t{64}, uint64_t{4095}, uint64_t{4096}, uint64_t{8191},
                               uint64_t{8192}, kChunks - 2, kChunks - 1}) {
    DirtyBitmap bitmap(kChunks * 512 - 1, 512);
    bitmap.Set(dirty * 512, 1);
    for (uint64_t from = 0; from <= dirty; ++from) {
      const auto range = bitmap.Next(from * 512, 1);
      ASSERT_TRUE(range.has_value()) << dirty << " from " << from;
      ASSERT_EQ(range->offset, dirty * 512);
    }
    EXPECT_FALSE(bitmap.Next((dirty + 1) * 512, UINT64_MAX).has_value());
    EXPECT_EQ(bitmap.dirty_bytes(), dirty == kChunks - 1 ? 511u : 512u);
  }
}

TEST(DirtyBitmap, WholeImageIsOneRangeThatEndsWithIt) {
  DirtyBitmap bitmap(5 * 4096 + 1, 4096);
  bitmap.SetAll();
  EXPECT_EQ(bitmap.dirty_bytes(), bitmap.size());
  const auto range = bitmap.Next(0, UINT64_MAX);
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(range->length, bitmap.size());
  bitmap.ClearWhole(1, bitmap.size() - 1);  // the first chunk not as a whole, the last, short one is
  EXPECT_EQ(bitmap.dirty_bytes(), 4096u);
}

TEST(DirtyBitmap, OfNothingIsClean) {
  DirtyBitmap bitmap(0, 512);
  bitmap.SetAll();
  EXPECT_TRUE(bitmap.clean());
  EXPECT_EQ(bitmap.dirty_bytes(), 0u);
  EXPECT_FALSE(bitmap.Next(0, 512).has_value());
}

TEST(DirtyBitmapDeathTest, GranularityIsAPowerOfTwo) {
  EXPECT_DEATH(DirtyBitmap(4096, 513), "no power of two");
  EXPECT_DEATH(DirtyBitmap(4096, 0), "no power of two");
}

}  // namespace
}  // namespace jobcore::block
