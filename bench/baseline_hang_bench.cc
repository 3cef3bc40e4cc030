// SPDX-License-Identifier: Apache-2.0
//
// Why the lock around a context could not stay, were it ever so fast: a wait under it hangs. AIO_WAIT_WHILE releases
// the lock of the context that it waits for once. The lock is recursive; whoever has acquired it twice (a transaction
// of two actions on drives of one I/O thread did) keeps it, the I/O thread never gets it, and what is waited for never
// happens. That was found by users, in 2017, and answered by care in the callers.
//
// Measured: from the wait's beginning until it ends. depth:1 and jobcore's wait for the same thing are the controls.
// At depth 2 the benchmark gives up at a deadline that the original did not have; the time is that deadline, and
// `hangs` is 1.
//
// jobcore has no row for depth 2, for it cannot be written: AioWaitWhileUnlocked with job_mutex held is an error at
// compile time under -Wthread-safety (tests/compile_fail/wait_with_lock.cc) and ends the process otherwise, and
// job_mutex is not recursive (lock_twice.cc there).

#include <atomic>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "baseline/context_lock.h"
#include "baseline/locked_jobs.h"
#include "benchmark/benchmark.h"
#include "contention/loop_turn.h"
#include "job-common/aio_context.h"
#include "job-common/aio_wait.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_wait.h"

namespace jobcore {
namespace {

using BenchClock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr auto kPatience = std::chrono::seconds(1);

// Runs in the I/O thread, from one turn of the loop to the next, until it is told to finish.
class LockedTurner final : public baseline::LockedDriver {
 public:
  LockedTurner(const std::atomic<bool>& finish, std::atomic<bool>& finished, baseline::MainWait& wait)
      : finish_(finish), finished_(finished), wait_(wait) {}

  Co<void> Run(baseline::LockedJob& job) override {
    contention::LoopTurn turn(job.context().loop(), Nanoseconds::zero(), &job.context().lock());
    while (!finish_.load()) co_await turn.Next();
    finished_.store(true);
    wait_.Kick();
  }

 private:
  const std::atomic<bool>& finish_;
  std::atomic<bool>& finished_;
  baseline::MainWait& wait_;
};

void AioWaitWhileUnderTheContextLock(benchmark::State& state) {
  const int64_t depth = state.range(0);
  const std::shared_ptr<AioContext> main = AioContext::Create({});
  const AioHome home(*main);
  baseline::MainWait wait(*main);
  IOThread io("io0");
  baseline::LockedContext context(io.context(), baseline::ContextLock::Kind::kAsItWas);
  bool hung = false;
  for (auto _ : state) {
    std::atomic<bool> finish{false};
    std::atomic<bool> finished{false};
    baseline::LockedJobs jobs;  // destroyed first: waits for the end of the job
    jobs.Start("job0", context, std::make_unique<LockedTurner>(finish, finished, wait));
    for (int64_t i = 0; i < depth; ++i) context.lock().lock();
    finish.store(true);
    const BenchClock::time_point start = BenchClock::now();
    const bool in_time =
        wait.WaitWhile(context, [&] { return !finished.load(); }, SaturatingAdd(main->clock().Now(), kPatience));
    state.SetIterationTime(Seconds(BenchClock::now() - start).count());
    hung = hung || !in_time;
    for (int64_t i = 0; i < depth; ++i) context.lock().unlock();
  }
  state.counters["hangs"] = hung ? 1 : 0;
  if (hung) state.SetLabel("hangs: the time is when we gave up");
}
BENCHMARK(AioWaitWhileUnderTheContextLock)->ArgName("depth")->Arg(1)->UseManualTime()->Iterations(200);
BENCHMARK(AioWaitWhileUnderTheContextLock)->ArgName("depth")->Arg(2)->UseManualTime()->Iterations(1);

class Turner final : public JobDriver {
 public:
  explicit Turner(const std::atomic<bool>& finish) : finish_(finish) {}

  Co<absl::Status> Run(JobContext& job) override {
    contention::LoopTurn turn(job.context(), Nanoseconds::zero(), /*lock=*/nullptr);
    while (!finish_.load()) co_await turn.Next();
    co_return absl::OkStatus();
  }

 private:
  const std::atomic<bool>& finish_;
};

// Until the job has concluded, which takes a callback in the main context more than the wait above.
void JobcoreWait(benchmark::State& state) {
  JobCore core;
  IOThread io("io0");
  for (auto _ : state) {
    std::atomic<bool> finish{false};
    const JobRef job = *CreateJob(core, {.id = "job0", .context = &io.context()}, std::make_unique<Turner>(finish));
    if (!StartJob(*job).ok()) state.SkipWithError("the job was not started");
    finish.store(true);
    const BenchClock::time_point start = BenchClock::now();
    if (!monitor::WaitFor(job).ok()) state.SkipWithError("the job did not succeed");
    state.SetIterationTime(Seconds(BenchClock::now() - start).count());
  }
  state.counters["hangs"] = 0;
  state.SetLabel("cannot be written with job_mutex held");
}
BENCHMARK(JobcoreWait)->UseManualTime()->Iterations(200);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
