// SPDX-License-Identifier: Apache-2.0
//
// Can busy threads starve the others of the job mutex? One or two threads loop {lock, hold it for 20 us, unlock};
// another wants it every 100 us, and its waits are measured. Control: std::mutex. The price of fairness: an
// uncontended lock + unlock of both, in a process of several threads (alone, glibc's needs no atomics).
//
// The times need two processors to themselves: beside other load, whoever has been put to sleep leaves the mutex
// free. How often the busy thread overtakes one that waits says the same and depends on that much less.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "job-common/job_mutex.h"

namespace jobcore {
namespace {

using BenchClock = std::chrono::steady_clock;
using Micros = std::chrono::duration<double, std::micro>;

constexpr auto kHold = std::chrono::microseconds(20);
constexpr auto kBetween = std::chrono::microseconds(100);
constexpr auto kRun = std::chrono::seconds(1);

struct StdMutex {
  void Lock() { mutex.lock(); }
  void Unlock() { mutex.unlock(); }
  std::mutex mutex;
};

void BusyUntil(BenchClock::time_point end) {
  while (BenchClock::now() < end) {
  }
}

template <typename Mutex>
void Uncontended(benchmark::State& state) {
  std::thread([] {}).join();  // from here on glibc counts this process as multi-threaded
  Mutex mutex;
  for (auto _ : state) {
    mutex.Lock();
    benchmark::ClobberMemory();
    mutex.Unlock();
  }
}

template <typename Mutex>
void AgainstGreedyHolders(benchmark::State& state) {
  Mutex mutex;
  std::vector<double> waits;  // us
  std::vector<size_t> overtaken;
  std::atomic<size_t> holds{0};
  for (auto _ : state) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> greedy;
    for (int64_t i = 0; i < state.range(0); ++i) {
      greedy.emplace_back([&] {
        while (!stop.load(std::memory_order_relaxed)) {
          mutex.Lock();
          holds.fetch_add(1, std::memory_order_relaxed);
          BusyUntil(BenchClock::now() + kHold);
          mutex.Unlock();
        }
      });
    }
    std::thread modest([&] {
      const BenchClock::time_point end = BenchClock::now() + kRun;
      while (BenchClock::now() < end) {
        const size_t before = holds.load(std::memory_order_relaxed);
        const BenchClock::time_point wanted = BenchClock::now();
        mutex.Lock();
        const BenchClock::time_point got = BenchClock::now();
        overtaken.push_back(holds.load(std::memory_order_relaxed) - before);
        mutex.Unlock();
        waits.push_back(Micros(got - wanted).count());
        BusyUntil(got + kBetween);
      }
    });
    modest.join();
    stop = true;
    for (std::thread& thread : greedy) thread.join();
  }
  std::sort(waits.begin(), waits.end());
  std::sort(overtaken.begin(), overtaken.end());
  state.counters["waits"] = static_cast<double>(waits.size());
  state.counters["wait_p50_us"] = waits[waits.size() / 2];
  state.counters["wait_p99_us"] = waits[waits.size() * 99 / 100];
  state.counters["wait_max_us"] = waits.back();
  state.counters["overtaken_p99"] = static_cast<double>(overtaken[overtaken.size() * 99 / 100]);
  state.counters["overtaken_max"] = static_cast<double>(overtaken.back());
}

BENCHMARK(Uncontended<StdMutex>);
BENCHMARK(Uncontended<JobMutex>);
// Two of them and the other one are three threads: with two processors that is the scheduler's doing, too.
void Configure(benchmark::internal::Benchmark* registered) {
  registered->ArgName("greedy")->Arg(1)->Arg(2)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK(AgainstGreedyHolders<StdMutex>)->Apply(Configure);
BENCHMARK(AgainstGreedyHolders<JobMutex>)->Apply(Configure);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
