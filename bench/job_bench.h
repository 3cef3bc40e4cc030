// SPDX-License-Identifier: Apache-2.0
//
// What the benchmarks of jobs share: pinned threads, a driver that does nothing, a world with or without an I/O
// thread, and the controls.

#ifndef JOBCORE_BENCH_JOB_BENCH_H_
#define JOBCORE_BENCH_JOB_BENCH_H_

#include <malloc.h>
#include <pthread.h>
#include <sched.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-common/job_event.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/event_observer.h"

namespace jobcore::bench {

inline constexpr Nanoseconds kPollMax = std::chrono::microseconds(32);

inline void PinThisThread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0) std::abort();
}

enum class Place {
  kMain,      // the jobs run in the main context
  kPolling,   // … in an I/O thread; both loops poll before they block
  kBlocking,  // … in an I/O thread; both loops block at once
};

// The C library leaves out atomic operations as long as a process has never had a second thread; a program with jobs
// has one.
inline void HaveHadAThread() {
  std::thread([] {}).join();
}

// The main context on CPU 0, the I/O thread, if there is one, on CPU 1.
class World {
 public:
  World(Place place, size_t history_count) {
    PinThisThread(0);
    HaveHadAThread();
    const Nanoseconds poll_max = place == Place::kPolling ? kPollMax : Nanoseconds(0);
    main_ = AioContext::Create({.poll_max = poll_max});
    core_.emplace(JobCore::Options{.main_context = main_, .history_count = history_count});
    if (place == Place::kMain) return;
    io_.emplace("io", IOThread::Options{.poll_max = poll_max});
    io_->context().Post("pin", [] { PinThisThread(1); });
  }

  JobCore& core() { return *core_; }
  AioContext& main() { return *main_; }
  // Where jobs run.
  AioContext& home() { return io_ ? io_->context() : *main_; }

 private:
  std::shared_ptr<AioContext> main_;
  std::optional<IOThread> io_;  // outlives the core's jobs
  std::optional<JobCore> core_;
};

// Runs to its end at once, or fails there, and counts itself off when it is destroyed (in the main context).
class Trivial final : public JobDriver {
 public:
  explicit Trivial(int64_t& alive, bool fails = false) : alive_(alive), fails_(fails) { ++alive_; }
  ~Trivial() override { --alive_; }
  std::string_view type() const override { return "trivial"; }
  Co<absl::Status> Run(JobContext&) override {
    if (fails_) co_return absl::DataLossError("no");
    co_return absl::OkStatus();
  }

 private:
  int64_t& alive_;
  const bool fails_;
};

inline std::vector<std::string> Ids(int64_t count) {
  std::vector<std::string> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(absl::StrCat("job-", i));
  return ids;
}

// Counts the events that reach an observer in the main context.
class Events {
 public:
  explicit Events(World& world)
      : observer_(world.core(), world.main(), [this](const EventPage& page) { Count(page); }) {}
  int64_t seen() const { return seen_; }

 private:
  void Count(const EventPage& page) {
    if (page.lost != 0) std::abort();  // not what is to be measured
    for (const JobEvent& event : page.events) benchmark::DoNotOptimize(event.status);
    seen_ += static_cast<int64_t>(page.events.size());
  }

  int64_t seen_ = 0;
  monitor::EventObserver observer_;
};

// --- The controls ---

inline void ControlMalloc(benchmark::State& state) {
  for (auto _ : state) {
    void* block = std::malloc(512);
    benchmark::DoNotOptimize(block);
    std::free(block);
  }
}

inline void ControlClockRead(benchmark::State& state) {
  Clock& clock = Clock::System();
  for (auto _ : state) benchmark::DoNotOptimize(clock.Now());
}

inline void ControlLockUnlock(benchmark::State& state) {
  HaveHadAThread();
  std::mutex mutex;
  for (auto _ : state) {
    mutex.lock();
    benchmark::ClobberMemory();
    mutex.unlock();
  }
}

inline void RegisterControls() {
  for (const auto& [name, function] :
       {std::pair{"Control/malloc_512_free", &ControlMalloc}, std::pair{"Control/clock_read", &ControlClockRead},
        std::pair{"Control/lock_unlock", &ControlLockUnlock}}) {
    benchmark::RegisterBenchmark(name, function)->MinTime(0.05);
  }
}

}  // namespace jobcore::bench

#endif  // JOBCORE_BENCH_JOB_BENCH_H_
