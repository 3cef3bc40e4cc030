// SPDX-License-Identifier: Apache-2.0
//
// MutexProfile: what a JobMutex counts while somebody wants to know (job-monitor/contention.h). Guarded by that mutex.

#ifndef JOBCORE_AIO_MUTEX_PROFILE_H_
#define JOBCORE_AIO_MUTEX_PROFILE_H_

#include <array>
#include <cstdint>
#include <optional>

#include "job-common/clock.h"
#include "job-common/duration_stats.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

struct MutexProfile {
  static constexpr uint64_t kSampledHolds = 16;  // one in so many is measured

  // Return addresses, innermost first; where it ends there are nulls.
  using Stack = std::array<void*, 16>;

  const TimePoint since = Clock::System().Now();
  uint64_t acquisitions = 0;
  DurationStats waits;
  DurationStats holds;
  Stack longest_hold{};
  std::optional<TimePoint> held_since;  // this hold is measured
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_MUTEX_PROFILE_H_
