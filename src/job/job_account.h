// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_SRC_JOB_JOB_ACCOUNT_H_
#define JOBCORE_SRC_JOB_JOB_ACCOUNT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_times.h"
#include "job/rate_estimate.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// What a job accounts that has been paused, or looked at while it ran. Guarded by job_mutex.
struct JobAccount {
  struct Pause {
    std::string reason;
    Nanoseconds time{};   // while it is in force: less the moment at which that began
    uint32_t active = 0;  // of kOtherPauses: how many reasons
  };

  void PauseBegins(std::string_view reason, TimePoint now) {
    Pause& pause = Find(reason);
    if (pause.active++ == 0) pause.time -= now.time_since_epoch();
  }
  // `reason` has begun before.
  void PauseEnds(std::string_view reason, TimePoint now) {
    Pause& pause = Find(reason);
    if (--pause.active == 0) pause.time += now.time_since_epoch();
  }

  absl::InlinedVector<Pause, 1> pauses;  // never removed, so that a reason finds its own again
  std::unique_ptr<RateEstimate> rate;    // if somebody has looked at it since it was started or resumed

 private:
  Pause& Find(std::string_view reason) {
    for (Pause& pause : pauses) {
      if (pause.reason == reason) return pause;
    }
    if (pauses.size() < JobTimes::kMaxPauseReasons) return pauses.emplace_back(Pause{.reason = std::string(reason)});
    if (pauses.size() == JobTimes::kMaxPauseReasons) pauses.push_back({.reason = std::string(JobTimes::kOtherPauses)});
    return pauses.back();
  }
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_SRC_JOB_JOB_ACCOUNT_H_
