// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "job-common/iothread.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"
using namespace jobcore;

class Count final : public JobDriver {
  Co<absl::Status> Run(JobContext& job) override {  // in io0's thread; knows no mutex
    job.progress().SetRemaining(1'000'000);
    while (job.progress().Get().current < 1'000'000) {
      if (absl::Status s = co_await job.PausePoint(); !s.ok()) co_return s;  // < 1 ns when nobody asks
      job.progress().Advance(1);
    }
    co_return absl::OkStatus();
  }
};

int main() {
  IOThread io("io0");
  JobCore core;  // owns job_mutex, the registry and the main context
  JobRef job = *CreateJob(core, {.id = "count", .context = &io.context()}, std::make_unique<Count>());
  {
    JobLock lock(core);  // find and act are one critical section
    if (Job* found = monitor::Find(core, "count")) std::puts(monitor::Pause(*found).ToString().c_str());
    std::puts(monitor::Complete(*job).ToString().c_str());
  }
  std::puts(StartJob(*job).ToString().c_str());  // takes the mutex itself; parks before its first step
  {
    JobLock lock(core);
    std::puts(monitor::Resume(*job).ToString().c_str());
  }
  std::puts(monitor::WaitFor(job)->ToString().c_str());
  std::printf("%lu\n", job->progress().Get().current);
}
