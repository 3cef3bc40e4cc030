// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/rate_guess.h"

#include <chrono>
#include <utility>

namespace jobctl {

using jobcore::JobStatus;
using jobcore::TimePoint;
using jobcore::monitor::JobInfo;

namespace {

constexpr auto kLeast = std::chrono::milliseconds(500);  // between two looks that a rate is made from

}  // namespace

void RateGuess::Complete(std::vector<JobInfo>& jobs, TimePoint now) {
  std::map<std::string, Seen> seen;
  for (JobInfo& job : jobs) {
    const bool runs = job.status == JobStatus::kRunning || job.status == JobStatus::kReady;
    const auto before = seen_.find(job.id);
    Seen mine = {.time = now, .current = job.progress.current};
    if (runs && before != seen_.end() && before->second.current <= job.progress.current) {
      mine = before->second;
      if (now - mine.time >= kLeast) {
        const std::chrono::duration<double> passed = now - mine.time;
        const double latest = static_cast<double>(job.progress.current - mine.current) / passed.count();
        mine = {
            .time = now, .current = job.progress.current, .rate = mine.rate == 0 ? latest : (mine.rate + latest) / 2};
      }
    }
    job.rate = mine.rate;
    const uint64_t left = job.progress.total - job.progress.current;
    if (job.status == JobStatus::kRunning && job.rate > 0 && left > 0) {
      const std::chrono::duration<double> rest(static_cast<double>(left) / job.rate);
      if (rest < std::chrono::hours(1000)) job.eta = std::chrono::duration_cast<jobcore::Nanoseconds>(rest);
    }
    seen.emplace(job.id, mine);
  }
  seen_ = std::move(seen);
}

}  // namespace jobctl
