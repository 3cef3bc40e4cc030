// SPDX-License-Identifier: Apache-2.0

#include "testing/scheduler.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "aio/check.h"
#include "aio/probe.h"
#include "job-common/sched_point.h"
#include "job-testing/thread_control.h"
#include "testing/tsan.h"

// Of the sanitizers' run-time library; null without one.
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace jobcore::inline JOBCORE_ABI {
namespace {

using internal::ControlledThread;

// A thread that passes so many points while others could run gives way, whatever its priority: it may be waiting for
// one of them in a loop.
constexpr uint64_t kMostInARow = 2000;
// With early deadlines: one decision in so many.
constexpr uint32_t kEarlyDeadline = 128;
// What one round of a spin loop takes.
constexpr Nanoseconds kSpinTime{500};

constinit thread_local ControlledThread* this_thread = nullptr;

// Hidden from ThreadSanitizer, like all the rest: it must not see that one thread waits for the other.
void AwaitGo(ControlledThread& self) {
  while (self.go.exchange(0, std::memory_order_acquire) == 0) {
    syscall(SYS_futex, &self.go, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  }
}

}  // namespace

namespace testing {
namespace {
constinit std::atomic<ControlledThreads::Scheduler*> current{nullptr};
}  // namespace

ControlledThreads::Scheduler* ControlledThreads::Scheduler::Current() {
  return current.load(std::memory_order_relaxed);
}

ControlledThreads::Scheduler::Scheduler(Choices& choices, const Options& options)
    : choices_(choices),
      options_(options),
      switch_rate_(uint32_t{2} << (2 * choices.Below(4))),
      early_deadlines_(choices.OneIn(4)),
      store_buffers_(options.store_buffers && !internal::kUnderTsan) {
  if (options_.strategy == Strategy::kPct) {
    for (int i = 0; i < options_.priority_changes; ++i) changes_.push_back(choices_.Below(options_.expected_steps));
  }
  Scheduler* none = nullptr;
  if (!current.compare_exchange_strong(none, this)) internal::Die("ControlledThreads: there is one already");
  this_thread = New();
  // One thread runs at a time. On one processor the switch to another costs a fifth of what it costs on two.
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(sched_getcpu(), &here);
  if (sched_getaffinity(0, sizeof(processors_), &processors_) == 0) sched_setaffinity(0, sizeof(here), &here);
  PrintAtDeath();
}

// Whatever ends the process tells the schedule: an abort, a crash, a sanitizer's report (which handles crashes itself).
void ControlledThreads::Scheduler::PrintAtDeath() {
  const auto on_signal = [](int signal) {
    std::signal(signal, SIG_DFL);
    PrintCurrent();
    std::raise(signal);
  };
  previous_abort_handler_ = std::signal(SIGABRT, on_signal);
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(&PrintCurrent);
  } else {
    std::signal(SIGSEGV, on_signal);
  }
}

void ControlledThreads::Scheduler::PrintCurrent() {
  const internal::HiddenFromTsan hidden;
  if (Scheduler* const scheduler = current.exchange(nullptr)) scheduler->Print();  // once
}

ControlledThreads::Scheduler::~Scheduler() {
  for (const auto& thread : threads_) {
    if (thread.get() != this_thread && thread->state != Thread::State::kDone) Fail("a thread outlives its control");
  }
  internal::DrainStores();
  sched_setaffinity(0, sizeof(processors_), &processors_);
  std::signal(SIGABRT, previous_abort_handler_);
  if (__sanitizer_set_death_callback == nullptr) std::signal(SIGSEGV, SIG_DFL);
  this_thread = nullptr;
  current.store(nullptr);
}

ControlledThread* ControlledThreads::Scheduler::New() {
  auto thread = std::make_unique<Thread>();
  thread->number = static_cast<int>(threads_.size());
  if (options_.strategy == Strategy::kPct) thread->priority = choices_.Below(1 << 20);
  threads_.push_back(std::move(thread));
  return threads_.back().get();
}

std::vector<ControlledThread*> ControlledThreads::Scheduler::Runnable() const {
  std::vector<Thread*> runnable;
  for (const auto& thread : threads_) {
    if (thread->state == Thread::State::kRunnable) runnable.push_back(thread.get());
  }
  return runnable;
}

bool ControlledThreads::Scheduler::MoveClock() {
  TimePoint next = kNoDeadline;
  for (const auto& thread : threads_) {
    if (thread->state == Thread::State::kBlocked) next = std::min(next, thread->deadline);
  }
  if (next == kNoDeadline) return false;
  if (next > clock_.Get()) clock_.MoveTo(next);
  WakeDue(next);
  return true;
}

void ControlledThreads::Scheduler::WakeDue(TimePoint now) {
  for (const auto& thread : threads_) {
    if (thread->state != Thread::State::kBlocked || thread->deadline > now) continue;
    thread->state = Thread::State::kRunnable;
    thread->timed_out = true;
  }
}

bool ControlledThreads::Scheduler::WakeQuiet() {
  bool woken = false;
  for (const auto& thread : threads_) {
    if (thread->state != Thread::State::kBlocked || thread->blocked_on != this) continue;
    thread->state = Thread::State::kRunnable;
    woken = true;
  }
  return woken;
}

ControlledThread* ControlledThreads::Scheduler::Pick(Thread& self, bool may_stay) {
  if (early_deadlines_ && choices_.OneIn(kEarlyDeadline)) MoveClock();
  std::vector<Thread*> runnable = Runnable();
  while (runnable.empty()) {
    if (!MoveClock() && !WakeQuiet()) Fail("deadlock: no thread can go on");
    runnable = Runnable();
  }
  return options_.strategy == Strategy::kPct ? PickByPriority(self, runnable) : PickRandom(self, runnable, may_stay);
}

ControlledThread* ControlledThreads::Scheduler::PickRandom(Thread& self, const std::vector<Thread*>& runnable,
                                                           bool may_stay) {
  if (runnable.size() == 1) return runnable.front();
  may_stay = may_stay && self.state == Thread::State::kRunnable;
  if (may_stay && steps_in_a_row_ < kMostInARow && !choices_.OneIn(switch_rate_)) return &self;
  std::vector<Thread*> others = runnable;
  std::erase(others, &self);
  return choices_.Pick(others);
}

ControlledThread* ControlledThreads::Scheduler::PickByPriority(Thread& self, const std::vector<Thread*>& runnable) {
  if (steps_in_a_row_ >= kMostInARow || std::find(changes_.begin(), changes_.end(), steps_) != changes_.end()) {
    self.priority = --lowest_priority_;
  }
  return *std::max_element(runnable.begin(), runnable.end(),
                           [](const Thread* a, const Thread* b) { return a->priority < b->priority; });
}

void ControlledThreads::Scheduler::Note(Thread& self, const char* what) {
  self.at = what;
  passed_[steps_ % passed_.size()] = {self.number, what};
  ++steps_in_a_row_;
  if (++steps_ > options_.max_steps) Fail("the run does not end");
}

void ControlledThreads::Scheduler::HandOn(Thread& next) {
  steps_in_a_row_ = 0;
  next.go.store(1, std::memory_order_release);
  syscall(SYS_futex, &next.go, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void ControlledThreads::Scheduler::SwitchTo(Thread& self, Thread& next) {
  if (&next == &self) return;
  HandOn(next);
  AwaitGo(self);
}

void ControlledThreads::Scheduler::Point(const char* what) {
  Thread& self = *this_thread;
  Note(self, what);
  SwitchTo(self, *Pick(self, /*may_stay=*/true));
}

void ControlledThreads::Scheduler::Spin() {
  Thread& self = *this_thread;
  Note(self, "spin");
  self.priority = --lowest_priority_;
  // Who spins waits for another thread, or for time to pass.
  clock_.MoveTo(clock_.Get() + kSpinTime);
  WakeDue(clock_.Get());
  SwitchTo(self, *Pick(self, /*may_stay=*/false));
}

bool ControlledThreads::Scheduler::Block(const void* on, const char* what, TimePoint deadline) {
  Thread& self = *this_thread;
  Note(self, what);
  if (internal::FaultPoint("spurious_wake")) {
    SwitchTo(self, *Pick(self, /*may_stay=*/true));
    return true;
  }
  self.state = Thread::State::kBlocked;
  self.blocked_on = on;
  self.deadline = deadline;
  self.timed_out = false;
  SwitchTo(self, *Pick(self, /*may_stay=*/false));
  return !self.timed_out;
}

void ControlledThreads::Scheduler::AwaitQuiet() {
  Thread& self = *this_thread;
  Note(self, "quiet");
  self.state = Thread::State::kBlocked;
  self.blocked_on = this;
  self.deadline = kNoDeadline;
  SwitchTo(self, *Pick(self, /*may_stay=*/false));
}

void ControlledThreads::Scheduler::Unblock(const void* on, bool all) {
  std::vector<Thread*> blocked;
  for (const auto& thread : threads_) {
    if (thread->state == Thread::State::kBlocked && thread->blocked_on == on) blocked.push_back(thread.get());
  }
  if (!all && blocked.size() > 1) blocked = {choices_.Pick(blocked)};
  for (Thread* const thread : blocked) thread->state = Thread::State::kRunnable;
}

void ControlledThreads::Scheduler::End() {
  Thread& self = *this_thread;
  this_thread = nullptr;
  Note(self, "end");
  self.state = Thread::State::kDone;
  Unblock(&self, /*all=*/true);
  HandOn(*Pick(self, /*may_stay=*/false));
}

bool ControlledThreads::Scheduler::KeepsStore() { return choices_.OneIn(2); }

bool ControlledThreads::Scheduler::DelaysStore() { return store_buffers_ && choices_.OneIn(2); }

void ControlledThreads::Scheduler::Print() const {
  std::fprintf(stderr, "controlled threads after %" PRIu64 " steps:\n", steps_);
  for (const auto& thread : threads_) {
    static constexpr const char* kStates[] = {"can run", "blocked", "done"};
    std::fprintf(stderr, "  thread %d: %s, at: %s\n", thread->number, kStates[static_cast<int>(thread->state)],
                 thread->at);
  }
  const char* const wanted = std::getenv("JOBCORE_STEPS");
  const uint64_t most = std::min<uint64_t>(wanted == nullptr ? 64 : std::strtoull(wanted, nullptr, 10), passed_.size());
  std::fprintf(stderr, "the last steps, a column per thread (JOBCORE_STEPS=n shows n of them):\n");
  for (uint64_t i = steps_ > most ? steps_ - most : 0; i < steps_; ++i) {
    const Passed& passed = passed_[i % passed_.size()];
    std::fprintf(stderr, "  %*s%d %s\n", passed.thread * 12, "", passed.thread, passed.point);
  }
}

void ControlledThreads::Scheduler::Fail(std::string_view why) const {
  std::fprintf(stderr, "%.*s\n", static_cast<int>(why.size()), why.data());
  std::abort();  // the handler prints the threads
}

}  // namespace testing

namespace internal {

using Scheduler = testing::ControlledThreads::Scheduler;

ControlledThread* ThisControlledThread() { return this_thread; }

TimePoint VirtualClock::Now() {
  SwitchPoint("clock");
  return Get();
}

void SwitchPoint(const char* what) {
  if (this_thread == nullptr) return;
  bool keep = true;
  {
    const HiddenFromTsan hidden;
    if (this_thread->store_target != nullptr) keep = Scheduler::Current()->KeepsStore();
  }
  if (!keep) DrainStores();
  const HiddenFromTsan hidden;
  Scheduler::Current()->Point(what);
}

void SpinPoint() {
  if (this_thread == nullptr) return;
  DrainStores();
  const HiddenFromTsan hidden;
  Scheduler::Current()->Spin();
}

bool Block(const void* on, const char* what, TimePoint deadline) {
  DrainStores();
  const HiddenFromTsan hidden;
  return Scheduler::Current()->Block(on, what, deadline);
}

void UnblockAll(const void* on) {
  if (this_thread == nullptr) return;
  const HiddenFromTsan hidden;
  Scheduler::Current()->Unblock(on, /*all=*/true);
}

void UnblockOne(const void* on) {
  if (this_thread == nullptr) return;
  const HiddenFromTsan hidden;
  Scheduler::Current()->Unblock(on, /*all=*/false);
}

ControlledThread* NewThread() {
  if (this_thread == nullptr) return nullptr;
  DrainStores();  // the new thread sees what was stored before it
  const HiddenFromTsan hidden;
  return Scheduler::Current()->New();
}

void BeginThread(ControlledThread* self) {
  if (self == nullptr) return;
  const HiddenFromTsan hidden;
  this_thread = self;
  AwaitGo(*self);
}

void EndThread(ControlledThread* self) {
  if (self == nullptr) return;
  SwitchPoint("end");
  DrainStores();
  const HiddenFromTsan hidden;
  Scheduler::Current()->End();
}

void JoinThread(ControlledThread* thread) {
  if (thread == nullptr || this_thread == nullptr) return;
  SwitchPoint("join");
  DrainStores();
  const HiddenFromTsan hidden;
  while (thread->state != ControlledThread::State::kDone) Scheduler::Current()->Block(thread, "join", kNoDeadline);
}

bool BufferStore(void* target, uint64_t bits, void (*apply)(void*, uint64_t)) {
  if (this_thread == nullptr) return false;
  {
    const HiddenFromTsan hidden;
    if (!Scheduler::Current()->DelaysStore()) return false;
  }
  DrainStores();
  this_thread->store_target = target;
  this_thread->store_bits = bits;
  this_thread->store_apply = apply;
  return true;
}

void DrainStores() {
  if (this_thread == nullptr || this_thread->store_target == nullptr) return;
  // Visible to ThreadSanitizer: it is the store of the code under test.
  this_thread->store_apply(std::exchange(this_thread->store_target, nullptr), this_thread->store_bits);
}

void FlushStores() {
  if (this_thread == nullptr || this_thread->store_target == nullptr) return;
  SwitchPoint("delayed store");
  DrainStores();
}

void DropStore(const void* target) {
  if (this_thread != nullptr && this_thread->store_target == target) this_thread->store_target = nullptr;
}

bool ReadOwnStore(const void* target, uint64_t& bits) {
  if (this_thread == nullptr || this_thread->store_target != target) return false;
  bits = this_thread->store_bits;
  return true;
}

}  // namespace internal
}  // namespace jobcore::inline JOBCORE_ABI
