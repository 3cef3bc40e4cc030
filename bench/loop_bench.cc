// SPDX-License-Identifier: Apache-2.0
//
// How fast do bottom halves get from one thread to another, and what do they cost the thread that posts them?
//
//   Burst          1000 at a time are posted to the other loop; the burst ends when all have run: items per second
//   Producer       the same, but only the posting counts: time per burst of 1000
//   PingPong       one there, which posts one back: a round trip of two loops that both poll, or both block
//   PostAndRun     in the same thread, posted and run one at a time
//
// In three forms: WorkItem (intrusive), BottomHalf::Schedule, and Post of a callable. Controls: a cache line's round
// trip for loops that poll, an eventfd and epoll ping-pong for loops that block, a relaxed load.
// Opponents, where they are installed: asio::post across io_contexts (blocking, and polled in a loop), and
// uv_async_send of libuv.

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "job-common/aio_context.h"
#include "two_threads.h"

#if __has_include(<asio.hpp>)
#define JOBCORE_BENCH_ASIO 1
#include <asio.hpp>
#endif
#ifdef JOBCORE_BENCH_HAS_UV
#include <uv.h>
#endif

namespace jobcore {
namespace {

using bench::BenchClock;
using bench::kBlocking;
using bench::kPolling;
using bench::MainLoop;
using bench::OtherLoop;
using bench::Seconds;

constexpr size_t kBurst = 1000;

// How many have run, counted by the loop's thread alone.
class Count {
 public:
  void Increment() { count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
  uint64_t Get() const { return count_.load(std::memory_order_acquire); }

 private:
  alignas(64) std::atomic<uint64_t> count_{0};
};

// --- The three forms: `size` things that are posted to a context and, run there, increment a count ---

class WorkItems {
 public:
  WorkItems(AioContext& context, size_t size, Count& count) : context_(context) {
    for (size_t i = 0; i < size; ++i) items_.emplace_back(count);
  }
  void Post(size_t i) { context_.Post(items_[i]); }

 private:
  struct Item final : WorkItem {
    explicit Item(Count& c) : WorkItem("bench", &Run), count(c) {}
    static void Run(WorkItem& self, Reason) { static_cast<Item&>(self).count.Increment(); }
    Count& count;
  };
  AioContext& context_;
  std::deque<Item> items_;
};

class BottomHalves {
 public:
  BottomHalves(AioContext& context, size_t size, Count& count) : context_(context) {
    for (size_t i = 0; i < size; ++i) halves_.emplace_back(context, "bench", [&count] { count.Increment(); });
  }
  ~BottomHalves() {
    if (context_.IsHome()) return;
    std::atomic<bool> gone{false};
    context_.Post("end of bench", [&] {
      halves_.clear();
      gone.store(true, std::memory_order_release);
    });
    bench::SpinUntil([&] { return gone.load(std::memory_order_acquire); });
  }
  void Post(size_t i) { halves_[i].Schedule(); }

 private:
  AioContext& context_;
  std::deque<BottomHalf> halves_;
};

class Callables {
 public:
  Callables(AioContext& context, size_t, Count& count) : context_(context), count_(count) {}
  void Post(size_t) {
    context_.Post("bench", [&count = count_] { count.Increment(); });
  }

