// SPDX-License-Identifier: Apache-2.0

#include "job-testing/controlled_threads.h"

#include <atomic>
#include <vector>

#include "absl/status/status.h"
#include "aio/probe.h"
#include "job-testing/thread_control.h"
#include "testing/scheduler.h"
#include "testing/tsan.h"

namespace jobcore::inline JOBCORE_ABI::testing {
namespace {

class ControlledPoller final : public Poller {
 public:
  explicit ControlledPoller(Clock& clock) : clock_(clock) {}

  absl::Status Add(int, FdEvents, uint64_t) override { return None(); }
  absl::Status Modify(int, FdEvents, uint64_t) override { return None(); }
  void Remove(int) override {}

  void Wait(Nanoseconds timeout, std::vector<Ready>&) override {
    const Nanoseconds wait = timeout.count() > 1 && internal::FaultPoint("early_timer") ? timeout / 2 : timeout;
    const TimePoint deadline = wait.count() < 0 ? kNoDeadline : SaturatingAdd(clock_.Now(), wait);
    internal::SwitchPoint("poll");
    if (woken_.exchange(false) || timeout.count() == 0) return;
    internal::Block(this, "loop", deadline);
    woken_.exchange(false);
  }

  void Wake() override {
    internal::SwitchPoint("wake");
    internal::DrainStores();  // a system call in production
    woken_.store(true);
    internal::UnblockAll(this);
  }

 private:
  static absl::Status None() { return absl::UnimplementedError("controlled threads have no descriptors"); }

  Clock& clock_;
  std::atomic<bool> woken_{false};
};

}  // namespace

ControlledThreads::ControlledThreads(Choices& choices, const Options& options)
    : scheduler_(std::make_unique<Scheduler>(choices, options)) {}

ControlledThreads::~ControlledThreads() = default;

Clock& ControlledThreads::clock() { return scheduler_->clock(); }

std::unique_ptr<Poller> ControlledThreads::NewPoller() { return std::make_unique<ControlledPoller>(clock()); }

void ControlledThreads::AwaitQuiet() {
  internal::DrainStores();
  const internal::HiddenFromTsan hidden;
  scheduler_->AwaitQuiet();
}

uint64_t ControlledThreads::steps() const { return scheduler_->steps(); }

}  // namespace jobcore::inline JOBCORE_ABI::testing
