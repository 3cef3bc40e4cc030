// SPDX-License-Identifier: Apache-2.0
//
// What a pause point costs a job of which nobody wants anything: co_await PausePoint() in the loop of a
// running job. Controls, in the same place: a relaxed load and a branch, which is what a pause point boils
// down to, and a co_await of something ready that yields a Status, which is what the language adds to it.

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "benchmark/benchmark.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_wait.h"

namespace jobcore {
namespace {

constexpr int64_t kPoints = 1000;  // per iteration

struct ReadyStatus {
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  absl::Status await_resume() const { return absl::OkStatus(); }
};

class PausePoints final : public JobDriver {
 public:
  explicit PausePoints(benchmark::State& state) : state_(state) {}
  Co<absl::Status> Run(JobContext& job) override {
    for (auto _ : state_) {
      for (int64_t i = 0; i < kPoints; ++i) {
        if (absl::Status status = co_await job.PausePoint(); !status.ok()) co_return status;
      }
    }
    co_return absl::OkStatus();
  }

 private:
  benchmark::State& state_;
};

class LoadAndBranch final : public JobDriver {
 public:
  explicit LoadAndBranch(benchmark::State& state) : state_(state) {}
  Co<absl::Status> Run(JobContext&) override {
    for (auto _ : state_) {
      for (int64_t i = 0; i < kPoints; ++i) {
        if (word_.load(std::memory_order_relaxed) != 0) co_return absl::CancelledError();
        benchmark::ClobberMemory();
      }
    }
    co_return absl::OkStatus();
  }

 private:
  benchmark::State& state_;
  std::atomic<uint32_t> word_{0};
};

class ReadyAwait final : public JobDriver {
 public:
  explicit ReadyAwait(benchmark::State& state) : state_(state) {}
  Co<absl::Status> Run(JobContext&) override {
    for (auto _ : state_) {
      for (int64_t i = 0; i < kPoints; ++i) {
        if (absl::Status status = co_await ReadyStatus(); !status.ok()) co_return status;
        benchmark::ClobberMemory();
      }
    }
    co_return absl::OkStatus();
  }

 private:
  benchmark::State& state_;
};

template <typename Driver>
void InAJob(benchmark::State& state) {
  JobCore core;
  const JobRef job = *CreateJob(core, {.id = "bench"}, std::make_unique<Driver>(state));
  if (!StartJob(*job).ok() || !monitor::WaitFor(job).ok()) state.SkipWithError("the job did not run");
  state.SetItemsProcessed(state.iterations() * kPoints);
  state.counters["per_point"] = benchmark::Counter(static_cast<double>(state.iterations() * kPoints),
                                                   benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

BENCHMARK(InAJob<LoadAndBranch>);
BENCHMARK(InAJob<ReadyAwait>);
BENCHMARK(InAJob<PausePoints>);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
