// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_wait.h"

class Count final : public jobcore::JobDriver {
  jobcore::Co<absl::Status> Run(jobcore::JobContext& job) override {
    job.progress().SetRemaining(1000);
    for (int i = 0; i < 1000; ++i, job.progress().Advance(1))
      if (absl::Status status = co_await job.PausePoint(); !status.ok()) co_return status;
    co_return absl::OkStatus();
  }
};

int main() {
  jobcore::IOThread io("io0");
  jobcore::JobCore core;
  const auto job = jobcore::CreateJob(core, {.id = "count0", .context = &io.context()}, std::make_unique<Count>());
  if (!job.ok() || !jobcore::StartJob(**job).ok()) return 1;
  const auto outcome = jobcore::monitor::WaitFor(*job);
  const auto counted = static_cast<unsigned long long>((*job)->progress().Get().current);
  std::printf("%s counted to %llu: %s\n", (*job)->id().c_str(), counted, outcome->ToString().c_str());
  return outcome.ok() && outcome->succeeded() && counted == 1000 ? 0 : 1;
}
