// SPDX-License-Identifier: Apache-2.0
//
// A user's test of a driver, linked to jobcore::testing: a hook at every lock-free step shakes the schedule.

#include <atomic>
#include <cstdio>
#include <memory>
#include <string_view>
#include <thread>

#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-common/sched_point.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_wait.h"

namespace {

std::atomic<int> points{0};
std::atomic<int> naps{0};

void Shake(const char* point) {
  if (std::string_view(point) == "job.word.idle") naps.fetch_add(1);
  if (points.fetch_add(1) % 2 == 0) std::this_thread::yield();
}

class Nap final : public jobcore::JobDriver {
  jobcore::Co<absl::Status> Run(jobcore::JobContext& job) override {
    for (int i = 0; i < 10; ++i) {
      if (absl::Status status = co_await job.Sleep(jobcore::Nanoseconds(1)); !status.ok()) co_return status;
    }
    co_return absl::OkStatus();
  }
};

bool RunOneJob() {
  jobcore::IOThread io("io0");
  jobcore::JobCore core;
  const auto job = jobcore::CreateJob(core, {.id = "nap0", .context = &io.context()}, std::make_unique<Nap>());
  if (!job.ok() || !jobcore::StartJob(**job).ok()) return false;
  const auto outcome = jobcore::monitor::WaitFor(*job);
  return outcome.ok() && outcome->succeeded();
}

}  // namespace

int main() {
  jobcore::SetSchedHook(&Shake);
  const bool succeeded = RunOneJob();
  jobcore::SetSchedHook(nullptr);
  std::printf("%s, past %d points, %d of them the job going to sleep\n", succeeded ? "succeeded" : "failed",
              points.load(), naps.load());
  return succeeded && naps.load() == 10 ? 0 : 1;
}
