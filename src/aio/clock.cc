// SPDX-License-Identifier: Apache-2.0

#include "job-common/clock.h"

#include <time.h>

namespace jobcore::inline JOBCORE_ABI {
namespace {

class SystemClock final : public Clock {
 public:
  TimePoint Now() override { return std::chrono::steady_clock::now(); }
  TimePoint CoarseNow() override {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return TimePoint(std::chrono::seconds(time.tv_sec) + Nanoseconds(time.tv_nsec));
  }
};

}  // namespace

Clock& Clock::System() {
  static SystemClock& clock = *new SystemClock;  // never destroyed: threads may outlive main()
  return clock;
}

}  // namespace jobcore::inline JOBCORE_ABI
