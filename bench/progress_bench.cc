// SPDX-License-Identifier: Apache-2.0
//
// What Progress::Advance costs a driver: alone, while a monitor on another processor reads as fast as it can, and while
// one reads a thousand times a second. The store of each Advance waits in the processor until it has the cache line; a
// reader takes that away. Control: the same with one atomic counter, stored to by one thread, and with nothing but
// the store.

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "benchmark/benchmark.h"
#include "job-common/progress.h"
#include "watched_jobs.h"

namespace jobcore {
namespace {

struct alignas(64) TheProgress {
  TheProgress() { progress.SetRemaining(uint64_t{1} << 62); }
  void Advance() { progress.Advance(1); }
  void Read() const { benchmark::DoNotOptimize(progress.Get()); }
  Progress progress{ProgressUnit::kItems};
};

struct alignas(64) Counter {
  void Advance() { value.store(value.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
  void Read() const { benchmark::DoNotOptimize(value.load(std::memory_order_acquire)); }
  std::atomic<uint64_t> value{0};
};

struct alignas(64) BareStore {
  void Advance() { value.store(++next, std::memory_order_release); }
  void Read() const { benchmark::DoNotOptimize(value.load(std::memory_order_acquire)); }
  alignas(64) std::atomic<uint64_t> value{0};
  alignas(64) uint64_t next = 0;
};

enum class Reader { kNone, kTight, kMillisecond };

constexpr int kAdvances = 1000;  // per iteration

template <typename Subject, Reader reader>
void Advance(benchmark::State& state) {
  bench::PinThisThread(0);
  Subject subject;
  std::atomic<bool> stop{false};
  std::atomic<bool> begun{reader == Reader::kNone};
  uint64_t reads = 0;
  std::thread thread;
  if (reader != Reader::kNone) {
    thread = std::thread([&] {
      bench::PinThisThread(1);
      uint64_t n = 0;
      for (; !stop.load(std::memory_order_relaxed); ++n) {
        subject.Read();
        begun.store(true, std::memory_order_relaxed);
        if (reader == Reader::kMillisecond) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      reads = n;
    });
  }
  while (!begun) {
  }
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) {
    for (int i = 0; i < kAdvances; ++i) subject.Advance();
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  stop = true;
  if (thread.joinable()) thread.join();
  const double advances = static_cast<double>(state.iterations()) * kAdvances;
  state.counters["per_advance"] =
      benchmark::Counter(advances, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["reads_per_s"] = static_cast<double>(reads) / elapsed.count();
}

#define JOBCORE_BENCH(reader)                             \
  BENCHMARK(Advance<TheProgress, reader>)->UseRealTime(); \
  BENCHMARK(Advance<Counter, reader>)->UseRealTime();     \
  BENCHMARK(Advance<BareStore, reader>)->UseRealTime()

JOBCORE_BENCH(Reader::kNone);
JOBCORE_BENCH(Reader::kTight);
JOBCORE_BENCH(Reader::kMillisecond);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
