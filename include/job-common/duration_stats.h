// SPDX-License-Identifier: Apache-2.0
//
// DurationStats: many durations in little memory: how many, the sum, the longest, and how they are spread.

#ifndef JOBCORE_JOB_COMMON_DURATION_STATS_H_
#define JOBCORE_JOB_COMMON_DURATION_STATS_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "job-common/clock.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

struct DurationStats {
  static constexpr size_t kBuckets = 40;  // the last has all from four minutes on, too

  uint64_t count = 0;
  Nanoseconds total{0};
  Nanoseconds longest{0};
  std::array<uint64_t, kBuckets> counts{};  // by power of two: [i] those from Below(i - 1) to less than Below(i)

  static constexpr Nanoseconds Below(size_t bucket) { return Nanoseconds(int64_t{1} << bucket); }

  // True: it is the longest so far.
  bool Add(Nanoseconds duration) {
    const auto ns = static_cast<uint64_t>(std::max(duration, Nanoseconds(0)).count());
    ++count;
    total += duration;
    ++counts[std::min<size_t>(static_cast<size_t>(std::bit_width(ns)), kBuckets - 1)];
    if (count > 1 && duration <= longest) return false;
    longest = duration;
    return true;
  }
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_DURATION_STATS_H_
