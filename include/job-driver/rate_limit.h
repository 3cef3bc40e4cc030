// SPDX-License-Identifier: Apache-2.0
//
// The arithmetic of a speed limit: no clock, no threads. JobContext::Throttle is how a job uses it.
//
// The bound. In any interval of length T at most
//     speed x T  +  one slice (100 ms at that speed)  +  one request
// are started, however the job is paused, woken and resumed meanwhile. If the speed changes, speed x T is the sum
// over the speeds in force, each for the time it was, and the slice is one of the last of them. Idle time gives no
// credit.
//
// How. The speed, added up over time, is the *allowance*: what could have been done by now. Requests are laid end
// to end on it, none earlier than its moment; a request may start while those before it reach no further than one
// slice beyond the allowance of now. Since both are kept in units times nanoseconds, in 128 bits, nothing is ever
// rounded, whatever the speed, and a change of speed moves nothing that has been laid down: what is owed is owed
// in units.

#ifndef JOBCORE_JOB_DRIVER_RATE_LIMIT_H_
#define JOBCORE_JOB_DRIVER_RATE_LIMIT_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "job-common/clock.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

namespace internal {

__extension__ typedef unsigned __int128 UnitNanos;  // units times nanoseconds

constexpr UnitNanos AddSaturating(UnitNanos a, UnitNanos b) {
  constexpr UnitNanos kMax = ~UnitNanos{0};
  return b > kMax - a ? kMax : a + b;
}

}  // namespace internal

// What a limit has allowed so far: the speeds in force, added up over time. A value.
class Allowance {
 public:
  // In units per second; 0: unlimited.
  constexpr uint64_t speed() const { return speed_; }

  // From `now` on. An unlimited time pays everything that is owed.
  constexpr void SetSpeed(TimePoint now, uint64_t speed) {
    total_ = At(now);
    since_ = std::max(since_, now);
    speed_ = speed;
    if (speed == 0) ++unlimited_times_;
  }

 private:
  friend class RateLimit;

  constexpr internal::UnitNanos At(TimePoint now) const {
    if (now <= since_) return total_;
    // As unsigned numbers: the difference of two points in time may be more than a duration holds.
    const uint64_t elapsed = static_cast<uint64_t>(now.time_since_epoch().count()) -
                             static_cast<uint64_t>(since_.time_since_epoch().count());
    return internal::AddSaturating(total_, internal::UnitNanos{speed_} * elapsed);
  }

  internal::UnitNanos total_ = 0;       // at since_
  TimePoint since_ = TimePoint::min();  // of the last change
  uint64_t speed_ = 0;                  // since then
  uint64_t unlimited_times_ = 0;        // how many times the limit has been lifted
};

// One stream of requests under a limit.
class RateLimit {
 public:
  static constexpr Nanoseconds kSlice = std::chrono::milliseconds(100);

  // The speeds have been changed to this.
  constexpr void Adopt(const Allowance& allowance) {
    if (allowance.unlimited_times_ != allowance_.unlimited_times_) taken_ = 0;
    allowance_ = allowance;
  }

  // When the next request may start: `now`, or later; kNoDeadline: not in the lifetime of the clock. Ask again then,
  // or whenever it suits: the answer stays the same while the speed does.
  // Whoever has to wait does so until half a slice is free, so that small requests don't each wait a little.
  constexpr TimePoint StartTime(TimePoint now) {
    const uint64_t speed = allowance_.speed();
    const internal::UnitNanos allowed = allowance_.At(now);
    const Nanoseconds ahead = waiting_ ? kSlice / 2 : kSlice;
    const internal::UnitNanos limit =
        internal::AddSaturating(allowed, internal::UnitNanos{speed} * static_cast<uint64_t>(ahead.count()));
    waiting_ = false;
    if (speed == 0 || taken_ <= limit) return now;
    waiting_ = true;
    const internal::UnitNanos goal = internal::UnitNanos{speed} * static_cast<uint64_t>((kSlice / 2).count());
    const internal::UnitNanos owed = taken_ - allowed - goal;
    const internal::UnitNanos wait = owed / speed + (owed % speed != 0 ? 1 : 0);
    const auto longest = static_cast<uint64_t>(Nanoseconds::max().count());
    return wait > longest ? kNoDeadline : SaturatingAdd(now, Nanoseconds(static_cast<int64_t>(wait)));
  }

  // A request of so many units starts.
  constexpr void Take(TimePoint now, uint64_t units) {
    if (allowance_.speed() == 0) return;
    constexpr uint64_t kPerSecond = 1'000'000'000;
    taken_ = internal::AddSaturating(std::max(taken_, allowance_.At(now)), internal::UnitNanos{units} * kPerSecond);
  }

 private:
  Allowance allowance_;
  internal::UnitNanos taken_ = 0;  // as far as requests reach, on the scale of allowance_
  bool waiting_ = false;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_DRIVER_RATE_LIMIT_H_
