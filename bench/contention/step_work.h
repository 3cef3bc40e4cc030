// SPDX-License-Identifier: Apache-2.0
//
// Work of a given length for the drivers of the contention benchmarks. It is counted, not timed: a thread that is
// preempted in it has still all of the rest to do.

#ifndef JOBCORE_BENCH_CONTENTION_STEP_WORK_H_
#define JOBCORE_BENCH_CONTENTION_STEP_WORK_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "benchmark/benchmark.h"

namespace jobcore::contention {

using BenchClock = std::chrono::steady_clock;

class StepWork {
 public:
  explicit StepWork(std::chrono::nanoseconds length)
      : rounds_(std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(length.count()) / NanosPerRound()))) {}

  void Do() const { Rounds(rounds_); }

 private:
  static void Rounds(int64_t n) {
    uint64_t x = 1;
    for (int64_t i = 0; i < n; ++i) x = x * 6364136223846793005u + 1442695040888963407u;
    benchmark::DoNotOptimize(x);
  }

  static double NanosPerRound() {
    static const double nanos = [] {
      constexpr int64_t kRounds = 200'000;
      double best = 1e9;
      for (int i = 0; i < 50; ++i) {
        const BenchClock::time_point start = BenchClock::now();
        Rounds(kRounds);
        best = std::min(best, std::chrono::duration<double, std::nano>(BenchClock::now() - start).count() / kRounds);
      }
      return best;
    }();
    return nanos;
  }

  const int64_t rounds_;
};

}  // namespace jobcore::contention

#endif  // JOBCORE_BENCH_CONTENTION_STEP_WORK_H_
