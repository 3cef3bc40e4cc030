// SPDX-License-Identifier: Apache-2.0

#include "job-testing/choices.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <vector>

namespace jobcore {
namespace {

using testing::Choices;

TEST(Choices, OfOneSeedAreTheSameOnAllMachines) {
  Choices choices(42);
  const std::vector<uint32_t> expected = {741, 159, 278, 344, 38};
  for (const uint32_t value : expected) EXPECT_EQ(choices.Below(1000), value);
  EXPECT_EQ(choices.record(), expected);
}

TEST(Choices, OfNeighbouringSeedsDiffer) {
  int equal = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    Choices a(seed);
    Choices b(seed + 1);
    equal += a.Below(1000) == b.Below(1000);
  }
  EXPECT_LT(equal, 20);
}

TEST(Choices, ReplayGivesWhatWasRecordedAndThenZeros) {
  Choices choices = Choices::Replay({3, 12, 1});
  EXPECT_EQ(choices.Below(10), 3u);
  EXPECT_EQ(choices.Below(10), 2u) << "what is too large wraps";
  EXPECT_TRUE(choices.OneIn(2));
  EXPECT_EQ(choices.Between(5, 9), 5u);
  EXPECT_FALSE(choices.OneIn(2));
  EXPECT_EQ(choices.record(), (std::vector<uint32_t>{3, 2, 1, 0, 0}));
}

TEST(Choices, TakeTwoBytesOfAFuzzerToADecision) {
  constexpr std::array<uint8_t, 3> kBytes = {0x01, 0x02, 0x07};
  Choices choices = Choices::FromBytes(kBytes);
  EXPECT_EQ(choices.Below(0x10000), 0x0201u);
  EXPECT_EQ(choices.Below(0x10000), 0x0007u);
  EXPECT_EQ(choices.Below(0x10000), 0u);
}

TEST(ChoicesText, IsReadAsItWasWritten) {
  for (const std::vector<uint32_t>& record :
       {std::vector<uint32_t>{}, {0}, {7, 7, 7}, {1, 2, 2, 0, 0, 0, 4294967295u}}) {
    const auto parsed = testing::ParseChoices(testing::FormatChoices(record));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, record);
  }
  EXPECT_EQ(testing::FormatChoices({1, 2, 2, 0, 0, 0}), "1,2x2,0x3");
}

TEST(ChoicesText, ThatIsNoneIsRefusedWithThePlace) {
  for (const char* text : {",", "1,", "a", "1;2", "1x", "1x2y", "1x999999999999", "-1", "5000000000", "1 "}) {
    const auto parsed = testing::ParseChoices(text);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_NE(testing::ParseChoices("1,b").status().message().find("at character 2"), absl::string_view::npos);
}

}  // namespace
}  // namespace jobcore
