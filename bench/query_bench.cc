// SPDX-License-Identifier: Apache-2.0
//
// What it costs a monitor to look at jobs.
//
// Find: one of so many jobs by a random id, each look-up waiting for the one before. Controls, over the same ids: a
// bare absl::flat_hash_map, whose keys live in one array, and a walk through as much memory as the jobs take, where
// each address is found at the one before.
//
// Query: all of so many jobs (RUNNING and yielding; or PAUSED), as a new vector each time (Snapshot), into
// the records of the time before (SnapshotInto), or page by page into one page of records (Pages). Control: a walk that
// takes nothing but the status. Held: for how long a page holds the mutex.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "benchmark/benchmark.h"
#include "job-common/job_core.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job/job_ops.h"
#include "watched_jobs.h"

namespace jobcore {
namespace {

using bench::Condition;
using bench::WatchedJobs;

// Made once: a million jobs take a while.
WatchedJobs& Jobs(size_t count, Condition condition) {
  static std::map<std::pair<size_t, Condition>, std::unique_ptr<WatchedJobs>> all;
  std::unique_ptr<WatchedJobs>& jobs = all[{count, condition}];
  if (jobs == nullptr) jobs = std::make_unique<WatchedJobs>(count, condition);
  return *jobs;
}

std::vector<uint32_t> RandomOrder(size_t count) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  return order;
}

// --- Find ---

using Key = std::array<char, 11>;
std::string_view View(const Key& key) { return {key.data(), key.size()}; }

std::vector<Key> RandomKeys(size_t count) {
  std::vector<Key> keys(count);
  for (size_t i = 0; const uint32_t index : RandomOrder(count)) {
    const std::string id = WatchedJobs::IdOf(index);
    std::memcpy(keys[i++].data(), id.data(), sizeof(Key));
  }
  return keys;
}

// 0, but only the processor's look-up knows.
size_t ZeroFrom(const void* found) { return reinterpret_cast<uintptr_t>(found) >> 63; }

void Find(benchmark::State& state) {
  const size_t count = state.range(0);
  WatchedJobs& jobs = Jobs(count, Condition::kCreated);
  const std::vector<Key> keys = RandomKeys(count);
  JobLock lock(jobs.core());
  size_t next = 0;
  for (auto _ : state) {
    const Job* job = monitor::Find(jobs.core(), View(keys[next]));
    if (job == nullptr) std::abort();
    next += 1 + ZeroFrom(job);
    if (next >= count) next = 0;
  }
}

void FindInBareMap(benchmark::State& state) {
  const size_t count = state.range(0);
  bench::PinThisThread(0);
  const std::vector<Key> keys = RandomKeys(count);
  std::vector<Key> stored(count);
  absl::flat_hash_map<absl::string_view, const void*> map;
  for (size_t i = 0; i < count; ++i) {
    std::memcpy(stored[i].data(), WatchedJobs::IdOf(i).data(), sizeof(Key));
    map[Absl(View(stored[i]))] = &stored[i];
  }
  size_t next = 0;
  for (auto _ : state) {
    const auto found = map.find(Absl(View(keys[next])));
    if (found == map.end()) std::abort();
    next += 1 + ZeroFrom(found->second);
    if (next >= count) next = 0;
  }
}

void RandomAccess(benchmark::State& state) {
  struct alignas(64) Node {
    const Node* next;
    char rest[sizeof(Job) / 64 * 64 - sizeof(next)];
  };
  const size_t count = state.range(0);
  bench::PinThisThread(0);
  std::vector<Node> nodes(count);
  const std::vector<uint32_t> order = RandomOrder(count);
  for (size_t i = 0; i < count; ++i) nodes[order[i]].next = &nodes[order[(i + 1) % count]];
  const Node* node = nodes.data();
  for (auto _ : state) {
    node = node->next;
    benchmark::DoNotOptimize(node);
  }
}

// --- Query ---

void Consume(const std::vector<monitor::JobInfo>& infos) {
  for (const monitor::JobInfo& info : infos) benchmark::DoNotOptimize(info.progress.current);
}

template <Condition condition>
void Snapshot(benchmark::State& state) {
  WatchedJobs& jobs = Jobs(state.range(0), condition);
  for (auto _ : state) Consume(monitor::SnapshotJobs(jobs.core()));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

template <Condition condition>
void SnapshotInto(benchmark::State& state) {
  WatchedJobs& jobs = Jobs(state.range(0), condition);
  std::vector<monitor::JobInfo> all;
  for (auto _ : state) {
    monitor::SnapshotJobs(jobs.core(), all);
    Consume(all);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

template <Condition condition>
void Pages(benchmark::State& state) {
  WatchedJobs& jobs = Jobs(state.range(0), condition);
  std::vector<monitor::JobInfo> page;
  for (auto _ : state) {
    monitor::QueryCursor cursor;
    do {
      {
        JobLock lock(jobs.core());
        monitor::QueryPage(jobs.core(), cursor, page);
      }
      Consume(page);
    } while (page.size() == monitor::kMaxPage);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void StatusOnly(benchmark::State& state) {
  WatchedJobs& jobs = Jobs(state.range(0), Condition::kYielding);
  for (auto _ : state) {
    JobLock lock(jobs.core());
    JobOps::VisitAfter(jobs.core(), 0, SIZE_MAX, [](Job& job) { benchmark::DoNotOptimize(job.status()); });
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

// The times that a page holds the mutex, by the clock.
template <Condition condition>
void Held(benchmark::State& state) {
  using BenchClock = std::chrono::steady_clock;
  WatchedJobs& jobs = Jobs(state.range(0), condition);
  std::vector<double> held;  // us
  std::vector<monitor::JobInfo> page;
  for (auto _ : state) {
    monitor::QueryCursor cursor;
    do {
      JobLock lock(jobs.core());
      const BenchClock::time_point from = BenchClock::now();
      monitor::QueryPage(jobs.core(), cursor, page);
      held.push_back(std::chrono::duration<double, std::micro>(BenchClock::now() - from).count());
    } while (page.size() == monitor::kMaxPage);
  }
  std::sort(held.begin(), held.end());
  state.counters["held_p50_us"] = held[held.size() / 2];
  state.counters["held_p99_us"] = held[held.size() * 99 / 100];
  state.counters["held_max_us"] = held.back();
}

void Counts(benchmark::internal::Benchmark* bench) {
  for (const int64_t count : {10, 1000, 10000}) bench->Arg(count);
  bench->MinTime(0.05);
}
void FindCounts(benchmark::internal::Benchmark* bench) {
  for (const int64_t count : {10, 1000, 10000, 100000, 1000000}) bench->Arg(count);
  bench->MinTime(0.1);
}

BENCHMARK(Find)->Apply(FindCounts);
BENCHMARK(FindInBareMap)->Apply(FindCounts);
BENCHMARK(RandomAccess)->Apply(FindCounts);
BENCHMARK(Snapshot<Condition::kYielding>)->Apply(Counts);
BENCHMARK(Snapshot<Condition::kParked>)->Apply(Counts);
BENCHMARK(SnapshotInto<Condition::kYielding>)->Apply(Counts);
BENCHMARK(SnapshotInto<Condition::kParked>)->Apply(Counts);
BENCHMARK(Pages<Condition::kYielding>)->Apply(Counts);
BENCHMARK(Pages<Condition::kParked>)->Apply(Counts);
BENCHMARK(StatusOnly)->Apply(Counts);
BENCHMARK(Held<Condition::kYielding>)->Arg(10000)->MinTime(0.2);
BENCHMARK(Held<Condition::kParked>)->Arg(10000)->MinTime(0.2);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
