// SPDX-License-Identifier: Apache-2.0

#include "job-common/clock.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

class SystemClock final : public Clock {
 public:
  TimePoint Now() override { return std::chrono::steady_clock::now(); }
};

}  // namespace

Clock& Clock::System() {
  static SystemClock& clock = *new SystemClock;  // never destroyed: threads may outlive main()
  return clock;
}

}  // namespace jobcore::inline JOBCORE_ABI
