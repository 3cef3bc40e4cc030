// SPDX-License-Identifier: Apache-2.0
//
// What does a job gate cost whom it lets in at once, and how long does a hand-off take, from the one who ends his job
// to the thread that waits for it?
//
// Controls: a lock + unlock of std::mutex, of which there are two in begin + end. For the hand-off: a ping-pong of two
// threads over a futex, and over a pair of eventfds; half a round trip is one hand-off. The two threads are on two
// processors. In the hand-off each holds his job until the other one waits, so that every end wakes somebody.

#include <linux/futex.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "benchmark/benchmark.h"
#include "job-monitor/job_gate.h"

namespace jobcore::gate {
namespace {

void PinTo(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

void MutexTwice(benchmark::State& state) {
  std::thread([] {}).join();  // from here on glibc counts this process as multi-threaded
  std::mutex mutex;
  for (auto _ : state) {
    for (int i = 0; i < 2; ++i) {
      mutex.lock();
      benchmark::ClobberMemory();
      mutex.unlock();
    }
  }
}
BENCHMARK(MutexTwice);

void BeginAndEnd(benchmark::State& state) {
  std::thread([] {}).join();
  JobIds ids(1);
  JobGate gate(ids);
  gate.BeginLife();
  const AcquireOptions options{.owner = {.api = "benchmark", .task = 1}};
  for (auto _ : state) {
    absl::StatusOr<NormalGrant> grant = gate.Begin(JobClass::kModify, options);
    benchmark::DoNotOptimize(grant);
  }
}
BENCHMARK(BeginAndEnd);

void BeginAndEndNested(benchmark::State& state) {
  std::thread([] {}).join();
  JobIds ids(1);
  JobGate gate(ids);
  gate.BeginLife();
  const AcquireOptions options{.owner = {.api = "benchmark", .task = 1}};
  const absl::StatusOr<AsyncGrant> job = gate.BeginAsync(AsyncKind::kBackup, options);
  for (auto _ : state) {
    absl::StatusOr<NestedGrant> grant = gate.BeginNested(*job, options);
    benchmark::DoNotOptimize(grant);
  }
}
BENCHMARK(BeginAndEndNested);

void BeginAndEndAsync(benchmark::State& state) {
  std::thread([] {}).join();
  JobIds ids(1);
  JobGate gate(ids);
  gate.BeginLife();
  const AcquireOptions options{.owner = {.api = "benchmark", .task = 1}};
  for (auto _ : state) {
    absl::StatusOr<AsyncGrant> grant = gate.BeginAsync(AsyncKind::kBackup, options);
    benchmark::DoNotOptimize(grant);
  }
}
BENCHMARK(BeginAndEndAsync);

constexpr int64_t kRounds = 5000;

// Runs `ping` on one processor and `pong` on the other, each kRounds times: the seconds that one hand-off takes.
template <typename Ping, typename Pong>
double PingPong(Ping ping, Pong pong) {
  std::atomic<int> ready{0};
  const auto run = [&ready](int processor, auto& step) {
    PinTo(processor);
    ready.fetch_add(1);
    while (ready.load() != 2) {
    }
    for (int64_t i = 0; i < kRounds; ++i) step();
  };
  std::thread other([&] { run(1, pong); });
  const auto start = std::chrono::steady_clock::now();
  std::thread mine([&] { run(0, ping); });
  mine.join();
  other.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return took.count() / (2 * kRounds);
}

void Futex(benchmark::State& state) {
  std::atomic<uint32_t> turn{0};
  const auto half = [&turn](uint32_t mine) {
    return [&turn, mine] {
      while (turn.load() != mine) syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, 1 - mine, nullptr, nullptr, 0);
      turn.store(1 - mine);
      syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    };
  };
  for (auto _ : state) state.SetIterationTime(PingPong(half(0), half(1)));
}
BENCHMARK(Futex)->UseManualTime()->Iterations(2)->Unit(benchmark::kMicrosecond);

void EventFd(benchmark::State& state) {
  const int to_ping = eventfd(1, 0);
  const int to_pong = eventfd(0, 0);
  const auto half = [](int from, int to) {
    return [from, to] {
      uint64_t value = 0;
      if (read(from, &value, sizeof(value)) != sizeof(value)) std::abort();
      value = 1;
      if (write(to, &value, sizeof(value)) != sizeof(value)) std::abort();
    };
  };
  for (auto _ : state) state.SetIterationTime(PingPong(half(to_ping, to_pong), half(to_pong, to_ping)));
  close(to_ping);
  close(to_pong);
}
BENCHMARK(EventFd)->UseManualTime()->Iterations(2)->Unit(benchmark::kMicrosecond);

void HandOff(benchmark::State& state) {
  JobIds ids(1);
  JobGate gate(ids);
  gate.BeginLife();
  struct Side {
    std::atomic<bool> asks{false};
    std::atomic<int64_t> rounds_left{0};
  };
  Side sides[2];
  const auto half = [&](Side& me, const Side& other, uint64_t task) {
    return [&, task] {
      const AcquireOptions options{.owner = {.api = "benchmark", .task = task}};
      me.asks.store(true);
      const absl::StatusOr<NormalGrant> grant = gate.Begin(JobClass::kModify, options);
      if (!grant.ok()) std::abort();
      me.asks.store(false);
      me.rounds_left.fetch_sub(1);
      while (!other.asks.load() && other.rounds_left.load() != 0) {
      }
    };
  };
  for (auto _ : state) {
    for (Side& side : sides) side.rounds_left = kRounds;
    state.SetIterationTime(PingPong(half(sides[0], sides[1], 1), half(sides[1], sides[0], 2)));
  }
}
BENCHMARK(HandOff)->UseManualTime()->Iterations(2)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace jobcore::gate

BENCHMARK_MAIN();
