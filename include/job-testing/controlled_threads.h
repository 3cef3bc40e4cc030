// SPDX-License-Identifier: Apache-2.0
//
// ControlledThreads: real threads, of which one runs at a time, and a seeded choice of which one at each step that
// threads can see of each other: lock, unlock, wait, wake, post, each atomic operation, and each SchedPoint. Finds
// in a few schedules what stress does not find in hours; a deadlock shows at once (nobody can go on) and is reported
// with what each thread waits for.
//
// In force for the thread that makes it and for the Thread and IOThread objects started from there on,
// until it is destroyed: all of them must have ended by then. Works under ThreadSanitizer, from which the switching
// hides itself, so that it reports the races of the code under test. Stores that are not sequentially consistent may
// become visible late, as on a processor with a store buffer. Instrumented build only.

#ifndef JOBCORE_JOB_TESTING_CONTROLLED_THREADS_H_
#define JOBCORE_JOB_TESTING_CONTROLLED_THREADS_H_

#include <cstdint>
#include <memory>

#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/poller.h"
#include "job-common/sync.h"
#include "job-testing/choices.h"

namespace jobcore::inline JOBCORE_ABI::testing {

// For the threads of a test, and for code under test that has locks or atomics of its own: as those of the standard
// library, and controlled where they are used by controlled threads.
using Thread = internal::Thread;
using Mutex = internal::Mutex;
using CondVar = internal::CondVar;
template <typename T>
using Atomic = internal::Atomic<T>;

class ControlledThreads {
 public:
  enum class Strategy {
    kRandom,  // a switch with some probability, to any thread
    kPct,     // priorities, which change at a few points (Burckhardt et al., ASPLOS 2010)
  };
  struct Options {
    Strategy strategy = Strategy::kRandom;
    int priority_changes = 3;        // kPct: d - 1
    uint32_t expected_steps = 2000;  // kPct: where the changes fall
    uint64_t max_steps = 1'000'000;  // then the run is said not to end
    bool store_buffers = true;
  };

  // Aborts if there is one already.
  explicit ControlledThreads(Choices& choices) : ControlledThreads(choices, Options()) {}
  ControlledThreads(Choices& choices, const Options& options);
  ~ControlledThreads();
  ControlledThreads(const ControlledThreads&) = delete;
  ControlledThreads& operator=(const ControlledThreads&) = delete;

  // Stands still while threads run; moves to the next deadline when nobody can go on, or by choice. For all contexts
  // of the test.
  Clock& clock();
  // For each AioContext of the test. Knows no descriptors.
  std::unique_ptr<Poller> NewPoller();

  // Blocks until no other thread can go on, and no deadline is left that time could bring: what has not happened by
  // then never will by itself. A controlled thread.
  void AwaitQuiet();

  // Points passed so far.
  uint64_t steps() const;

  class Scheduler;  // the implementation's

 private:
  const std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace jobcore::inline JOBCORE_ABI::testing

#endif  // JOBCORE_JOB_TESTING_CONTROLLED_THREADS_H_
