// SPDX-License-Identifier: Apache-2.0
//
// The scheduler behind ControlledThreads. Its state belongs to whichever controlled thread runs at the moment: there
// is exactly one, and it hands on the right to run with everything else. All of it is hidden from ThreadSanitizer.

#ifndef JOBCORE_TESTING_SCHEDULER_H_
#define JOBCORE_TESTING_SCHEDULER_H_

#include <sched.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-testing/choices.h"
#include "job-testing/controlled_threads.h"

namespace jobcore::inline JOBCORE_ABI::internal {

struct ControlledThread {
  enum class State { kRunnable, kBlocked, kDone };

  int number = 0;
  int64_t priority = 0;  // kPct
  State state = State::kRunnable;
  const void* blocked_on = nullptr;
  TimePoint deadline = kNoDeadline;  // kBlocked
  bool timed_out = false;
  const char* at = "start";  // the last point, or what it is blocked in
  std::atomic<uint32_t> go{0};

  // The store buffer: one entry.
  void* store_target = nullptr;
  uint64_t store_bits = 0;
  void (*store_apply)(void*, uint64_t) = nullptr;
};

class VirtualClock final : public Clock {
 public:
  // A point: time may pass between two looks at the clock.
  TimePoint Now() override;
  TimePoint Get() const { return TimePoint(Nanoseconds(now_.load(std::memory_order_relaxed))); }
  void MoveTo(TimePoint now) { now_.store(now.time_since_epoch().count(), std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> now_{1'000'000'000};
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

namespace jobcore::inline JOBCORE_ABI::testing {

class ControlledThreads::Scheduler {
 public:
  using Thread = internal::ControlledThread;

  Scheduler(Choices& choices, const Options& options);
  ~Scheduler();

  // The one in force; null: none.
  static Scheduler* Current();

  // On the thread that runs; each may return much later.
  void Point(const char* what);
  void Spin();
  bool Block(const void* on, const char* what, TimePoint deadline);
  void AwaitQuiet();
  void End();

  void Unblock(const void* on, bool all);
  Thread* New();
  bool KeepsStore();   // the store buffer's decision: false: what is stored is seen
  bool DelaysStore();  // likewise, for a new one
  uint64_t steps() const { return steps_; }
  internal::VirtualClock& clock() { return clock_; }

  void Print() const;

 private:
  struct Passed {
    int thread = 0;
    const char* point = nullptr;
  };

  std::vector<Thread*> Runnable() const;
  void PrintAtDeath();
  static void PrintCurrent();
  bool MoveClock();  // to the next deadline; false: nobody has one
  void WakeDue(TimePoint now);
  bool WakeQuiet();  // who waits for everybody else; false: nobody does
  Thread* Pick(Thread& self, bool may_stay);
  Thread* PickRandom(Thread& self, const std::vector<Thread*>& runnable, bool may_stay);
  Thread* PickByPriority(Thread& self, const std::vector<Thread*>& runnable);
  void Note(Thread& self, const char* what);
  void HandOn(Thread& next);
  void SwitchTo(Thread& self, Thread& next);
  [[noreturn]] void Fail(std::string_view why) const;

  Choices& choices_;
  const Options options_;
  internal::VirtualClock clock_;
  std::vector<std::unique_ptr<Thread>> threads_;
  const uint32_t switch_rate_;  // kRandom: one point in so many
  const bool early_deadlines_;
  const bool store_buffers_;
  cpu_set_t processors_{};         // that the thread may use which has made this
  std::vector<uint64_t> changes_;  // kPct: at which steps
  int64_t lowest_priority_ = 0;
  uint64_t steps_ = 0;
  uint64_t steps_in_a_row_ = 0;
  std::array<Passed, 4096> passed_{};  // the last ones, a ring
  void (*previous_abort_handler_)(int) = nullptr;
};

}  // namespace jobcore::inline JOBCORE_ABI::testing

#endif  // JOBCORE_TESTING_SCHEDULER_H_
