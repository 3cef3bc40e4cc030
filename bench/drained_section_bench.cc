// SPDX-License-Identifier: Apache-2.0
//
// What does it cost to let a node stand still? A section over it is opened and ended, with 0, 1 and 64 requests in
// flight, all in one thread. A request takes one turn of the loop, so what is measured is the section's own work and
// the turns that requests take to come to their end, not a device: with one, the device's latency comes on top.
//
//   entry_ns   from asking for the section until nothing is in flight
//   exit_ns    from its end until all that was parked is in flight again
//
// Control: the same requests for one turn of the loop, which nobody drains. qemu-storage-daemon has the same thing
// (bdrv_drained_begin and _end), but no command that does nothing else.

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "benchmark/benchmark.h"
#include "block/delay.h"
#include "job-common/job_core.h"
#include "job-driver/block/node_edge.h"
#include "job-driver/block/null_node.h"
#include "job-driver/resource.h"
#include "two_threads.h"

namespace jobcore::bench {
namespace {

constexpr Nanoseconds kOneTurn{1};

class Requests {
 public:
  Requests(JobCore& core, size_t count)
      : count_(count),
        node_(*block::MakeNullNode(core, {.node = {.name = "disk"}, .latency = kOneTurn})),
        edge_(*block::NodeEdge::Attach(node_, {.user = "bench", .writes = true})) {
    for (size_t i = 0; i < count; ++i) Spawn("requests", MakeThem());
  }
  Resource& resource() { return node_->resource(); }
  size_t made() const { return made_; }
  Co<void> AllInFlight() {
    while (resource().in_flight() < count_) co_await block::Delay(kOneTurn);
  }
  Co<void> Stop() {
    stop_ = true;
    while (ended_ < count_) co_await block::Delay(kOneTurn);
  }

 private:
  Co<void> MakeThem() {
    while (!stop_) {
      const block::NodeWrite zeros = {.kind = block::NodeWrite::Kind::kZeroes, .offset = 0, .length = 4096};
      const int error = co_await edge_->Change(zeros);
      if (error != 0) std::abort();
      ++made_;
    }
    ++ended_;
  }

  const size_t count_;
  const std::shared_ptr<block::Node> node_;
  const std::unique_ptr<block::NodeEdge> edge_;
  bool stop_ = false;
  size_t made_ = 0;
  size_t ended_ = 0;
};

double SecondsBetween(BenchClock::time_point from, BenchClock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

Co<void> OpenAndEnd(benchmark::State& state, Requests& requests, bool& done) {
  Resource* const resources[] = {&requests.resource()};
  double entry = 0;
  double exit = 0;
  for (auto _ : state) {
    const auto start = BenchClock::now();
    absl::StatusOr<DrainedSection> section = co_await DrainedSection::Open(resources, {.name = "bench"});
    if (!section.ok() || requests.resource().in_flight() != 0) std::abort();
    const auto drained = BenchClock::now();
    section->End();
    co_await requests.AllInFlight();
    const auto end = BenchClock::now();
    state.SetIterationTime(SecondsBetween(start, end));
    entry += SecondsBetween(start, drained);
    exit += SecondsBetween(drained, end);
  }
  const auto sections = static_cast<double>(state.iterations());
  state.counters["entry_ns"] = entry * 1e9 / sections;
  state.counters["exit_ns"] = exit * 1e9 / sections;
  co_await requests.Stop();
  done = true;
}

Co<void> OneTurn(benchmark::State& state, Requests& requests, bool& done) {
  for (auto _ : state) {
    const size_t before = requests.made();
    const auto start = BenchClock::now();
    co_await block::Delay(kOneTurn);
    state.SetIterationTime(SecondsBetween(start, BenchClock::now()));
    benchmark::DoNotOptimize(requests.made() - before);
  }
  co_await requests.Stop();
  done = true;
}

using Measured = Co<void> (*)(benchmark::State&, Requests&, bool&);

void Run(benchmark::State& state, Measured measured) {
  MainLoop main(kBlocking);
  JobCore core({.main_context = main.shared()});
  {
    std::unique_ptr<Requests> requests;
    bool done = false;
    main.context().Post("bench", [&] {
      requests = std::make_unique<Requests>(core, static_cast<size_t>(state.range(0)));
      Spawn("bench", measured(state, *requests, done));
    });
    main.RunUntil([&] { return done; });
  }
}

void Section(benchmark::State& state) { Run(state, &OpenAndEnd); }
void Turn(benchmark::State& state) { Run(state, &OneTurn); }

BENCHMARK(Section)->Arg(0)->Arg(1)->Arg(64)->ArgName("in_flight")->UseManualTime()->MinTime(0.2);
BENCHMARK(Turn)->Arg(0)->Arg(1)->Arg(64)->ArgName("in_flight")->UseManualTime()->MinTime(0.2);

}  // namespace
}  // namespace jobcore::bench

BENCHMARK_MAIN();
