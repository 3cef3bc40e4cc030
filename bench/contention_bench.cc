// SPDX-License-Identifier: Apache-2.0
//
// What does it buy to replace the lock around everything that happens in a context by one small job_mutex? The same
// drivers and the same monitors, on the same loop,
//   AioContextLock   under the lock of each context, as it was (baseline/README.md);
//   FairContextLock  under one that makes nobody starve, which it never was: the strongest opponent of its kind;
//   JobMutexOnly     in jobcore.
// Each driver loops {step of work, pause point, a turn of its loop}; each monitor makes rounds of {query all jobs; now
// and then pause a job, see it park, resume it; more rarely cancel one and start another}.
//
// Arguments
//   io, monitors    threads. More busy ones than processors: the row is labelled, it measures the scheduler.
//   step_us         length of a step: processor time that the job spends between two pause points
//   jobs            in all, dealt out to the I/O threads
//   period_us       each monitor's rounds begin so often; 0: without a break
//   rest_us         the driver sleeps so long after each step, as if it waited for a disk: nothing is locked then
//   steps_per_turn  between two returns to the loop, which is where the locked designs let go of their lock
//
// Counters. Percentiles are over calls: without a break, whoever gets the lock once makes many calls in a row before
// the other side is awake, so there they flatter the locks; compare the rows with a period, and queries_per_s.
//   alone_steps_per_s    of all drivers, without monitors; the control: what the designs' driver sides cost
//   of_alone             throughput with monitors / without. Pauses that were asked for count against all designs.
//   query, pause, cancel until the call has returned: accepted. From 0.4 s on: it came back only when the drivers had
//                        been stopped
//   parked               from before the call of pause until the driver is about to park
//   stall                from the end of a step to the beginning of the next on the same I/O thread, unless the job
//                        was asked to stop
//   given_up             monitors that were in the middle of a round when the drivers were stopped. A call that had not
//                        returned by then counts with less than it would have taken.

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "contention/driver_side.h"
#include "contention/worlds.h"
#include "job-common/iothread.h"

namespace jobcore::contention {
namespace {

using Micros = std::chrono::duration<double, std::micro>;

constexpr auto kWarmUp = std::chrono::milliseconds(20);
constexpr auto kAlone = std::chrono::milliseconds(100);
constexpr auto kContended = std::chrono::milliseconds(400);

void PinTo(int cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
}

int Processors() {
  static const int processors = static_cast<int>(std::thread::hardware_concurrency());
  return processors;
}

// A processor for each thread that is busy: drivers that nearly always rest are not.
bool FitsOnThisMachine(const Setup& setup) {
  const bool drivers_rest = setup.rest > 1000 * setup.step;
  return (drivers_rest ? 0 : setup.io_threads) + setup.monitors <= Processors();
}

// From the end of one pause to the next: so that most of the time nobody has asked for one.
Nanoseconds BetweenPauses(const Setup& setup) {
  const Nanoseconds round_of_a_loop = (setup.step * setup.steps_per_turn + setup.rest) * setup.jobs / setup.io_threads;
  return std::clamp<Nanoseconds>(10 * round_of_a_loop, std::chrono::milliseconds(1), std::chrono::milliseconds(40));
}
constexpr int kPausesPerCancel = 4;

struct Latencies {
  std::vector<int64_t> query, pause, parked, cancel;  // ns
  int64_t given_up = 0;
};

template <typename World>
class Monitor {
 public:
  Monitor(World& world, Workload& workload, std::vector<Slot*> slots)
      : world_(world), workload_(workload), slots_(std::move(slots)) {
    seen_.query.reserve(2'000'000);
  }

  void Run() {
    BenchClock::time_point next = BenchClock::now();
    next_verb_ = next + BetweenPauses(workload_.setup);
    while (!stopped()) {
      Round();
      if (workload_.setup.period == Nanoseconds::zero()) continue;
      next = std::max(next + workload_.setup.period, BenchClock::now());
      std::this_thread::sleep_until(next);
    }
  }

  const Latencies& seen() const { return seen_; }

 private:
  bool stopped() const { return workload_.stop.load(std::memory_order_relaxed); }

