// SPDX-License-Identifier: Apache-2.0
//
// Simulation: all event loops of a test on one thread, in virtual time, in an order that is chosen step by step. Same
// choices, same run. Thousands of runs a second, so a campaign of seeds (campaign.h) explores orders that no machine
// would show in years.
//
//   Simulation sim(choices);
//   auto main = sim.NewContext("main", AioContext::Kind::kMain);
//   auto io = sim.NewContext("io0", AioContext::Kind::kIOThread);
//   sim.AtHome(*main, [&] { core.emplace(JobCore::Options{.main_context = main}); });
//   …                                               // jobs; with a JobChecker (job_checker.h) that watches them
//   sim.AddActor("monitor", [&] { … ; return more; });
//   sim.RunUntilQuiet([&] { checker.Check(); });
//   sim.AtHome(*main, [&] { core.reset(); });
//
// A turn of a loop runs all that was posted before it, as in production; what happens between two turns is this
// class's choice. Threads that switch anywhere: controlled_threads.h. Plain code must not block in here.
//
// With JOBCORE_TRACE=1 in the environment each step is printed before it is made. Instrumented build only.

#ifndef JOBCORE_JOB_TESTING_SIMULATION_H_
#define JOBCORE_JOB_TESTING_SIMULATION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-testing/choices.h"

namespace jobcore::inline JOBCORE_ABI::testing {

// Something outside of the loops in which things happen at times of their own: a disk, a network.
class SimDevice {
 public:
  virtual ~SimDevice() = default;
  virtual const char* name() const = 0;
  // When something can happen next; kNoDeadline: nothing will.
  virtual TimePoint NextDue() = 0;
  // Lets one thing happen that is due at `now`.
  virtual void Run(TimePoint now) = 0;
};

class Simulation {
 public:
  explicit Simulation(Choices& choices);
  ~Simulation();
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  Choices& choices() { return choices_; }
  Clock& clock();

  // Knows no descriptors. The simulation keeps a reference, too.
  std::shared_ptr<AioContext> NewContext(std::string name, AioContext::Kind kind);
  // Runs `body` on the home thread of `context`, outside of its loop. Not from inside a step of a loop.
  void AtHome(AioContext& context, absl::FunctionRef<void()> body);
  // `step` is called every now and then, on a plain thread, until it returns false.
  void AddActor(std::string name, absl::AnyInvocable<bool()> step);
  // `device` outlives the simulation's last step.
  void AddDevice(SimDevice& device);

  // Lets one thing happen: a turn of a loop that has something to do, a step of an actor, something of a device; time
  // moves when nothing else can happen, or by choice. Now and then a loop takes a turn for nothing, or time stops
  // just before a timer ("early_timer"), or goes far beyond it ("late_timer"), see probes.h.
  // False: nothing can happen any more.
  bool Step();

  // Steps until nothing can happen any more, each followed by `after`. Aborts after `max_steps`.
  void RunUntilQuiet(absl::FunctionRef<void()> after, uint64_t max_steps = 100'000);

  // What has happened: one line per step.
  const std::string& trace() const { return trace_; }
  uint64_t steps() const { return steps_; }

 private:
  class ManualClock;
  struct Loop;
  struct Actor {
    std::string name;
    absl::AnyInvocable<bool()> step;
  };

  void Turn(Loop& loop);
  void Note(std::string_view what);
  bool MoveTime(TimePoint next);
  TimePoint NextTime();

  Choices& choices_;
  const std::unique_ptr<ManualClock> clock_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::unique_ptr<Actor>> actors_;
  std::vector<SimDevice*> devices_;
  const bool print_;
  uint64_t steps_ = 0;
  std::string trace_;
};

}  // namespace jobcore::inline JOBCORE_ABI::testing

#endif  // JOBCORE_JOB_TESTING_SIMULATION_H_