 private:
  AioContext& context_;
  Count& count_;
};

// --- Bursts ---

template <typename Form, const Nanoseconds& kPoll>
void Burst(benchmark::State& state) {
  bench::PinTo(bench::kMainCpu);
  OtherLoop other(kPoll);
  Count ran;
  Form form(other.context(), kBurst, ran);
  uint64_t posted = 0;
  for (auto _ : state) {
    for (size_t i = 0; i < kBurst; ++i) form.Post(i);
    posted += kBurst;
    bench::SpinUntil([&] { return ran.Get() == posted; });
  }
  state.SetItemsProcessed(static_cast<int64_t>(posted));
}

template <typename Form, const Nanoseconds& kPoll>
void Producer(benchmark::State& state) {
  bench::PinTo(bench::kMainCpu);
  OtherLoop other(kPoll);
  Count ran;
  Form form(other.context(), kBurst, ran);
  uint64_t posted = 0;
  for (auto _ : state) {
    const auto start = BenchClock::now();
    for (size_t i = 0; i < kBurst; ++i) form.Post(i);
    state.SetIterationTime(Seconds(BenchClock::now() - start).count());
    posted += kBurst;
    bench::SpinUntil([&] { return ran.Get() == posted; });
  }
  state.SetItemsProcessed(static_cast<int64_t>(posted));
}

#define JOBCORE_BENCH_FORMS(CASE, ...)                  \
  BENCHMARK(CASE<WorkItems, kPolling>) __VA_ARGS__;     \
  BENCHMARK(CASE<BottomHalves, kPolling>) __VA_ARGS__;  \
  BENCHMARK(CASE<Callables, kPolling>) __VA_ARGS__;     \
  BENCHMARK(CASE<WorkItems, kBlocking>) __VA_ARGS__;    \
  BENCHMARK(CASE<BottomHalves, kBlocking>) __VA_ARGS__; \
  BENCHMARK(CASE<Callables, kBlocking>) __VA_ARGS__

JOBCORE_BENCH_FORMS(Burst, ->UseRealTime()->MinTime(0.1));
JOBCORE_BENCH_FORMS(Producer, ->UseManualTime()->MinTime(0.1));

// --- Round trips ---

struct Ball final : WorkItem {
  Ball(AioContext& back, WorkItem* next, Count& c) : WorkItem("bench", &Run), to(back), answer(next), count(c) {}
  static void Run(WorkItem& self, Reason) {
    Ball& ball = static_cast<Ball&>(self);
    if (ball.answer != nullptr) ball.to.Post(*ball.answer);
    ball.count.Increment();
  }
  AioContext& to;
  WorkItem* const answer;
  Count& count;
};

template <const Nanoseconds& kPoll>
void PingPong(benchmark::State& state) {
  MainLoop main(kPoll);
  OtherLoop other(kPoll);
  Count there, back;
  Ball home(main.context(), nullptr, back);
  Ball away(main.context(), &home, there);
  uint64_t trips = 0;
  for (auto _ : state) {
    other.context().Post(away);
    ++trips;
    main.RunUntil([&] { return back.Get() == trips; });
  }
}
BENCHMARK(PingPong<kPolling>)->UseRealTime()->MinTime(0.2);
BENCHMARK(PingPong<kBlocking>)->UseRealTime()->MinTime(0.2);

template <typename Form>
void PostAndRun(benchmark::State& state) {
  MainLoop main(kBlocking);
  Count ran;
  Form form(main.context(), 1, ran);
  for (auto _ : state) {
    form.Post(0);
    main.context().RunOnce(/*may_block=*/true);
  }
  if (ran.Get() != static_cast<uint64_t>(state.iterations())) state.SkipWithError("not all have run");
}
BENCHMARK(PostAndRun<WorkItems>)->MinTime(0.1);
BENCHMARK(PostAndRun<BottomHalves>)->MinTime(0.1);
BENCHMARK(PostAndRun<Callables>)->MinTime(0.1);

// --- Controls ---

void RelaxedLoad(benchmark::State& state) {
  std::atomic<uint32_t> word{0};
  for (auto _ : state) benchmark::DoNotOptimize(word.load(std::memory_order_relaxed));
}
BENCHMARK(RelaxedLoad)->MinTime(0.05);
BENCHMARK(bench::RoundTrip<bench::CacheLineEcho>)->UseRealTime()->MinTime(0.1);
BENCHMARK(bench::RoundTrip<bench::EventfdEpollEcho>)->UseRealTime()->MinTime(0.2);

// --- asio ---

#ifdef JOBCORE_BENCH_ASIO

class AsioLoop {
 public:
  explicit AsioLoop(bool polls) : polls_(polls) {}
  asio::io_context& context() { return context_; }
  template <typename Condition>
  void RunUntil(Condition&& condition) {
    while (!condition()) polls_ ? context_.poll_one() : context_.run_one();
  }
  void Stop() {
    asio::post(context_, [this] { running_ = false; });
  }
  void Run() {
    RunUntil([this] { return !running_; });
  }

 private:
  const bool polls_;
  bool running_ = true;
  asio::io_context context_{1};  // one thread runs it
  asio::executor_work_guard<asio::io_context::executor_type> keep_{context_.get_executor()};
};

class OtherAsioLoop {
 public:
  explicit OtherAsioLoop(bool polls) : loop_(polls) {}
  ~OtherAsioLoop() {
    loop_.Stop();
    thread_.join();
  }
  asio::io_context& context() { return loop_.context(); }

