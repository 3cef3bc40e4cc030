// SPDX-License-Identifier: Apache-2.0
//
// The counters behind testing::Reached, in memory that a campaign shares with its child processes.

#ifndef JOBCORE_TESTING_COUNTERS_H_
#define JOBCORE_TESTING_COUNTERS_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

struct Counter {
  std::atomic<uint32_t> state{0};  // 0: free; 1: being named; 2: named
  std::array<char, 60> name{};
  std::atomic<uint64_t> count{0};
};

struct Counters {
  std::array<Counter, 512> slots;
};

// Mapped at the first call, so that children made later share it.
Counters& SharedCounters();

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_TESTING_COUNTERS_H_
