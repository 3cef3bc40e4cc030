// SPDX-License-Identifier: Apache-2.0
//
// A data race that we planted in a driver, to see that ThreadSanitizer would find one in ours: a plain int
// that the job counts up in its own context, and that a monitor reads.
//
//   jobcore_planted_race            reads it while the job runs: ThreadSanitizer must report that
//   jobcore_planted_race --fixed    the same, but each access in the job's context or ordered by job_mutex:
//                                   ThreadSanitizer must stay silent

#include <atomic>
#include <cstdio>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "job-common/aio_wait.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"

namespace jobcore {
namespace {

constexpr int kReads = 100;

class Racer final : public JobDriver {
 public:
  explicit Racer(int& counter) : counter_(counter) {}

  Co<absl::Status> Run(JobContext& job) override {
    for (;;) {
      ++counter_;
      if (absl::Status status = co_await job.Sleep(Nanoseconds::zero()); !status.ok()) co_return status;
    }
  }

 private:
  int& counter_;
};

// Asks the job's own context.
int ReadThere(JobCore& core, AioContext& context, const int& counter) {
  std::atomic<int> result{-1};
  context.Post("read the counter", [&] {
    const int value = counter;
    AioContext& main = core.main_context();
    result.store(value);
    main.wait_domain().Kick();
  });
  const absl::Status status = AioWaitWhileUnlocked(core, [&] { return result.load() < 0; }, {.name = "the counter"});
  return status.ok() ? result.load() : -1;
}

// The race: nothing orders this read and the job's writes.
int Peek(const volatile int& counter) { return counter; }

int Main(bool fixed) {
  JobCore core;
  IOThread thread("io0");
  int counter = 0;
  const JobRef job = *CreateJob(core, {.id = "racer", .context = &thread.context()}, std::make_unique<Racer>(counter));
  if (!StartJob(*job).ok()) return 1;
  int highest = 0;
  for (int i = 0; i < kReads; ++i) {
    highest = ReadThere(core, thread.context(), counter);
    // The job goes on beside this, so it ends; that it has ended shows that the two have met.
    while (!fixed && Peek(counter) == highest) {
    }
  }
  if (!monitor::CancelAndWait(job).ok()) return 1;
  // The job has ended, and job_mutex has told us so: that orders its writes before this read.
  std::printf("%s: the job counted to %d or more, %d in the end\n", fixed ? "fixed" : "racy", highest, counter);
  return counter >= highest ? 0 : 1;
}

}  // namespace
}  // namespace jobcore

int main(int argc, char** argv) { return jobcore::Main(argc > 1 && std::string_view(argv[1]) == "--fixed"); }
