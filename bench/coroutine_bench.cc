// SPDX-License-Identifier: Apache-2.0
//
// What coroutines and the suspensions of a job cost, within one thread:
//
//   AwaitEmpty       co_await of a coroutine that does nothing: its frame made, run, destroyed
//   SpawnEmpty       the same, started by plain code as a chain of its own
//   YieldAndEnter    jobs yield, are woken by Enter, and go on: so many per turn of the loop
//   YieldWokenBefore a yield that finds a wake-up: it does not suspend
//   SleepZero        a job's Sleep(0): once around the queue of its loop, the main one or an I/O thread's
//   TimerArmDisarm   a timer armed and disarmed, beside others that stay armed
// Control: malloc + free of 128 bytes.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "benchmark/benchmark.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_wait.h"
#include "two_threads.h"

namespace jobcore {
namespace {

constexpr int64_t kBatch = 1000;

void MallocFree(benchmark::State& state) {
  for (auto _ : state) {
    void* memory = std::malloc(128);
    benchmark::DoNotOptimize(memory);
    std::free(memory);
  }
}
BENCHMARK(MallocFree)->MinTime(0.1);

// --- Coroutines ---

Co<void> Empty(int64_t& count) {
  ++count;
  co_return;
}

// Google Benchmark's loop runs inside of the coroutine, so that nothing but awaits is measured.
Co<void> AwaitMany(benchmark::State& state, int64_t& count) {
  for (auto _ : state) {
    for (int64_t i = 0; i < kBatch; ++i) co_await Empty(count);
  }
}

void AwaitEmpty(benchmark::State& state) {
  const bench::MainLoop main(bench::kBlocking);
  int64_t count = 0;
  Spawn("bench", AwaitMany(state, count));
  state.SetItemsProcessed(count);
}
BENCHMARK(AwaitEmpty)->MinTime(0.1);

void SpawnEmpty(benchmark::State& state) {
  const bench::MainLoop main(bench::kBlocking);
  int64_t count = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < kBatch; ++i) Spawn("bench", Empty(count));
  }
  state.SetItemsProcessed(count);
}
BENCHMARK(SpawnEmpty)->MinTime(0.1);

// As the loop runs them: from a callback, where time stands still.
void SpawnEmptyInCallback(benchmark::State& state) {
  const bench::MainLoop main(bench::kBlocking);
  int64_t count = 0;
  main.context().Post("bench", [&] {
    for (auto _ : state) {
      for (int64_t i = 0; i < kBatch; ++i) Spawn("bench", Empty(count));
    }
  });
  main.context().RunOnce(/*may_block=*/true);
  state.SetItemsProcessed(count);
}
BENCHMARK(SpawnEmptyInCallback)->MinTime(0.1);

// --- Jobs ---

class Yielder final : public JobDriver {
 public:
  explicit Yielder(int64_t& yields) : yields_(yields) {}
  Co<absl::Status> Run(JobContext& job) override {
    for (;;) {
      if (absl::Status status = co_await job.Yield(); !status.ok()) co_return status;
      ++yields_;
    }
  }

 private:
  int64_t& yields_;
};

// range(0) jobs are woken per turn of the loop, which is part of what is measured.
void YieldAndEnter(benchmark::State& state) {
  bench::PinTo(bench::kMainCpu);
  JobCore core;
  int64_t yields = 0;
  std::vector<JobRef> jobs;
  for (int64_t i = 0; i < state.range(0); ++i) {
    jobs.push_back(*CreateJob(core, {.internal = true}, std::make_unique<Yielder>(yields)));
    if (!StartJob(*jobs.back()).ok()) std::abort();
  }
  AioContext& main = core.main_context();
  main.RunOnce(/*may_block=*/true);
  for (auto _ : state) {
    for (const JobRef& job : jobs) Enter(*job);
    main.RunOnce(/*may_block=*/true);
  }
  state.SetItemsProcessed(yields);
  for (const JobRef& job : jobs) {
    if (!monitor::CancelAndWait(job).ok()) std::abort();
  }
}
BENCHMARK(YieldAndEnter)->Arg(1)->Arg(64)->MinTime(0.1);

