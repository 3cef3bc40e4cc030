// SPDX-License-Identifier: Apache-2.0
//
// What the whole life of a job costs that does nothing: create, start, run, WAITING, PENDING, CONCLUDED, NULL, and
// its destruction, with an observer that gets its six events. One job at a time, and in batches of 64; in the main
// context, and in an I/O thread on another CPU. Variants: an internal job, which has no id and no events; no history.
// Controls, to give the figures as ratios: a malloc and free, a clock read, a lock and unlock.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "job_bench.h"

namespace jobcore::bench {
namespace {

constexpr int64_t kEventsOfALife = 6;

enum class Kind { kNamed, kInternal, kNoHistory };

void Life(benchmark::State& state, Place place, Kind kind) {
  const int64_t batch = state.range(0);
  World world(place, kind == Kind::kNoHistory ? 0 : JobCore::Options().history_count);
  const Events events(world);
  const std::vector<std::string> ids = Ids(batch);
  JobSpec spec;
  spec.context = &world.home();
  spec.internal = kind == Kind::kInternal;
  int64_t alive = 0;
  int64_t events_due = 0;
  for (auto _ : state) {
    for (const std::string& id : ids) {
      if (!spec.internal) spec.id = id;
      const absl::StatusOr<JobRef> job = CreateJob(world.core(), spec, std::make_unique<Trivial>(alive));
      if (!job.ok() || !StartJob(**job).ok()) std::abort();
    }
    if (!spec.internal) events_due += batch * kEventsOfALife;
    while (alive != 0 || events.seen() < events_due) world.main().RunOnce(/*may_block=*/true);
  }
  state.SetItemsProcessed(state.iterations() * batch);
  state.counters["per_job"] = benchmark::Counter(static_cast<double>(state.iterations() * batch),
                                                 benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void Register(const char* name, Place place, Kind kind) {
  benchmark::RegisterBenchmark(name, [=](benchmark::State& state) { Life(state, place, kind); })
      ->Arg(1)
      ->Arg(64)
      ->ArgName("batch")
      ->MinTime(0.2)
      ->UseRealTime();
}

const bool registered = [] {
  Register("Life/main", Place::kMain, Kind::kNamed);
  Register("Life/main/internal", Place::kMain, Kind::kInternal);
  Register("Life/main/no_history", Place::kMain, Kind::kNoHistory);
  Register("Life/iothread/polling", Place::kPolling, Kind::kNamed);
  Register("Life/iothread/polling/internal", Place::kPolling, Kind::kInternal);
  Register("Life/iothread/blocking", Place::kBlocking, Kind::kNamed);
  RegisterControls();
  return true;
}();

}  // namespace
}  // namespace jobcore::bench

BENCHMARK_MAIN();
