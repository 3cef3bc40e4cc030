// SPDX-License-Identifier: Apache-2.0
//
// Virtual time for tests on one thread: a loop that would sleep moves the clock instead.

#ifndef JOBCORE_TESTS_SUPPORT_VIRTUAL_TIME_H_
#define JOBCORE_TESTS_SUPPORT_VIRTUAL_TIME_H_

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/poller.h"

namespace jobcore::support {

// Stands still until it is moved. Any thread.
class ManualClock final : public Clock {
 public:
  TimePoint Now() override { return TimePoint(Nanoseconds(now_.load())); }
  void Advance(Nanoseconds delta) { now_.fetch_add(delta.count()); }

 private:
  std::atomic<int64_t> now_{1'000'000'000};
};

// Never sleeps: Wait(timeout) returns at once and moves the clock by `timeout`. A wait without a limit that
// nothing has woken would last forever, and aborts. Knows no descriptors.
class AutoAdvancePoller final : public Poller {
 public:
  explicit AutoAdvancePoller(ManualClock& clock) : clock_(clock) {}

  absl::Status Add(int, FdEvents, uint64_t) override { return None(); }
  absl::Status Modify(int, FdEvents, uint64_t) override { return None(); }
  void Remove(int) override {}
  void Wait(Nanoseconds timeout, std::vector<Ready>&) override {
    if (woken_.exchange(false)) return;
    if (timeout.count() < 0) {
      std::fputs("AutoAdvancePoller: nothing will ever wake this loop\n", stderr);
      std::abort();
    }
    clock_.Advance(timeout);
  }
  void Wake() override { woken_ = true; }

 private:
  static absl::Status None() { return absl::UnimplementedError("AutoAdvancePoller has no descriptors"); }

  ManualClock& clock_;
  std::atomic<bool> woken_{false};
};

// A main context in virtual time, with the calling thread as its home.
class VirtualLoop {
 public:
  explicit VirtualLoop(AioContext::Kind kind = AioContext::Kind::kMain)
      : context_(Create(clock_, kind)), home_(*context_) {}

  ManualClock& clock() { return clock_; }
  AioContext& context() { return *context_; }
  operator AioContext&() { return *context_; }  // NOLINT(google-explicit-constructor)

  // Runs until nothing is posted any more; does not let time pass.
  void RunReady(int turns = 10) {
    for (int i = 0; i < turns; ++i) context_->RunOnce(false);
  }

 private:
  static std::shared_ptr<AioContext> Create(ManualClock& clock, AioContext::Kind kind) {
    return AioContext::Create(
        {.name = "virtual", .kind = kind, .clock = &clock, .poller = std::make_unique<AutoAdvancePoller>(clock)});
  }

  ManualClock clock_;
  const std::shared_ptr<AioContext> context_;
  const AioHome home_;
};

}  // namespace jobcore::support

#endif  // JOBCORE_TESTS_SUPPORT_VIRTUAL_TIME_H_
