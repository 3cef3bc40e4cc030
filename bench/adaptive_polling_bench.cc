// SPDX-License-Identifier: Apache-2.0
//
// What does adaptive busy polling (AioContext::Options::poll_max) buy, and what does it cost? The main thread wakes a
// loop in another thread every so many microseconds, from one answer to the next question, and spins for the answer.
//
//   Arguments:   time between two wake-ups in us / poll_max in us
//   Time         a round trip, without the time between
//   cpu          processor time of the loop's thread, as a part of the time that passed
//   switches     voluntary context switches of the loop's thread, per wake-up: how often it slept

#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdint>

#include "benchmark/benchmark.h"
#include "job-common/aio_context.h"
#include "two_threads.h"

namespace jobcore {
namespace {

using bench::BenchClock;
using bench::Seconds;

struct Usage {
  double seconds = 0;
  double switches = 0;
};

Usage UsageOfThisThread() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * t.tv_usec; };
  return {seconds(usage.ru_utime) + seconds(usage.ru_stime), static_cast<double>(usage.ru_nvcsw)};
}

struct Question final : WorkItem {
  Question() : WorkItem("bench", &Run) {}
  static void Run(WorkItem& self, Reason) {
    std::atomic<uint64_t>& answers = static_cast<Question&>(self).answers;
    answers.store(answers.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  std::atomic<uint64_t> answers{0};
};

void WakeUpsEvery(benchmark::State& state) {
  bench::PinTo(bench::kMainCpu);
  const Nanoseconds between = std::chrono::microseconds(state.range(0));
  bench::OtherLoop other(std::chrono::microseconds(state.range(1)));
  Question question;
  uint64_t asked = 0;
  Usage before, after;
  const auto ask = [&] {
    other.context().Post(question);
    ++asked;
    bench::SpinUntil([&] { return question.answers.load(std::memory_order_acquire) == asked; });
  };
  for (int i = 0; i < 10; ++i) {  // after a time without work, in which polling was in vain
    bench::BusyFor(std::chrono::milliseconds(1));
    ask();
  }
  for (int i = 0; i < 20; ++i) {  // it gets used to the rhythm
    bench::BusyFor(between);
    ask();
  }
  other.Call([&] { before = UsageOfThisThread(); });
  const auto begin = BenchClock::now();
  for (auto _ : state) {
    bench::BusyFor(between);
    const auto start = BenchClock::now();
    ask();
    state.SetIterationTime(Seconds(BenchClock::now() - start).count());
  }
  const double passed = Seconds(BenchClock::now() - begin).count();
  other.Call([&] { after = UsageOfThisThread(); });
  state.counters["cpu"] = (after.seconds - before.seconds) / passed;
  state.counters["switches"] = (after.switches - before.switches) / static_cast<double>(state.iterations());
}
// So many wake-ups that each case takes about 0.2 s.
#define JOBCORE_BENCH_RHYTHM(US, COUNT) \
  BENCHMARK(WakeUpsEvery)->ArgsProduct({{US}, {0, 32, 100}})->UseManualTime()->Iterations(COUNT)
JOBCORE_BENCH_RHYTHM(1, 20'000);
JOBCORE_BENCH_RHYTHM(10, 10'000);
JOBCORE_BENCH_RHYTHM(30, 5'000);
JOBCORE_BENCH_RHYTHM(100, 2'000);
JOBCORE_BENCH_RHYTHM(1000, 200);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
