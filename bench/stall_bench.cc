// SPDX-License-Identifier: Apache-2.0
//
// For how long can a monitor that does nothing but query 10,000 jobs, again and again, hold up a driver? The driver
// calls JobContext::Ready, which takes the job mutex, every 10 us, and times each call. Controls, in the same program:
// the same loop without the call (what the machine itself does to a thread), and the call without the monitor.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "benchmark/benchmark.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"
#include "watched_jobs.h"

namespace jobcore {
namespace {

using BenchClock = std::chrono::steady_clock;
using Micros = std::chrono::duration<double, std::micro>;

constexpr size_t kJobs = 10000;
constexpr size_t kCalls = 50000;
constexpr auto kBetween = std::chrono::microseconds(10);

enum class Call { kNone, kReady };
enum class Monitor { kIdle, kQueries };

class Caller final : public JobDriver {
 public:
  Caller(Call call, std::vector<double>& times, std::atomic<bool>& done) : call_(call), times_(times), done_(done) {}
  Co<absl::Status> Run(JobContext& job) override {
    for (size_t i = 0; i < kCalls; ++i) {
      const BenchClock::time_point from = BenchClock::now();
      if (call_ == Call::kReady) job.Ready();
      const BenchClock::time_point to = BenchClock::now();
      times_.push_back(Micros(to - from).count());
      while (BenchClock::now() - to < kBetween) {
      }
    }
    done_.store(true, std::memory_order_release);
    co_return absl::OkStatus();
  }

 private:
  const Call call_;
  std::vector<double>& times_;
  std::atomic<bool>& done_;
};

template <Call call, Monitor monitor>
void Stall(benchmark::State& state) {
  static bench::WatchedJobs& jobs = *new bench::WatchedJobs(kJobs, bench::Condition::kYielding);
  std::vector<double> times;
  times.reserve(kCalls);
  std::vector<monitor::JobInfo> infos;
  size_t queries = 0;
  for (auto _ : state) {
    std::atomic<bool> done{false};
    const JobRef job = jobs.Create("caller", std::make_unique<Caller>(call, times, done));
    if (!StartJob(*job).ok()) std::abort();
    while (!done.load(std::memory_order_acquire)) {
      if (monitor == Monitor::kIdle) continue;
      monitor::SnapshotJobs(jobs.core(), infos);
      benchmark::DoNotOptimize(infos.data());
      ++queries;
    }
    // It is READY, and has to be asked to end, unless it ended by itself.
    (void)monitor::CancelAndWait(job);
  }
  std::sort(times.begin(), times.end());
  const auto quantile = [&times](double part) { return times[static_cast<size_t>(part * (times.size() - 1))]; };
  state.counters["p50_us"] = quantile(0.5);
  state.counters["p99_us"] = quantile(0.99);
  state.counters["p99.9_us"] = quantile(0.999);
  state.counters["max_us"] = quantile(1);
  state.counters["queries"] = static_cast<double>(queries);
}

#define JOBCORE_BENCH(call, monitor) \
  BENCHMARK(Stall<call, monitor>)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond)

JOBCORE_BENCH(Call::kNone, Monitor::kIdle);
JOBCORE_BENCH(Call::kNone, Monitor::kQueries);
JOBCORE_BENCH(Call::kReady, Monitor::kIdle);
JOBCORE_BENCH(Call::kReady, Monitor::kQueries);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
