// SPDX-License-Identifier: Apache-2.0

#include "qmp/random_talk.h"

#include <gtest/gtest.h>

#include <random>

namespace jobcore_test {
namespace {

TEST(RandomTalk, IsAnsweredAndEnds) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    std::mt19937 random(seed);
    ASSERT_TRUE(RandomTalk([&random](uint32_t n) { return static_cast<uint32_t>(random()) % n; }, 150))
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace jobcore_test