  void Round() {
    Timed(seen_.query, [&] { benchmark::DoNotOptimize(world_.QueryAll()); });
    if (!slots_.empty() && !stopped() && BenchClock::now() >= next_verb_) {
      Slot& slot = *slots_[next_slot_++ % slots_.size()];
      // One that has not been resumed yet, or not begun, would park without being asked to stop.
      if (slot.running.load(std::memory_order_relaxed)) {
        if (++verbs_ % (kPausesPerCancel + 1) != 0) {
          PauseOne(slot);
        } else {
          ReplaceOne(slot);
        }
        next_verb_ = BenchClock::now() + BetweenPauses(workload_.setup);
      }
    }
    if (stopped()) ++seen_.given_up;
  }

  void PauseOne(Slot& slot) {
    slot.parked_at.store(0, std::memory_order_relaxed);
    const BenchClock::time_point start = BenchClock::now();
    Timed(seen_.pause, [&] { world_.Pause(slot); });
    int64_t parked_at = 0;
    while (parked_at == 0 && !stopped()) {
      if (!FitsOnThisMachine(workload_.setup)) std::this_thread::yield();
      parked_at = slot.parked_at.load(std::memory_order_acquire);
    }
    if (parked_at != 0) seen_.parked.push_back(parked_at - start.time_since_epoch().count());
    world_.Resume(slot);
  }

  void ReplaceOne(Slot& slot) {
    Timed(seen_.cancel, [&] { world_.Cancel(slot); });
    world_.AwaitEnd(slot);
    ++slot.replacements;
    slot.running.store(false, std::memory_order_relaxed);
    world_.Start(slot);
  }

  template <typename Call>
  static void Timed(std::vector<int64_t>& latencies, Call call) {
    const BenchClock::time_point start = BenchClock::now();
    call();
    latencies.push_back((BenchClock::now() - start).count());
  }

