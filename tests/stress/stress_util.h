// SPDX-License-Identifier: Apache-2.0
//
// What all parts of the stress test share: random choices that depend on the seed alone, failing loudly,
// counting, and a watchdog that finds whoever hangs.

#ifndef JOBCORE_TESTS_STRESS_STRESS_UTIL_H_
#define JOBCORE_TESTS_STRESS_STRESS_UTIL_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "job-common/clock.h"

namespace jobcore::stress {

// SplitMix64: small, and good enough to choose from a list.
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}
  // A generator of its own for part `index` of kind `kind` of the run `seed`.
  Rng(uint64_t seed, uint64_t kind, uint64_t index) : state_(seed) {
    state_ = Next() ^ kind;
    state_ = Next() ^ index;
    Next();
  }

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t Below(uint64_t n) { return Next() % n; }
  uint64_t Between(uint64_t low, uint64_t high) { return low + Below(high - low + 1); }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  Nanoseconds Micros(uint64_t low, uint64_t high) { return std::chrono::microseconds(Between(low, high)); }

 private:
  uint64_t state_;
};

// Everything that is counted, with the name it is printed under.
// clang-format off
#define JOBCORE_STRESS_COUNTS(X)                                                                          \
  X(worlds) X(iothreads) X(jobs) X(groups) X(unsealed) X(refused_creations) X(starts) X(abandons)         \
  X(pauses) X(resumes) X(soft_cancels) X(force_cancels) X(cancel_alls) X(completes) X(finalizes)          \
  X(dismissals) X(enters) X(wake_ups) X(gaps) X(queries) X(waits) X(awaits) X(observers) X(events)        \
  X(lost_events) X(replies) X(seen_parked) X(runs) X(steps) X(pause_hooks) X(commits) X(aborts)           \
  X(succeeded) X(failed) X(cancelled) X(moves) X(speeds) X(changes) X(change_hooks) X(sections) X(no_sections)    \
  X(requests) X(requests_of_jobs)
// clang-format on

struct Counts {
#define JOBCORE_STRESS_DECLARE(name) std::atomic<uint64_t> name{0};
  JOBCORE_STRESS_COUNTS(JOBCORE_STRESS_DECLARE)
#undef JOBCORE_STRESS_DECLARE
};
Counts& Totals();
inline void Count(std::atomic<uint64_t>& counter, uint64_t n = 1) { counter.fetch_add(n, std::memory_order_relaxed); }
void PrintTotals();

// The command line that repeats this run, for messages.
void SetCommandLine(std::string text);

// Prints the seed and the message, and aborts.
[[noreturn]] void Fail(std::string_view message);

#define STRESS_CHECK(condition, ...)                                                                     \
  do {                                                                                                   \
    if (!(condition)) [[unlikely]]                                                                       \
      ::jobcore::stress::Fail(absl::StrCat(__FILE__, ":", __LINE__, ": " #condition ": ", __VA_ARGS__)); \
  } while (false)

inline absl::string_view View(std::string_view s) { return {s.data(), s.size()}; }

// Registers the calling thread with the watchdog. Beat() says what it is about to do.
class Heart {
 public:
  explicit Heart(std::string name);
  ~Heart();
  Heart(const Heart&) = delete;
  Heart& operator=(const Heart&) = delete;

  void Beat(const char* what) {
    what_.store(what, std::memory_order_relaxed);
    beats_.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  friend class Watchdog;
  const std::string name_;
  std::atomic<const char*> what_{"start"};
  std::atomic<uint64_t> beats_{0};
  uint64_t last_beats_ = 0;  // the watchdog's
  TimePoint last_change_{};  // the watchdog's
};

// A thread that aborts the process, after `dump`, when some heart has not beaten for `limit`.
class Watchdog {
 public:
  Watchdog(std::chrono::seconds limit, std::function<void()> dump);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  struct State;
  void Look();
  State* const state_;
};

// A little work that the optimiser keeps.
inline void Spin(uint64_t rounds) {
  for (uint64_t i = 0; i < rounds; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
}

}  // namespace jobcore::stress

#endif  // JOBCORE_TESTS_STRESS_STRESS_UTIL_H_
