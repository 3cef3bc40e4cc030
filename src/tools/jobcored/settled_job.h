// SPDX-License-Identifier: Apache-2.0
//
// A job whose end is settled before it begins: what the reference finds out only once a job runs is told to clients by
// a job that runs, too.

#ifndef JOBCORE_TOOLS_JOBCORED_SETTLED_JOB_H_
#define JOBCORE_TOOLS_JOBCORED_SETTLED_JOB_H_

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "job-common/coroutine.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"

namespace jobcored {

class SettledJob final : public jobcore::JobDriver {
 public:
  // `type` lives forever.
  SettledJob(std::string_view type, absl::Status end) : type_(type), end_(std::move(end)) {}

  std::string_view type() const override { return type_; }
  jobcore::Co<absl::Status> Run(jobcore::JobContext& job) override {
    job.progress().SetRemaining(0);
    co_return end_;
  }

 private:
  const std::string_view type_;
  const absl::Status end_;
};

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_SETTLED_JOB_H_
