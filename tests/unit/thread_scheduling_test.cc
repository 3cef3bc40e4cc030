// SPDX-License-Identifier: Apache-2.0

#include "aio/thread_scheduling.h"

#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "gtest/gtest.h"

namespace jobcore::internal {
namespace {

int Nice() { return getpriority(PRIO_PROCESS, 0); }

TEST(ThreadScheduling, WhoYieldsIsNiceAloneAndAddsToWhatTheProcessIs) {
  const int before = Nice();
  int inside = before;
  std::thread([&] {
    AskToYield();
    inside = Nice();
  }).join();
  EXPECT_EQ(inside, std::min(before + 10, 19));
  EXPECT_EQ(Nice(), before);
}

TEST(ThreadScheduling, WhoIsToRunPromptlyKeepsItsShare) {
  std::thread([] {
    AskToYield();
    const int before = Nice();
    AskToRunPromptly();
    EXPECT_EQ(Nice(), before);
  }).join();
}

}  // namespace
}  // namespace jobcore::internal
