// SPDX-License-Identifier: Apache-2.0

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "tools/jobctl/status_line.h"

namespace {

using jobctl::LineStyle;
using jobctl::StatusLine;

constexpr LineStyle kPlain = {.color = false, .utf8 = false};
constexpr LineStyle kFull = {.color = true, .utf8 = true};

StatusLine Job(const std::string& id = "disk0") {
  return StatusLine().Add(id, 0).AddBar(0.5, 3).Add(" 50%", 1).Add("running", 2).Add("ETA 0:07", 4);
}

size_t CodePoints(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

TEST(StatusLineTest, TheBarTakesWhatTheOthersLeave) {
  EXPECT_EQ(Job().Fit(48, kPlain), "disk0  ########--------   50%  running  ETA 0:07");
  EXPECT_EQ(Job().Fit(42, kPlain), "disk0  #####-----   50%  running  ETA 0:07");
}

TEST(StatusLineTest, TheBarHasAnEnd) {
  EXPECT_EQ(Job().Fit(SIZE_MAX, kPlain),
            "disk0  " + std::string(20, '#') + std::string(20, '-') + "   50%  running  ETA 0:07");
}

TEST(StatusLineTest, DropsTheHighestRanksFirst) {
  EXPECT_EQ(Job().Fit(41, kPlain), "disk0  #########----------   50%  running");
  EXPECT_EQ(Job().Fit(31, kPlain), "disk0   50%  running");
  EXPECT_EQ(Job().Fit(19, kPlain), "di~0   50%  running");
  EXPECT_EQ(Job().Fit(17, kPlain), "disk0   50%");
  EXPECT_EQ(Job().Fit(9, kPlain), "d~0   50%");
}

TEST(StatusLineTest, LongNamesGiveWayInTheirMiddle) {
  const std::string id = "nightly-backup-of-cluster-01";
  EXPECT_EQ(Job(id).Fit(40, kPlain), "nightl~ter-01  #####-----   50%  running");
  EXPECT_EQ(Job(id).Fit(21, kPlain), "nig~01   50%  running");
  EXPECT_EQ(StatusLine().Add("nightly", 0).Fit(5, {.color = false, .utf8 = true}), "ni…ly");
  EXPECT_EQ(StatusLine().Add("a      ", 0).Fit(3, kPlain), "a  ") << "blanks that align are no text";
}

TEST(StatusLineTest, ColumnsWithoutTextTakeNoRoom) {
  EXPECT_EQ(StatusLine().Add("a", 0).Add("", 1).Add("b", 1).Fit(4, kPlain), "a  b");
}

TEST(StatusLineTest, NeverExceedsItsWidth) {
  for (const char* id : {"a", "disk0", "nightly-backup-of-cluster-01"}) {
    for (size_t width = 0; width < 120; ++width) {
      for (const bool utf8 : {false, true}) {
        EXPECT_LE(CodePoints(Job(id).Fit(width, {.color = false, .utf8 = utf8})), width) << id;
      }
    }
  }
}

TEST(StatusLineTest, ColorsAddNoColumnsAndEndWithTheirColumn) {
  const StatusLine line = StatusLine().Add("disk0", 0).Add("done", 0, "\x1b[32m");
  EXPECT_EQ(line.Fit(11, kFull), "disk0  \x1b[32mdone\x1b[0m");
  EXPECT_EQ(line.Fit(11, kPlain), "disk0  done");
}

TEST(StatusLineTest, BarsOfImpossibleFractionsAreFullOrEmpty) {
  EXPECT_EQ(StatusLine().AddBar(1.5, 0).Fit(10, kPlain), "##########");
  EXPECT_EQ(StatusLine().AddBar(-1, 0).Fit(10, kPlain), "----------");
  EXPECT_EQ(StatusLine().AddBar(0.999, 0).Fit(10, kFull), "█████████░");
}

}  // namespace