 private:
  AsioLoop loop_;
  std::thread thread_{[this] {
    bench::PinTo(bench::kOtherCpu);
    loop_.Run();
  }};
};

void AsioBurst(benchmark::State& state, bool polls, bool producer_only) {
  bench::PinTo(bench::kMainCpu);
  OtherAsioLoop other(polls);
  Count ran;
  uint64_t posted = 0;
  for (auto _ : state) {
    const auto start = BenchClock::now();
    for (size_t i = 0; i < kBurst; ++i) asio::post(other.context(), [&ran] { ran.Increment(); });
    if (producer_only) state.SetIterationTime(Seconds(BenchClock::now() - start).count());
    posted += kBurst;
    bench::SpinUntil([&] { return ran.Get() == posted; });
    if (!producer_only) state.SetIterationTime(Seconds(BenchClock::now() - start).count());
  }
  state.SetItemsProcessed(static_cast<int64_t>(posted));
}
BENCHMARK_CAPTURE(AsioBurst, burst_blocking, false, false)->UseManualTime()->MinTime(0.1);
BENCHMARK_CAPTURE(AsioBurst, burst_polling, true, false)->UseManualTime()->MinTime(0.1);
BENCHMARK_CAPTURE(AsioBurst, producer_blocking, false, true)->UseManualTime()->MinTime(0.1);
BENCHMARK_CAPTURE(AsioBurst, producer_polling, true, true)->UseManualTime()->MinTime(0.1);

void AsioPingPong(benchmark::State& state, bool polls) {
  bench::PinTo(bench::kMainCpu);
  AsioLoop main(polls);
  OtherAsioLoop other(polls);
  uint64_t trips = 0, back = 0;
  for (auto _ : state) {
    asio::post(other.context(), [&] { asio::post(main.context(), [&back] { ++back; }); });
    ++trips;
    main.RunUntil([&] { return back == trips; });
  }
}
BENCHMARK_CAPTURE(AsioPingPong, blocking, false)->UseRealTime()->MinTime(0.2);
BENCHMARK_CAPTURE(AsioPingPong, polling, true)->UseRealTime()->MinTime(0.2);

#endif  // JOBCORE_BENCH_ASIO

// --- libuv ---

#ifdef JOBCORE_BENCH_HAS_UV

// Has no queue of callables: one handle per thing that may be posted, as our BottomHalf.
class UvLoop {
 public:
  UvLoop() { uv_loop_init(&loop_); }
  ~UvLoop() { uv_loop_close(&loop_); }
  uv_loop_t* loop() { return &loop_; }

 private:
  uv_loop_t loop_;
};

struct UvCounter {
  UvCounter(uv_loop_t* loop, uv_async_t* answer_to) : answer(answer_to) {
    uv_async_init(loop, &handle, [](uv_async_t* self) {
      auto* const counter = static_cast<UvCounter*>(self->data);
      if (counter->end.load(std::memory_order_acquire)) {
        uv_close(reinterpret_cast<uv_handle_t*>(self), nullptr);
        return;
      }
      counter->count.Increment();
      if (counter->answer != nullptr) uv_async_send(counter->answer);
    });
    handle.data = this;
  }
  uv_async_t handle;
  uv_async_t* const answer;
  Count count;
  std::atomic<bool> end{false};
};

void UvPingPong(benchmark::State& state) {
  bench::PinTo(bench::kMainCpu);
  UvLoop main, other;
  UvCounter home(main.loop(), nullptr);
  UvCounter away(other.loop(), &home.handle);
  std::thread thread([&] {
    bench::PinTo(bench::kOtherCpu);
    uv_run(other.loop(), UV_RUN_DEFAULT);  // until its handle is closed
  });
  uint64_t trips = 0;
  for (auto _ : state) {
    uv_async_send(&away.handle);
    ++trips;
    while (home.count.Get() != trips) uv_run(main.loop(), UV_RUN_ONCE);
  }
  away.end.store(true, std::memory_order_release);
  uv_async_send(&away.handle);
  thread.join();
  home.end.store(true, std::memory_order_release);
  uv_async_send(&home.handle);
  uv_run(main.loop(), UV_RUN_DEFAULT);
}
BENCHMARK(UvPingPong)->UseRealTime()->MinTime(0.2);

#endif  // JOBCORE_BENCH_HAS_UV

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
