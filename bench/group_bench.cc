// SPDX-License-Identifier: Apache-2.0
//
// What a group costs, from the making of its builder to the destruction of its last member: 2, 8 and 64 members that
// do nothing, with an observer of their events; all succeed, or the last one fails, which cancels those that have not
// finished. Controls as in life_bench.cc.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "job-common/job_txn.h"
#include "job_bench.h"

namespace jobcore::bench {
namespace {

// Created, running, then waiting, pending or aborting, then concluded, null: how many in all depends on who was first.
bool AllSeen(World& world, const Events& events) {
  JobLock lock(world.core());
  return static_cast<uint64_t>(events.seen()) == world.core().last_event();
}

void Group(benchmark::State& state, Place place, bool fails) {
  const int64_t size = state.range(0);
  World world(place, JobCore::Options().history_count);
  const Events events(world);
  const std::vector<std::string> ids = Ids(size);
  int64_t alive = 0;
  for (auto _ : state) {
    JobTxnBuilder group(world.core());
    std::vector<JobRef> jobs;
    jobs.reserve(ids.size());
    JobSpec spec;
    spec.context = &world.home();
    spec.group = &group;
    for (const std::string& id : ids) {
      spec.id = id;
      absl::StatusOr<JobRef> job =
          CreateJob(world.core(), spec, std::make_unique<Trivial>(alive, fails && &id == &ids.back()));
      if (!job.ok()) std::abort();
      jobs.push_back(*std::move(job));
    }
    if (!group.Seal().ok()) std::abort();
    for (const JobRef& job : jobs) (void)StartJob(*job);  // refused if the group has failed meanwhile
    jobs.clear();
    while (alive != 0 || !AllSeen(world, events)) world.main().RunOnce(/*may_block=*/true);
  }
  state.SetItemsProcessed(state.iterations() * size);
}

void Register(const char* name, Place place, bool fails) {
  benchmark::RegisterBenchmark(name, [=](benchmark::State& state) { Group(state, place, fails); })
      ->Arg(2)
      ->Arg(8)
      ->Arg(64)
      ->ArgName("members")
      ->MinTime(0.2)
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
}

const bool registered = [] {
  Register("Group/main/succeeds", Place::kMain, false);
  Register("Group/main/one_fails", Place::kMain, true);
  Register("Group/iothread/succeeds", Place::kPolling, false);
  Register("Group/iothread/one_fails", Place::kPolling, true);
  RegisterControls();
  return true;
}();

}  // namespace
}  // namespace jobcore::bench

BENCHMARK_MAIN();
