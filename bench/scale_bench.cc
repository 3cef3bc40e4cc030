// SPDX-License-Identifier: Apache-2.0
//
// What a great many jobs cost: created, started and come to rest (in a yield of Run, or parked by the user's pause),
// then all cancelled and gone. How long each takes, and how much memory a job at rest needs all told: of the process
// (resident), and of the heap. Control: as many blocks of 512 bytes, allocated, written and freed.

#include <malloc.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"
#include "job_bench.h"

namespace jobcore::bench {
namespace {

class Yields final : public JobDriver {
 public:
  Yields(int64_t& alive, int64_t& at_rest) : alive_(alive), at_rest_(at_rest) { ++alive_; }
  ~Yields() override { --alive_; }
  std::string_view type() const override { return "yields"; }
  Co<absl::Status> Run(JobContext& job) override {
    ++at_rest_;
    for (;;) {
      if (absl::Status status = co_await job.Yield(); !status.ok()) co_return status;
    }
  }

 private:
  int64_t& alive_;
  int64_t& at_rest_;
};

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

double ResidentBytes() {
  long total = 0;
  long resident = 0;
  std::FILE* const statm = std::fopen("/proc/self/statm", "r");
  if (statm == nullptr || std::fscanf(statm, "%ld %ld", &total, &resident) != 2) std::abort();
  std::fclose(statm);
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double HeapBytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

enum class Rest { kYield, kPaused };

void Scale(benchmark::State& state, Rest rest) {
  const int64_t count = state.range(0);
  double created = 0;
  double gone = 0;
  for (auto _ : state) {
    malloc_trim(0);
    World world(Place::kMain, /*history_count=*/0);
    const double resident = ResidentBytes();
    const double heap = HeapBytes();
    int64_t alive = 0;
    int64_t at_rest = 0;
    JobSpec spec;

    auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < count; ++i) {
      spec.id = absl::StrCat("job-", i);
      const JobRef job = *CreateJob(world.core(), spec, std::make_unique<Yields>(alive, at_rest));
      if (!StartJob(*job).ok()) std::abort();
    }
    while (at_rest != count) world.main().RunOnce(/*may_block=*/true);
    if (rest == Rest::kPaused) {
      for (int64_t i = 0; i < count; ++i) {
        spec.id = absl::StrCat("job-", i);
        JobLock lock(world.core());
        if (!monitor::Pause(*monitor::Find(world.core(), spec.id)).ok()) std::abort();
      }
      world.main().RunOnce(/*may_block=*/false);
    }
    created = Seconds(start);
    state.counters["resident_B"] = (ResidentBytes() - resident) / static_cast<double>(count);
    state.counters["heap_B"] = (HeapBytes() - heap) / static_cast<double>(count);

    start = std::chrono::steady_clock::now();
    (void)monitor::CancelAll(world.core());
    while (alive != 0) world.main().RunOnce(/*may_block=*/true);
    gone = Seconds(start);
    state.SetIterationTime(created + gone);
  }
  state.counters["created_s"] = created;
  state.counters["gone_s"] = gone;
}

void ControlBlocks(benchmark::State& state) {
  for (auto _ : state) {
    malloc_trim(0);
    std::vector<std::unique_ptr<char[]>> blocks;
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < state.range(0); ++i) {
      blocks.push_back(std::make_unique<char[]>(512));
      benchmark::DoNotOptimize(blocks.back().get());
    }
    blocks.clear();
    state.SetIterationTime(Seconds(start));
  }
}

void Configure(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("jobs")->Iterations(1)->UseManualTime()->Unit(benchmark::kMillisecond);
}

const bool registered = [] {
  for (const int64_t count : {1'000, 10'000, 100'000, 1'000'000}) {
    for (const auto& [name, rest] : {std::pair{"Scale/yielding", Rest::kYield}, {"Scale/paused", Rest::kPaused}}) {
      Configure(benchmark::RegisterBenchmark(name, [rest = rest](benchmark::State& state) {
                  Scale(state, rest);
                })->Arg(count));
    }
  }
  Configure(benchmark::RegisterBenchmark("Control/blocks_of_512", &ControlBlocks)->Arg(1'000'000));
  RegisterControls();
  return true;
}();

}  // namespace
}  // namespace jobcore::bench

BENCHMARK_MAIN();
