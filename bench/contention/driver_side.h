// SPDX-License-Identifier: Apache-2.0
//
// What the drivers of the contention benchmarks do, and what is noted of it, whichever design runs them.

#ifndef JOBCORE_BENCH_CONTENTION_DRIVER_SIDE_H_
#define JOBCORE_BENCH_CONTENTION_DRIVER_SIDE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "contention/step_work.h"
#include "job-common/clock.h"

namespace jobcore::contention {

struct Setup {
  int io_threads;
  int monitors;
  Nanoseconds step;
  int jobs;
  Nanoseconds period;  // of each monitor's rounds; zero: without a break
  Nanoseconds rest;    // of a driver after each turn of its loop; zero: none
  int steps_per_turn;  // between two turns of its loop
};

// All the drivers of one I/O thread. Written by that thread; the lists are read when its jobs have ended.
struct LoopRecord {
  std::atomic<int64_t> steps{0};
  std::atomic<int64_t> last_step{0};   // when it ended, by BenchClock, in ns
  std::atomic<bool> recording{false};  // gaps
  std::vector<int64_t> gaps;           // ns from the end of a step to the beginning of the next, on this thread
  std::optional<BenchClock::time_point> last_end;
};

// What all of them share. Outlives the worlds.
struct Workload {
  explicit Workload(const Setup& s) : setup(s), work(s.step), loops(s.io_threads) {
    for (LoopRecord& loop : loops) loop.gaps.reserve(1'000'000);
  }
  const Setup setup;
  const StepWork work;
  std::atomic<bool> stop{false};  // the drivers' and the monitors' way out, around any lock
  std::vector<LoopRecord> loops;
};

// The place of a job; who is cancelled is replaced there. One monitor owns it.
struct Slot {
  Workload* workload = nullptr;
  int number = 0;
  int loop = 0;
  std::string id;
  int replacements = 0;
  std::atomic<bool> running{false};   // has begun, and made a step since it was last parked
  std::atomic<int64_t> parked_at{0};  // by BenchClock, in ns; 0: not since this was cleared

  LoopRecord& record() const { return workload->loops[static_cast<size_t>(loop)]; }

  void Step() {
    running.store(true, std::memory_order_relaxed);
    LoopRecord& loop_record = record();
    const BenchClock::time_point begin = BenchClock::now();
    if (loop_record.last_end && loop_record.recording.load(std::memory_order_relaxed)) {
      loop_record.gaps.push_back((begin - *loop_record.last_end).count());
    }
    workload->work.Do();
    const BenchClock::time_point end = BenchClock::now();
    loop_record.last_end = end;
    loop_record.last_step.store(end.time_since_epoch().count(), std::memory_order_relaxed);
    loop_record.steps.store(loop_record.steps.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  // The driver stops for a while, or for good, because somebody has asked it to: no stall.
  void StopsAsAsked() const { record().last_end.reset(); }

  void NoteParked() {
    StopsAsAsked();
    running.store(false, std::memory_order_relaxed);
    parked_at.store(BenchClock::now().time_since_epoch().count(), std::memory_order_release);
  }
};

}  // namespace jobcore::contention

#endif  // JOBCORE_BENCH_CONTENTION_DRIVER_SIDE_H_
