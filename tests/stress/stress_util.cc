// SPDX-License-Identifier: Apache-2.0

#include "stress/stress_util.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace jobcore::stress {
namespace {

std::string& CommandLine() {
  static auto* const line = new std::string;
  return *line;
}

struct Hearts {
  std::mutex mutex;
  std::vector<Heart*> all;
};
Hearts& AllHearts() {
  static auto* const hearts = new Hearts;
  return *hearts;
}

// A dump that hangs itself is cut off after this time.
constexpr unsigned kDumpSeconds = 10;

}  // namespace

Counts& Totals() {
  static auto* const totals = new Counts;
  return *totals;
}

void PrintTotals() {
#define JOBCORE_STRESS_PRINT(name) \
  std::printf(" %s=%llu", #name, static_cast<unsigned long long>(Totals().name.load(std::memory_order_relaxed)));
  JOBCORE_STRESS_COUNTS(JOBCORE_STRESS_PRINT)
#undef JOBCORE_STRESS_PRINT
  std::printf("\n");
}

void SetCommandLine(std::string text) { CommandLine() = std::move(text); }

void Fail(std::string_view message) {
  const std::string text = absl::StrCat("\nSTRESS FAILED: ", View(message), "\n  to repeat: ", CommandLine(), "\n");
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::abort();
}

Heart::Heart(std::string name) : name_(std::move(name)) {
  const std::scoped_lock lock(AllHearts().mutex);
  AllHearts().all.push_back(this);
}

Heart::~Heart() {
  const std::scoped_lock lock(AllHearts().mutex);
  std::erase(AllHearts().all, this);
}

struct Watchdog::State {
  std::chrono::seconds limit;
  std::function<void()> dump;
  std::mutex mutex;
  std::condition_variable wake;
  bool stop = false;
  std::thread thread;
};

Watchdog::Watchdog(std::chrono::seconds limit, std::function<void()> dump) : state_(new State) {
  state_->limit = limit;
  state_->dump = std::move(dump);
  state_->thread = std::thread([this] {
    std::unique_lock lock(state_->mutex);
    while (!state_->wake.wait_for(lock, std::chrono::milliseconds(500), [this] { return state_->stop; })) Look();
  });
}

Watchdog::~Watchdog() {
  {
    const std::scoped_lock lock(state_->mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  state_->thread.join();
  delete state_;
}

void Watchdog::Look() {
  const std::scoped_lock lock(AllHearts().mutex);
  const TimePoint now = Clock::System().Now();
  std::string stuck;
  for (Heart* heart : AllHearts().all) {
    const uint64_t beats = heart->beats_.load(std::memory_order_relaxed);
    if (beats != heart->last_beats_ || heart->last_change_ == TimePoint()) {
      heart->last_beats_ = beats;
      heart->last_change_ = now;
    } else if (now - heart->last_change_ > state_->limit) {
      stuck = heart->name_;
    }
  }
  if (stuck.empty()) return;
  for (Heart* heart : AllHearts().all) {
    std::fprintf(stderr, "  %s: in '%s' for %.1f s\n", heart->name_.c_str(),
                 heart->what_.load(std::memory_order_relaxed),
                 std::chrono::duration<double>(now - heart->last_change_).count());
  }
  std::fprintf(stderr, "  '%s' hangs; what is open:\n", stuck.c_str());
  alarm(kDumpSeconds);
  state_->dump();
  Fail(absl::StrCat("no progress: '", stuck, "' hangs"));
}

}  // namespace jobcore::stress
