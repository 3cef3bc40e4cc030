// SPDX-License-Identifier: Apache-2.0
//
// What happens in a world of the simulation: jobs with scripts, and what monitors and others do. Decided before it
// begins, so that running it needs no choices but those of its executor.

#ifndef JOBCORE_TESTS_SIM_PLAN_H_
#define JOBCORE_TESTS_SIM_PLAN_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "job-common/clock.h"
#include "job-testing/choices.h"
#include "job-testing/probes.h"

namespace jobcore::sim {

// A step of a driver's Run.
struct Step {
  enum class Kind : unsigned char {
    kProgress,
    kPausePoint,
    kSleep,
    kNextTurn,  // a sleep of zero
    kYield,
    kThrottle,
    kReady,
    kAwaitComplete,  // ready, until completed or cancelled softly
    kError,          // of I/O, with a policy
    kAdmit,          // a request to a resource of its own
    kIo,
    kTasks,   // several requests at a time
    kInner,   // a coroutine of its own, with a pause point in it
    kBeside,  // a request beside Run, which the Pause hook brings to its end
    kDetails,
    kFail,
    kThrow,
  };
  static constexpr size_t kKinds = 17;
  Kind kind = Kind::kProgress;
  uint32_t amount = 0;
  uint32_t variant = 0;
};

// A hook of a driver.
struct HookPlan {
  bool slow = false;    // takes time
  bool fails = false;   // says no
  bool throws = false;  // instead
  bool drains = false;  // opens a section
};

struct JobPlan {
  std::string id;        // empty: internal
  uint32_t context = 0;  // 0: main
  bool auto_finalize = true;
  bool auto_dismiss = true;
  int64_t speed = 0;
  uint32_t resources = 0;     // bit set
  uint32_t still_at_end = 0;  // bit set
  Nanoseconds drain_timeout{};
  std::vector<Step> run;
  HookPlan pause, resume, complete, change, prepare, commit, abort, clean;
};

// Of a monitor, or whoever else there is. One at a time.
struct Action {
  enum class Kind : unsigned char {
    kQuery,
    kPause,
    kResume,
    kSoftCancel,
    kForceCancel,
    kComplete,
    kFinalize,
    kDismiss,
    kChange,
    kSetSpeed,
    kMove,
    kEnter,
    kPages,
    kHistory,
    kDump,
    kAwait,
    kObserve,   // begins, or ends
    kSection,   // opens one, and holds it for a while
    kRequests,  // producers of some
    kCancelAll,
    // Of those who create groups:
    kCreate,
    kStart,
    kAbandon,
    kSeal,
    kGiveUp,
  };
  static constexpr size_t kMonitorKinds = 20;
  Kind kind = Kind::kQuery;
  uint32_t job = 0;  // of all the jobs of the plan
  uint32_t amount = 0;
  uint32_t variant = 0;
};

// How often what happens: weights.
struct Profile {
  std::array<uint32_t, Step::kKinds> steps = {4, 4, 3, 2, 2, 2, 1, 1, 1, 2, 2, 1, 2, 2, 1, 0, 0};
  std::array<uint32_t, Action::kMonitorKinds> actions = {6, 6, 6, 2, 2, 4, 4, 2, 4, 4, 4, 4, 2, 2, 2, 4, 2, 2, 2, 1};
  uint32_t jobs = 5;          // at most
  uint32_t group_of = 3;      // at most
  uint32_t run_steps = 6;     // at most
  uint32_t monitors = 3;      // at most
  uint32_t actions_each = 8;  // at most
  uint32_t resources = 2;     // at most
};

struct GroupPlan {
  bool own = false;  // a single job, without a builder
  std::vector<uint32_t> jobs;
  std::vector<Action> actions;  // of whoever creates it
};

struct Plan {
  std::vector<JobPlan> jobs;
  std::vector<GroupPlan> groups;
  std::vector<std::vector<Action>> monitors;
  uint32_t resources = 0;
  size_t event_capacity = 4096;
  size_t history_count = 1024;
  Nanoseconds unresponsive_after{};
};

Plan MakePlan(testing::Choices& choices, testing::Faults& faults, const Profile& profile, uint32_t contexts);

}  // namespace jobcore::sim

#endif  // JOBCORE_TESTS_SIM_PLAN_H_