  World& world_;
  Workload& workload_;
  const std::vector<Slot*> slots_;
  size_t next_slot_ = 0;
  int64_t verbs_ = 0;
  BenchClock::time_point next_verb_;
  Latencies seen_;
};

struct StepCount {
  int64_t steps;
  int64_t until;  // when the last of them ended, in ns
};

StepCount CountSteps(const LoopRecord& loop) {
  for (;;) {
    const int64_t steps = loop.steps.load(std::memory_order_acquire);
    const int64_t until = loop.last_step.load(std::memory_order_relaxed);
    if (loop.steps.load(std::memory_order_acquire) == steps) return {steps, until};
  }
}

// Steps per second of all drivers together, over whole steps.
double ThroughputDuring(const Workload& workload, std::chrono::milliseconds time) {
  std::vector<StepCount> before;
  for (const LoopRecord& loop : workload.loops) before.push_back(CountSteps(loop));
  std::this_thread::sleep_for(time);
  double throughput = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const StepCount after = CountSteps(workload.loops[i]);
    if (after.until == before[i].until) continue;
    throughput +=
        static_cast<double>(after.steps - before[i].steps) * 1e9 / static_cast<double>(after.until - before[i].until);
  }
  return throughput;
}

void Report(benchmark::State& state, const std::string& what, std::vector<int64_t> nanos) {
  if (nanos.empty()) return;
  std::sort(nanos.begin(), nanos.end());
  const auto at = [&](size_t percent) { return static_cast<double>(nanos[(nanos.size() - 1) * percent / 100]) / 1e3; };
  state.counters[what + "_p50_us"] = at(50);
  state.counters[what + "_p99_us"] = at(99);
  state.counters[what + "_max_us"] = at(100);
}

void Append(std::vector<int64_t>& to, const std::vector<int64_t>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

template <typename World>
void Contention(benchmark::State& state) {
  const auto micros = [&](int arg) { return std::chrono::microseconds(state.range(arg)); };
  const Setup setup{.io_threads = static_cast<int>(state.range(0)),
                    .monitors = static_cast<int>(state.range(1)),
                    .step = micros(2),
                    .jobs = static_cast<int>(state.range(3)),
                    .period = micros(4),
                    .rest = micros(5),
                    .steps_per_turn = static_cast<int>(state.range(6))};
  const bool fits = FitsOnThisMachine(setup);
  for (auto _ : state) {
    Workload workload(setup);
    std::deque<Slot> slots(static_cast<size_t>(setup.jobs));
    for (size_t i = 0; i < slots.size(); ++i) {
      slots[i].workload = &workload;
      slots[i].number = static_cast<int>(i);
      slots[i].loop = static_cast<int>(i) % setup.io_threads;
    }
    std::vector<std::unique_ptr<IOThread>> io_threads;
    for (int i = 0; i < setup.io_threads; ++i) {
      io_threads.push_back(std::make_unique<IOThread>(absl::StrCat("io", i)));
      if (fits) io_threads.back()->context().Post("pin", [cpu = (setup.monitors + i) % Processors()] { PinTo(cpu); });
    }
    double alone, contended;
    Latencies seen;
    {
      World world(io_threads, slots);
      std::this_thread::sleep_for(kWarmUp);
      alone = ThroughputDuring(workload, kAlone);

      for (LoopRecord& loop : workload.loops) loop.recording.store(true, std::memory_order_relaxed);
      std::deque<Monitor<World>> monitors;
      for (int m = 0; m < setup.monitors; ++m) {
        std::vector<Slot*> owned;
        for (size_t i = static_cast<size_t>(m); i < slots.size(); i += static_cast<size_t>(setup.monitors)) {
          owned.push_back(&slots[i]);
        }
        monitors.emplace_back(world, workload, std::move(owned));
      }
      std::vector<std::thread> threads;
      for (int m = 0; m < setup.monitors; ++m) {
        threads.emplace_back([&, m] {
          if (fits) PinTo(m);
          monitors[static_cast<size_t>(m)].Run();
        });
      }
      contended = ThroughputDuring(workload, kContended);
      for (LoopRecord& loop : workload.loops) loop.recording.store(false, std::memory_order_relaxed);
      workload.stop.store(true, std::memory_order_relaxed);
      for (std::thread& thread : threads) thread.join();
      for (const Monitor<World>& m : monitors) {
        Append(seen.query, m.seen().query);
        Append(seen.pause, m.seen().pause);
        Append(seen.parked, m.seen().parked);
        Append(seen.cancel, m.seen().cancel);
        seen.given_up += m.seen().given_up;
      }
    }
    std::vector<int64_t> gaps;
    for (const LoopRecord& loop : workload.loops) Append(gaps, loop.gaps);

    const double seconds = std::chrono::duration<double>(kContended).count();
    state.counters["alone_steps_per_s"] = alone;
    state.counters["steps_per_s"] = contended;
    state.counters["of_alone"] = contended / alone;
    state.counters["queries_per_s"] = static_cast<double>(seen.query.size()) / seconds;
    state.counters["pauses"] = static_cast<double>(seen.parked.size());
    state.counters["cancels"] = static_cast<double>(seen.cancel.size());
    state.counters["given_up"] = static_cast<double>(seen.given_up);
    Report(state, "query", std::move(seen.query));
    Report(state, "pause", std::move(seen.pause));
    Report(state, "parked", std::move(seen.parked));
    Report(state, "cancel", std::move(seen.cancel));
    Report(state, "stall", std::move(gaps));
  }
  if (!fits) state.SetLabel("scheduler-bound");
}

// One thing at a time is varied, from 1 I/O thread, 1 monitor and steps of 100 us.
void Cases(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"io", "monitors", "step_us", "jobs", "period_us", "rest_us", "steps_per_turn"});
  for (const int64_t period : {200, 0}) {
    for (const int64_t step : {1, 10, 100, 1000, 10000}) bench->Args({1, 1, step, 1, period, 0, 1});
  }
  for (const int64_t jobs : {16, 256}) bench->Args({1, 1, 100, jobs, 0, 0, 1});
  for (const int64_t io : {2, 4}) bench->Args({io, 1, 100, 16, 0, 0, 1});
  for (const int64_t monitors : {2, 4}) bench->Args({1, monitors, 100, 16, 0, 0, 1});
  bench->Args({1, 1, 100, 1, 200, 100, 1});    // half of the time, the lock is free
  bench->Args({1, 1, 10, 1, 200, 0, 100});     // a driver that seldom returns to its loop
  bench->Args({1, 2, 10, 256, 0, 100000, 1});  // monitors in each other's way, and hardly a driver
  bench->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(Contention<AioContextLock>)->Apply(Cases);
BENCHMARK(Contention<FairContextLock>)->Apply(Cases);
BENCHMARK(Contention<JobMutexOnly>)->Apply(Cases);

}  // namespace
}  // namespace jobcore::contention

BENCHMARK_MAIN();
