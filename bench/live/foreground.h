// SPDX-License-Identifier: Apache-2.0
//
// The foreground: writers that write 4 KiB at random places of a disk at a fixed pace, and how long each write takes.
// It is the same on both sides; how a write gets to its disk is not.
//
// At a fixed pace, and not as fast as they can: what a job takes from them then shows in their latency alone, and what
// they take from a job is the same for every job. A write that comes late because the one before it took long counts
// from the moment when it was due, or a stall would count once however long it is.

#ifndef JOBCORE_BENCH_LIVE_FOREGROUND_H_
#define JOBCORE_BENCH_LIVE_FOREGROUND_H_

#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "block/delay.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/iothread.h"

namespace jobcore::bench {

inline constexpr size_t kWriteBytes = 4096;

class Disk {
 public:
  virtual ~Disk() = default;
  virtual uint64_t size() const = 0;
  // In the foreground's thread, each writer one at a time. 0, or an errno.
  virtual Co<int> Write(size_t writer, uint64_t offset, std::span<const std::byte> data) = 0;
};

class Foreground {
 public:
  struct Options {
    size_t writers = 1;               // who write at the same moments
    double writes_per_second = 2000;  // of all of them together
  };

  struct Latencies {
    std::vector<Nanoseconds> sorted;
    double seconds = 0;  // for which they were collected
    // Of no writes: 0.
    Nanoseconds Quantile(double q) const {
      if (sorted.empty()) return {};
      return sorted[std::min(sorted.size() - 1, static_cast<size_t>(q * static_cast<double>(sorted.size())))];
    }
  };

  explicit Foreground(Options options)
      : options_(options),
        period_(static_cast<int64_t>(1e9 * static_cast<double>(options.writers) / options.writes_per_second)),
        thread_("foreground") {}

  AioContext& context() const { return thread_.context(); }

  // The following on another thread, in this order.

  void Start(Disk& disk) {
    running_.store(options_.writers);
    context().Post("foreground", [this, &disk] {
      prctl(PR_SET_TIMERSLACK, 1);  // by default timers are late by up to 50 us
      const TimePoint start = context().clock().Now();
      for (size_t i = 0; i < options_.writers; ++i) Spawn("writer", WriteAtPace(disk, i, start));
    });
  }
  void BeginMeasuring() {
    began_ = Clock::System().Now();
    measuring_.store(true);
  }
  void EndMeasuring() {
    measuring_.store(false);
    ended_ = Clock::System().Now();
  }
  // Waits for the last writes.
  Latencies Stop() {
    stop_.store(true);
    for (size_t n = running_.load(); n > 0; n = running_.load()) running_.wait(n);
    std::ranges::sort(latencies_);
    return {.sorted = std::move(latencies_), .seconds = std::chrono::duration<double>(ended_ - began_).count()};
  }

 private:
  Co<void> WriteAtPace(Disk& disk, size_t writer, TimePoint due) {
    Clock& clock = context().clock();
    std::minstd_rand random(static_cast<uint32_t>(writer) + 1);
    const std::vector<std::byte> data(kWriteBytes, static_cast<std::byte>(writer + 1));
    std::uniform_int_distribution<uint64_t> block(0, disk.size() / kWriteBytes - 1);
    while (!stop_.load(std::memory_order_relaxed)) {
      const Nanoseconds early = due - clock.Now();
      co_await block::Delay(early);
      const TimePoint begin = early.count() > 0 ? clock.Now() : due;
      const bool counts = measuring_.load(std::memory_order_relaxed);
      const int error = co_await disk.Write(writer, block(random) * kWriteBytes, data);
      if (error != 0) {
        std::fprintf(stderr, "a foreground write failed: %s\n", std::strerror(error));
        std::exit(1);
      }
      if (counts) latencies_.push_back(clock.Now() - begin);
      due += period_;
    }
    running_.fetch_sub(1);
    running_.notify_all();
  }

  const Options options_;
  const Nanoseconds period_;
  std::atomic<bool> measuring_{false};
  std::atomic<bool> stop_{false};
  std::atomic<size_t> running_{0};
  TimePoint began_;
  TimePoint ended_;
  std::vector<Nanoseconds> latencies_;  // the foreground's thread only, while writers run
  IOThread thread_;                     // the last: ends first
};

}  // namespace jobcore::bench

#endif  // JOBCORE_BENCH_LIVE_FOREGROUND_H_
