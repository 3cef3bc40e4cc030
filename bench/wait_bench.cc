// SPDX-License-Identifier: Apache-2.0
//
// How soon does a waiter learn of what it waits for?
//
//   WakeUp          the main thread sleeps in AioWaitWhileUnlocked; the I/O thread writes what it waits for, and
//                   kicks. From just before the write until the wait has returned.
//   CancelAndWait   monitor::CancelAndWait of an internal job in an I/O thread: one that sleeps, or one that runs in
//                   a tight loop of pause points; with both loops polling, or both blocking.
// Controls: the same wake-up by a bare eventfd and epoll, and half of their ping-pong; a cache line's round trip.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "absl/status/status.h"
#include "benchmark/benchmark.h"
#include "job-common/aio_wait.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_wait.h"
#include "two_threads.h"

namespace jobcore {
namespace {

using bench::BenchClock;
using bench::kBlocking;
using bench::kPolling;
using bench::MainLoop;
using bench::OtherLoop;
using bench::Seconds;

// What one thread tells the other, and when.
struct Signal {
  BenchClock::time_point sent_at;  // published by `sent`
  std::atomic<uint64_t> sent{0};
  void Send() {
    sent_at = BenchClock::now();
    sent.store(sent.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
};

// --- A wake-up ---

void WakeUp(benchmark::State& state) {
  MainLoop main(kBlocking);
  OtherLoop other(kPolling);
  Signal signal;
  uint64_t rounds = 0;
  for (auto _ : state) {
    other.context().Post("bench", [&] {
      bench::SpinUntilAsleep(main.context());
      signal.Send();
      main.context().wait_domain().Kick();
    });
    ++rounds;
    const absl::Status waited = AioWaitWhileUnlocked(
        main.context(), [&] { return signal.sent.load(std::memory_order_acquire) != rounds; }, {.name = "bench"});
    const auto now = BenchClock::now();
    if (!waited.ok()) std::abort();
    state.SetIterationTime(Seconds(now - signal.sent_at).count());
  }
  other.Call([] {});  // it may still be in its kick
}
BENCHMARK(WakeUp)->UseManualTime()->MinTime(0.05);

void EventfdEpollWakeUp(benchmark::State& state) {
  bench::PinTo(bench::kMainCpu);
  OtherLoop other(kPolling);
  bench::EventfdEpoll event;
  std::atomic<uint64_t> about_to_wait{0};
  Signal signal;
  for (auto _ : state) {
    const uint64_t round = about_to_wait.load(std::memory_order_relaxed) + 1;
    other.context().Post("bench", [&, round] {
      bench::SpinUntil([&] { return about_to_wait.load(std::memory_order_acquire) == round; });
      bench::BusyFor(bench::kFallingAsleep);
      signal.Send();
      event.Wake();
    });
    about_to_wait.store(round, std::memory_order_release);
    event.Wait();
    state.SetIterationTime(Seconds(BenchClock::now() - signal.sent_at).count());
  }
  other.Call([] {});
}
BENCHMARK(EventfdEpollWakeUp)->UseManualTime()->MinTime(0.05);

BENCHMARK(bench::RoundTrip<bench::EventfdEpollEcho>)->UseRealTime()->MinTime(0.2);
BENCHMARK(bench::RoundTrip<bench::CacheLineEcho>)->UseRealTime()->MinTime(0.1);

// --- Cancel and wait ---

class Sleeper final : public JobDriver {
 public:
  explicit Sleeper(std::atomic<bool>& in_run) : in_run_(in_run) {}
  Co<absl::Status> Run(JobContext& job) override {
    in_run_.store(true, std::memory_order_release);
    for (;;) {
      if (absl::Status status = co_await job.Sleep(std::chrono::hours(1)); !status.ok()) co_return status;
    }
  }

 private:
  std::atomic<bool>& in_run_;
};

class TightLoop final : public JobDriver {
 public:
  explicit TightLoop(std::atomic<bool>& in_run) : in_run_(in_run) {}
  Co<absl::Status> Run(JobContext& job) override {
    in_run_.store(true, std::memory_order_release);
    for (;;) {
      if (absl::Status status = co_await job.PausePoint(); !status.ok()) co_return status;
    }
  }

 private:
  std::atomic<bool>& in_run_;
};

template <typename Driver, const Nanoseconds& kPoll>
void CancelAndWait(benchmark::State& state) {
  MainLoop main(kPoll);
  OtherLoop other(kPoll);
  JobCore core({.main_context = main.shared()});
  for (auto _ : state) {
    std::atomic<bool> in_run{false};
    const JobRef job =
        *CreateJob(core, {.context = &other.context(), .internal = true}, std::make_unique<Driver>(in_run));
    if (!StartJob(*job).ok()) std::abort();
    bench::SpinUntil([&] { return in_run.load(std::memory_order_acquire); });
    if (kPoll == kBlocking && std::is_same_v<Driver, Sleeper>) {
      bench::SpinUntilAsleep(other.context());
    } else {
      bench::BusyFor(bench::kFallingAsleep);
    }
    const auto start = BenchClock::now();
    const absl::StatusOr<JobOutcome> outcome = monitor::CancelAndWait(job);
    state.SetIterationTime(Seconds(BenchClock::now() - start).count());
    if (!outcome.ok()) std::abort();
  }
}
BENCHMARK(CancelAndWait<Sleeper, kPolling>)->UseManualTime()->MinTime(0.05);
BENCHMARK(CancelAndWait<TightLoop, kPolling>)->UseManualTime()->MinTime(0.05);
BENCHMARK(CancelAndWait<Sleeper, kBlocking>)->UseManualTime()->MinTime(0.05);
BENCHMARK(CancelAndWait<TightLoop, kBlocking>)->UseManualTime()->MinTime(0.05);

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
