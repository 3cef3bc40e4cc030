// SPDX-License-Identifier: Apache-2.0
//
// How fast a job gets on, as seen by those who look at it: its driver does nothing for it.

#ifndef JOBCORE_SRC_JOB_RATE_ESTIMATE_H_
#define JOBCORE_SRC_JOB_RATE_ESTIMATE_H_

#include <chrono>
#include <cstdint>
#include <optional>

#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/progress.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Keeps two samples, at least kInterval apart. The rate is that since the older one, so it is never taken over less
// than kInterval, however often it is asked for, and by however many; with frequent queries, over at most twice that.
// Before there are two, it is the average over the whole run. Each stretch between two pauses has its own estimate.
//
// No locking of its own: `now` must not go back from one call to the next.
class RateEstimate {
 public:
  static constexpr Nanoseconds kInterval = std::chrono::seconds(1);

  // Units per second. `current`: the progress at `now`; `running`: how long it took to come there, pauses not counted.
  double Update(TimePoint now, uint64_t current, Nanoseconds running) {
    if (samples_ == 0) {
      newer_ = {now, current};
      samples_ = 1;
    } else if (now - newer_.time >= kInterval) {
      older_ = newer_;
      newer_ = {now, current};
      samples_ = 2;
    }
    return samples_ == 2 ? PerSecond(current - older_.current, now - older_.time) : PerSecond(current, running);
  }

 private:
  struct Sample {
    TimePoint time{};
    uint64_t current = 0;
  };

  static double PerSecond(uint64_t units, Nanoseconds time) {
    constexpr double kSecond = std::chrono::duration_cast<Nanoseconds>(std::chrono::seconds(1)).count();
    return time.count() > 0 ? static_cast<double>(units) * kSecond / static_cast<double>(time.count()) : 0;
  }

  Sample older_;
  Sample newer_;
  int samples_ = 0;
};

// How long the rest takes at `rate`; none if that can't be said, or is more than 100 years.
inline std::optional<Nanoseconds> TimeLeft(const ProgressSnapshot& progress, double rate) {
  if (!progress.total_known || !(rate > 0)) return std::nullopt;
  const std::chrono::duration<double> left(static_cast<double>(progress.total - progress.current) / rate);
  if (left > std::chrono::hours(24 * 36525)) return std::nullopt;
  return std::chrono::duration_cast<Nanoseconds>(left);
}

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_SRC_JOB_RATE_ESTIMATE_H_
