// SPDX-License-Identifier: Apache-2.0

#include "job-testing/simulation.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/probe.h"
#include "job-common/poller.h"

namespace jobcore::inline JOBCORE_ABI::testing {

class Simulation::ManualClock final : public Clock {
 public:
  TimePoint Now() override { return now_; }
  void Set(TimePoint now) { now_ = std::max(now_, now); }

 private:
  TimePoint now_{std::chrono::seconds(1)};
};

namespace {

// Never sleeps. Time only moves here where plain code waits, outside of the simulation's steps: in ~JobCore.
class SimPoller final : public Poller {
 public:
  explicit SimPoller(absl::AnyInvocable<void(Nanoseconds)> pass) : pass_(std::move(pass)) {}

  absl::Status Add(int, FdEvents, uint64_t) override { return None(); }
  absl::Status Modify(int, FdEvents, uint64_t) override { return None(); }
  void Remove(int) override {}
  void Wait(Nanoseconds timeout, std::vector<Ready>&) override {
    if (std::exchange(woken_, false) || timeout.count() == 0) return;
    if (timeout.count() < 0) internal::Die("Simulation: plain code waits for what only other loops could bring about");
    pass_(timeout);
  }
  void Wake() override { woken_ = true; }

 private:
  static absl::Status None() { return absl::UnimplementedError("a simulation has no descriptors"); }
  absl::AnyInvocable<void(Nanoseconds)> pass_;
  bool woken_ = false;
};

}  // namespace

struct Simulation::Loop {
  std::shared_ptr<AioContext> context;
  TimePoint timer = kNoDeadline;  // the next one

  // After each stay at home: timers are armed there only.
  void LookAtTimers() {
    const Nanoseconds left = context->Prepare();
    timer = left.count() < 0 ? kNoDeadline : SaturatingAdd(context->clock().Now(), left);
  }
  bool Ready(TimePoint now) const { return context->HasWork() || timer <= now; }
};

Simulation::Simulation(Choices& choices)
    : choices_(choices), clock_(std::make_unique<ManualClock>()), print_(std::getenv("JOBCORE_TRACE") != nullptr) {}

Simulation::~Simulation() = default;

Clock& Simulation::clock() { return *clock_; }

std::shared_ptr<AioContext> Simulation::NewContext(std::string name, AioContext::Kind kind) {
  auto pass = [this](Nanoseconds time) { clock_->Set(SaturatingAdd(clock_->Now(), time)); };
  auto loop = std::make_unique<Loop>();
  loop->context = AioContext::Create({.name = std::move(name),
                                      .kind = kind,
                                      .clock = clock_.get(),
                                      .poller = std::make_unique<SimPoller>(std::move(pass))});
  return loops_.emplace_back(std::move(loop))->context;
}

void Simulation::AtHome(AioContext& context, absl::FunctionRef<void()> body) {
  const AioHome home(context);
  body();
  for (const std::unique_ptr<Loop>& loop : loops_) {
    if (loop->context.get() == &context) loop->LookAtTimers();
  }
}

void Simulation::AddActor(std::string name, absl::AnyInvocable<bool()> step) {
  actors_.push_back(std::make_unique<Actor>(Actor{std::move(name), std::move(step)}));
}

void Simulation::AddDevice(SimDevice& device) { devices_.push_back(&device); }

void Simulation::Note(std::string_view what) {
  trace_.append(what).push_back('\n');
  if (print_)
    std::fprintf(stderr, "step %llu: %.*s\n", static_cast<unsigned long long>(steps_), static_cast<int>(what.size()),
                 what.data());
}

void Simulation::Turn(Loop& loop) {
  const AioHome home(*loop.context);
  loop.context->Dispatch();
  loop.LookAtTimers();
}

TimePoint Simulation::NextTime() {
  TimePoint next = kNoDeadline;
  for (const std::unique_ptr<Loop>& loop : loops_) next = std::min(next, loop->timer);
  for (SimDevice* device : devices_) next = std::min(next, device->NextDue());
  return next;
}

bool Simulation::MoveTime(TimePoint next) {
  if (next == kNoDeadline) return false;
  TimePoint to = next;
  if (next - clock_->Now() > Nanoseconds(1) && internal::FaultPoint("early_timer")) {
    to = next - Nanoseconds(1);
  } else if (internal::FaultPoint("late_timer")) {
    to = SaturatingAdd(next, std::chrono::milliseconds(choices_.Between(1, 2000)));
  }
  clock_->Set(to);
  Note("time");
  // As after a poll that ended early: the loop looks at its timers, and finds that none is due.
  if (to < next && !loops_.empty()) Turn(*choices_.Pick(loops_));
  return true;
}

bool Simulation::Step() {
  ++steps_;
  const TimePoint now = clock_->Now();
  absl::InlinedVector<uint32_t, 16> ready;  // loops, then devices, then actors
  for (uint32_t i = 0; i < loops_.size(); ++i) {
    if (loops_[i]->Ready(now)) ready.push_back(i);
  }
  const auto devices = static_cast<uint32_t>(loops_.size());
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i]->NextDue() <= now) ready.push_back(devices + i);
  }
  const auto actors = static_cast<uint32_t>(devices + devices_.size());
  for (uint32_t i = 0; i < actors_.size(); ++i) ready.push_back(actors + i);

  const bool unexpected = choices_.OneIn(16);
  if (ready.empty() || (unexpected && choices_.OneIn(2))) {
    const TimePoint next = NextTime();
    if (next > now && MoveTime(next)) return true;
    if (ready.empty()) return false;
  } else if (unexpected && !loops_.empty()) {
    Loop& loop = *choices_.Pick(loops_);
    Note("spurious turn");
    Turn(loop);
    return true;
  }

  const uint32_t pick = choices_.Pick(ready);
  if (pick < devices) {
    Note(loops_[pick]->context->name());
    Turn(*loops_[pick]);
  } else if (pick < actors) {
    Note(devices_[pick - devices]->name());
    devices_[pick - devices]->Run(now);
  } else {
    const auto actor = actors_.begin() + (pick - actors);
    Note((*actor)->name);
    Actor& acting = **actor;
    if (!acting.step()) std::erase_if(actors_, [&](const auto& a) { return a.get() == &acting; });
  }
  return true;
}

void Simulation::RunUntilQuiet(absl::FunctionRef<void()> after, uint64_t max_steps) {
  const uint64_t end = steps_ + max_steps;
  while (Step()) {
    after();
    if (steps_ < end) continue;
    const std::string_view tail =
        std::string_view(trace_).substr(trace_.size() - std::min<size_t>(trace_.size(), 2000));
    internal::Die(absl::StrCat("Simulation: no end after ", max_steps, " steps; the last ones:\n",
                               absl::string_view(tail.data(), tail.size())));
  }
}

}  // namespace jobcore::inline JOBCORE_ABI::testing
