// SPDX-License-Identifier: Apache-2.0
//
// Two threads on two processors, and what it takes at least for one to get the attention of the other: the controls
// of all benchmarks that have an I/O thread. The main thread is on processor 0, the other one on processor 1.

#ifndef JOBCORE_BENCH_TWO_THREADS_H_
#define JOBCORE_BENCH_TWO_THREADS_H_

#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "benchmark/benchmark.h"
#include "job-common/aio_context.h"
#include "job-common/iothread.h"

namespace jobcore::bench {

using BenchClock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

inline constexpr int kMainCpu = 0;
inline constexpr int kOtherCpu = 1;
// Long enough for a loop to find its next wake-up while it polls.
inline constexpr Nanoseconds kPolling = std::chrono::microseconds(100);
inline constexpr Nanoseconds kBlocking{0};

// Nothing happens on a machine with one processor.
inline void PinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  (void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

inline void CpuPause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

template <typename Condition>
void SpinUntil(Condition&& condition) {
  while (!condition()) CpuPause();
}

inline void BusyFor(Nanoseconds duration) {
  for (const auto end = BenchClock::now() + duration; BenchClock::now() < end;) {
  }
}

// From saying that it will sleep until it does, in its system call.
inline constexpr Nanoseconds kFallingAsleep = std::chrono::microseconds(3);

inline void SpinUntilAsleep(const AioContext& context) {
  SpinUntil([&] { return context.sleeping(); });
  BusyFor(kFallingAsleep);
}

// A main context, with the calling thread as its home.
class MainLoop {
 public:
  explicit MainLoop(Nanoseconds poll_max)
      : context_(AioContext::Create({.name = "main", .poll_max = poll_max})), home_(*context_) {
    PinTo(kMainCpu);
  }
  AioContext& context() const { return *context_; }
  std::shared_ptr<AioContext> shared() const { return context_; }
  template <typename Condition>
  void RunUntil(Condition&& condition) {
    while (!condition()) context_->RunOnce(/*may_block=*/true);
  }

 private:
  const std::shared_ptr<AioContext> context_;
  const AioHome home_;
};

// An I/O thread on the other processor.
class OtherLoop {
 public:
  explicit OtherLoop(Nanoseconds poll_max) : thread_("io", Options(poll_max)) {
    Call([] { PinTo(kOtherCpu); });
  }
  AioContext& context() const { return thread_.context(); }
  // Runs `function` there, and waits for it.
  template <typename F>
  void Call(F function) {
    std::atomic<bool> done{false};
    context().Post("bench call", [&] {
      function();
      done.store(true, std::memory_order_release);
    });
    SpinUntil([&] { return done.load(std::memory_order_acquire); });
  }

 private:
  static IOThread::Options Options(Nanoseconds poll_max) {
    IOThread::Options options;
    options.poll_max = poll_max;
    return options;
  }
  IOThread thread_;
};

// Control for loops that poll: a cache line there and back.
class CacheLineEcho {
 public:
  CacheLineEcho() { PinTo(kMainCpu); }
  ~CacheLineEcho() {
    there_.store(kEnd, std::memory_order_release);
    thread_.join();
  }
  void RoundTrip() {
    ++sent_;
    there_.store(sent_, std::memory_order_release);
    while (back_.load(std::memory_order_acquire) != sent_) {
    }
  }

 private:
  static constexpr uint64_t kEnd = UINT64_MAX;
  void Run() {
    PinTo(kOtherCpu);
    for (uint64_t seen = 0; seen != kEnd;) {
      const uint64_t now = there_.load(std::memory_order_acquire);
      if (now != seen) back_.store(seen = now, std::memory_order_release);
    }
  }
  uint64_t sent_ = 0;
  alignas(64) std::atomic<uint64_t> there_{0};
  alignas(64) std::atomic<uint64_t> back_{0};
  std::thread thread_{&CacheLineEcho::Run, this};
};

// Control for loops that sleep: an eventfd, waited for by epoll and then read, as loops do. One side of two.
class EventfdEpoll {
 public:
  EventfdEpoll() : epoll_(epoll_create1(EPOLL_CLOEXEC)), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (epoll_ < 0 || event_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, event_, &interest) != 0) {
      std::perror("eventfd and epoll");
      std::abort();
    }
  }
  ~EventfdEpoll() {
    close(event_);
    close(epoll_);
  }
  EventfdEpoll(const EventfdEpoll&) = delete;
  EventfdEpoll& operator=(const EventfdEpoll&) = delete;

  void Wait() {
    epoll_event event;
    while (epoll_wait(epoll_, &event, 1, -1) != 1) {
    }
    uint64_t count;
    if (read(event_, &count, sizeof(count)) < 0) std::abort();
  }
  void Wake() {
    const uint64_t one = 1;
    if (write(event_, &one, sizeof(one)) < 0) std::abort();
  }

 private:
  const int epoll_;
  const int event_;
};

class EventfdEpollEcho {
 public:
  EventfdEpollEcho() { PinTo(kMainCpu); }
  ~EventfdEpollEcho() {
    end_.store(true, std::memory_order_release);
    there_.Wake();
    thread_.join();
  }
  void RoundTrip() {
    there_.Wake();
    back_.Wait();
  }

 private:
  void Run() {
    PinTo(kOtherCpu);
    for (;;) {
      there_.Wait();
      if (end_.load(std::memory_order_acquire)) return;
      back_.Wake();
    }
  }
  EventfdEpoll there_, back_;
  std::atomic<bool> end_{false};
  std::thread thread_{&EventfdEpollEcho::Run, this};
};

// The controls, as benchmarks: a round trip each.
template <typename Echo>
void RoundTrip(benchmark::State& state) {
  Echo echo;
  for (auto _ : state) echo.RoundTrip();
}

}  // namespace jobcore::bench

#endif  // JOBCORE_BENCH_TWO_THREADS_H_
