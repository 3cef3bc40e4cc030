// SPDX-License-Identifier: Apache-2.0
//
// Clock: where an event loop gets its time from. One of the seams that tests replace.

#ifndef JOBCORE_JOB_COMMON_CLOCK_H_
#define JOBCORE_JOB_COMMON_CLOCK_H_

#include <chrono>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

using Nanoseconds = std::chrono::nanoseconds;
// A point on the monotonic time line of a Clock.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Nanoseconds>;

// A deadline that never comes.
inline constexpr TimePoint kNoDeadline = TimePoint::max();

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic; any thread. A read of the system clock costs about 30 ns: loops sample it once per turn.
  virtual TimePoint Now() = 0;
  // The same as of the last tick of the system, a few milliseconds ago, at a quarter of the price: for ages.
  virtual TimePoint CoarseNow() { return Now(); }

  // CLOCK_MONOTONIC; lives forever.
  static Clock& System();
};

// `start` + `delay`, at most kNoDeadline.
constexpr TimePoint SaturatingAdd(TimePoint start, Nanoseconds delay) {
  return delay > kNoDeadline - start ? kNoDeadline : start + delay;
}

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_CLOCK_H_
