// SPDX-License-Identifier: Apache-2.0
//
// How long does it take to pause a job, to see that it is parked, to resume it, and to see that it goes on? The job
// yields in an I/O thread that polls or blocks; it goes on when its driver's Resume hook runs.
//
//   Spinning   the monitor looks in a loop whether the job is parked (Job::parked)
//   Waiting    it waits with AioWaitWhileUnlocked, in a main loop that polls, or blocks, as the I/O thread does
// Each for an internal job and for a named one, whose pauses and resumptions are events.
// Controls: a cache line's round trip; an eventfd and epoll ping-pong.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "absl/status/status.h"
#include "benchmark/benchmark.h"
#include "job-common/aio_wait.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"
#include "two_threads.h"

namespace jobcore {
namespace {

using bench::kBlocking;
using bench::kPolling;
using bench::MainLoop;
using bench::OtherLoop;

constexpr bool kInternal = true;
constexpr bool kNamed = false;

class Yielder final : public JobDriver {
 public:
  Yielder(JobCore& core, std::atomic<uint64_t>& resumptions) : core_(core), resumptions_(resumptions) {}
  Co<absl::Status> Run(JobContext& job) override {
    for (;;) {
      if (absl::Status status = co_await job.Yield(); !status.ok()) co_return status;
    }
  }
  Co<void> Resume(JobContext&) override {
    resumptions_.store(resumptions_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    core_.main_context().wait_domain().Kick();
    co_return;
  }

 private:
  JobCore& core_;
  std::atomic<uint64_t>& resumptions_;
};

struct Spinning {
  template <typename Condition>
  static void While(JobCore&, Condition&& condition) {
    bench::SpinUntil([&] { return !condition(); });
  }
};

struct Waiting {
  template <typename Condition>
  static void While(JobCore& core, Condition&& condition) {
    if (!AioWaitWhileUnlocked(core, condition, {.name = "bench"}).ok()) std::abort();
  }
};

template <typename Monitor, bool kIsInternal, const Nanoseconds& kPoll>
void PauseResume(benchmark::State& state) {
  MainLoop main(kPoll);
  OtherLoop other(kPoll);
  JobCore core({.main_context = main.shared()});
  std::atomic<uint64_t> resumptions{0};
  const JobRef job =
      *CreateJob(core, {.id = kIsInternal ? "" : "bench", .context = &other.context(), .internal = kIsInternal},
                 std::make_unique<Yielder>(core, resumptions));
  if (!StartJob(*job).ok()) std::abort();
  other.Call([] {});  // comes after the job's first step: it yields
  uint64_t rounds = 0;
  for (auto _ : state) {
    {
      JobLock lock(core);
      if (!monitor::Pause(*job).ok()) std::abort();
    }
    Monitor::While(core, [&] { return !job->parked(); });
    {
      JobLock lock(core);
      if (!monitor::Resume(*job).ok()) std::abort();
    }
    ++rounds;
    Monitor::While(core, [&] { return resumptions.load(std::memory_order_acquire) != rounds; });
  }
  if (!monitor::CancelAndWait(job).ok()) std::abort();
}

#define JOBCORE_BENCH_CASES(MONITOR)                                                  \
  BENCHMARK(PauseResume<MONITOR, kInternal, kPolling>)->UseRealTime()->MinTime(0.2);  \
  BENCHMARK(PauseResume<MONITOR, kNamed, kPolling>)->UseRealTime()->MinTime(0.2);     \
  BENCHMARK(PauseResume<MONITOR, kInternal, kBlocking>)->UseRealTime()->MinTime(0.2); \
  BENCHMARK(PauseResume<MONITOR, kNamed, kBlocking>)->UseRealTime()->MinTime(0.2)

JOBCORE_BENCH_CASES(Spinning);
JOBCORE_BENCH_CASES(Waiting);

BENCHMARK(bench::RoundTrip<bench::CacheLineEcho>)->UseRealTime()->MinTime(0.1);
BENCHMARK(bench::RoundTrip<bench::EventfdEpollEcho>)->UseRealTime()->MinTime(0.2);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
