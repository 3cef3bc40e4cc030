// SPDX-License-Identifier: Apache-2.0
//
// What a pause point costs a job of which nobody wants anything: co_await PausePoint() in the loop of a
// running job. Controls, in the same place: a relaxed load and a branch, which is what a pause point boils
// down to, and a co_await of something ready that yields a Status, which is what the language adds to it.
//
// And what does it cost while a monitor looks at all jobs, again and again (InAThread: the job in an I/O thread on
// CPU 1, the monitor on CPU 0; all other jobs are parked)? Queries: all pages. Walks: takes the mutex for a walk that
// takes nothing but the status. Alone: the same without the monitor.

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "benchmark/benchmark.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"
#include "job/job_ops.h"
#include "watched_jobs.h"

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

// --- Beside a monitor ---

using BenchClock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// Passes so many pause points whenever it is told to, and times them.
class Racer final : public JobDriver {
 public:
  static constexpr int64_t kPoints = 5'000'000;
  struct Track {
    alignas(64) std::atomic<int> laps_wanted{0};
    alignas(64) std::atomic<int> laps_done{0};
    Seconds lap{};
  };

  explicit Racer(Track& track) : track_(track) {}
  Co<absl::Status> Run(JobContext& job) override {
    for (int lap = 1;; ++lap) {
      while (track_.laps_wanted.load(std::memory_order_acquire) < lap) {
        if (job.force_cancelled()) co_return absl::CancelledError();
      }
      const BenchClock::time_point start = BenchClock::now();
      for (int64_t i = 0; i < kPoints; ++i) {
        if (absl::Status status = co_await job.PausePoint(); !status.ok()) co_return status;
      }
      track_.lap = BenchClock::now() - start;
      track_.laps_done.store(lap, std::memory_order_release);
    }
  }

 private:
  Track& track_;
};

struct Idles {
  void operator()(JobCore&) {}
};

struct Queries {
  void operator()(JobCore& core) {
    monitor::QueryCursor cursor;
    do {
      JobLock lock(core);
      monitor::QueryPage(core, cursor, page);
      benchmark::DoNotOptimize(page.data());
    } while (page.size() == monitor::kMaxPage);
  }
  std::vector<monitor::JobInfo> page;
};

struct Walks {
  void operator()(JobCore& core) {
    JobLock lock(core);
    JobOps::VisitAfter(core, 0, SIZE_MAX, [](Job& job) { benchmark::DoNotOptimize(job.status()); });
  }
};

template <typename Monitor>
void InAThread(benchmark::State& state) {
  Racer::Track track;
  bench::WatchedJobs jobs(state.range(0) - 1, bench::Condition::kParked);
  const JobRef racer = jobs.Create("racer", std::make_unique<Racer>(track));
  if (!StartJob(*racer).ok()) std::abort();
  Monitor monitor;
  int laps = 0;
  double looks = 0;
  Seconds looking{};
  for (auto _ : state) {
    track.laps_wanted.store(++laps, std::memory_order_release);
    const BenchClock::time_point start = BenchClock::now();
    for (; track.laps_done.load(std::memory_order_acquire) < laps; ++looks) monitor(jobs.core());
    looking += BenchClock::now() - start;
    state.SetIterationTime(track.lap.count());
  }
  (void)monitor::CancelAndWait(racer);
  state.counters["per_point"] = benchmark::Counter(static_cast<double>(state.iterations() * Racer::kPoints),
                                                   benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["looks_per_s"] = looks / looking.count();
}

void Counts(benchmark::internal::Benchmark* bench) {
  for (const int64_t count : {1, 100, 1000}) bench->Arg(count);
  bench->UseManualTime()->MinTime(0.2);
}

BENCHMARK(InAThread<Idles>)->Apply(Counts);
BENCHMARK(InAThread<Queries>)->Apply(Counts);
BENCHMARK(InAThread<Walks>)->Apply(Counts);
BENCHMARK(InAJob<LoadAndBranch>);
BENCHMARK(InAJob<ReadyAwait>);
BENCHMARK(InAJob<PausePoints>);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
