// SPDX-License-Identifier: Apache-2.0
//
// RateGuess: how fast jobs are, and when they will be done, where the daemon does not say it.

#ifndef JOBCORE_TOOLS_JOBCTL_RATE_GUESS_H_
#define JOBCORE_TOOLS_JOBCTL_RATE_GUESS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "job-common/clock.h"
#include "job-monitor/job_query.h"

namespace jobctl {

class RateGuess {
 public:
  // Sets what is missing, from what the same jobs were like before. To be called again and again.
  void Complete(std::vector<jobcore::monitor::JobInfo>& jobs, jobcore::TimePoint now);

 private:
  struct Seen {
    jobcore::TimePoint time{};
    uint64_t current = 0;
    double rate = 0;
  };
  std::map<std::string, Seen> seen_;
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_RATE_GUESS_H_