// Wakes itself first, so that it does not suspend: what a yield alone costs.
class SelfWaker final : public JobDriver {
 public:
  explicit SelfWaker(benchmark::State& state) : state_(state) {}
  Co<absl::Status> Run(JobContext& job) override {
    for (auto _ : state_) {
      for (int64_t i = 0; i < kBatch; ++i) {
        Enter(job.job());
        if (absl::Status status = co_await job.Yield(); !status.ok()) co_return status;
      }
    }
    co_return absl::OkStatus();
  }

 private:
  benchmark::State& state_;
};

class ZeroSleeper final : public JobDriver {
 public:
  ZeroSleeper(benchmark::State& state, std::atomic<bool>& done) : state_(state), done_(done) {}
  Co<absl::Status> Run(JobContext& job) override {
    for (auto _ : state_) {
      for (int64_t i = 0; i < kBatch; ++i) {
        if (absl::Status status = co_await job.Sleep(Nanoseconds(0)); !status.ok()) co_return status;
      }
    }
    done_.store(true, std::memory_order_release);
    co_return absl::OkStatus();
  }

 private:
  benchmark::State& state_;
  std::atomic<bool>& done_;
};

void SleepZeroInMainLoop(benchmark::State& state) {
  bench::PinTo(bench::kMainCpu);
  JobCore core;
  std::atomic<bool> done{false};
  const JobRef job = *CreateJob(core, {.internal = true}, std::make_unique<ZeroSleeper>(state, done));
  if (!StartJob(*job).ok()) std::abort();
  while (!done.load(std::memory_order_relaxed)) core.main_context().RunOnce(/*may_block=*/true);
  if (!monitor::WaitFor(job).ok()) std::abort();
  state.SetItemsProcessed(state.iterations() * kBatch);
}

void SleepZeroInIOThread(benchmark::State& state) {
  bench::PinTo(bench::kMainCpu);
  bench::OtherLoop io(bench::kBlocking);
  JobCore core;
  std::atomic<bool> done{false};
  const JobRef job =
      *CreateJob(core, {.context = &io.context(), .internal = true}, std::make_unique<ZeroSleeper>(state, done));
  if (!StartJob(*job).ok() || !monitor::WaitFor(job).ok()) std::abort();
  state.SetItemsProcessed(state.iterations() * kBatch);
}
// By the clock on the wall: the other thread is the one that works.
BENCHMARK(SleepZeroInMainLoop)->UseRealTime()->MinTime(0.1);
BENCHMARK(SleepZeroInIOThread)->UseRealTime()->MinTime(0.1);

void YieldWokenBefore(benchmark::State& state) {
  JobCore core;
  const JobRef job = *CreateJob(core, {.internal = true}, std::make_unique<SelfWaker>(state));
  if (!StartJob(*job).ok() || !monitor::WaitFor(job).ok()) std::abort();
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(YieldWokenBefore)->MinTime(0.1);

// --- Timers ---

void TimerArmDisarm(benchmark::State& state) {
  const bench::MainLoop main(bench::kBlocking);
  const TimePoint far = main.context().clock().Now() + std::chrono::hours(1);
  std::vector<std::unique_ptr<AioTimer>> others;
  for (int64_t i = 0; i < state.range(0); ++i) {
    others.push_back(std::make_unique<AioTimer>(main.context(), "other", [] {}));
    others.back()->ArmAt(far + std::chrono::milliseconds(i * 7919 % 10'007));
  }
  AioTimer timer(main.context(), "bench", [] {});
  for (auto _ : state) {
    timer.ArmAt(far);
    timer.Disarm();
  }
}
BENCHMARK(TimerArmDisarm)->Arg(0)->Arg(1000)->MinTime(0.1);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
