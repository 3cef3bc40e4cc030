// SPDX-License-Identifier: Apache-2.0
//
// Does it cost more to create a job where there are many? CreateJob in a core with 10, 10,000 and 1,000,000 jobs that
// have not been started. Jobs are created a page at a time, and abandoned outside of the measured time. Control: a
// driver and two blocks of the size of a job are allocated and freed.

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "job_bench.h"

namespace jobcore::bench {
namespace {

constexpr int64_t kPage = 64;

void Create(benchmark::State& state) {
  World world(Place::kMain, /*history_count=*/0);
  int64_t alive = 0;
  JobSpec spec;
  std::vector<JobRef> jobs;
  for (int64_t i = 0; i < state.range(0); ++i) {
    spec.id = absl::StrCat("standing-", i);
    jobs.push_back(*CreateJob(world.core(), spec, std::make_unique<Trivial>(alive)));
  }
  const std::vector<std::string> ids = Ids(kPage);
  std::vector<JobRef> page;
  page.reserve(kPage);
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& id : ids) {
      spec.id = id;
      page.push_back(*CreateJob(world.core(), spec, std::make_unique<Trivial>(alive)));
    }
    state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    for (const JobRef& job : page) {
      if (!AbandonJob(*job).ok()) std::abort();
    }
    page.clear();
    world.main().RunOnce(/*may_block=*/false);
  }
  state.SetItemsProcessed(state.iterations() * kPage);
  state.counters["per_job"] = benchmark::Counter(static_cast<double>(state.iterations() * kPage),
                                                 benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  for (const JobRef& job : jobs) {
    if (!AbandonJob(*job).ok()) std::abort();
  }
}

const bool registered = [] {
  benchmark::RegisterBenchmark("Create", &Create)
      ->Arg(10)
      ->Arg(10'000)
      ->Arg(1'000'000)
      ->ArgName("existing")
      ->MinTime(0.02)
      ->UseManualTime();
  RegisterControls();
  return true;
}();

}  // namespace
}  // namespace jobcore::bench

BENCHMARK_MAIN();
