// SPDX-License-Identifier: Apache-2.0
//
// SchedPoint: the seam at every lock-free step of the core. Production: nothing, not even a call. In the
// instrumented build (`jobcore::testing`) a hook installed by the test may delay or count, and a controlled thread
// (job-testing/controlled_threads.h) may have to let another one go on.

#ifndef JOBCORE_JOB_COMMON_SCHED_POINT_H_
#define JOBCORE_JOB_COMMON_SCHED_POINT_H_

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

#ifdef JOBCORE_INSTRUMENTED

// Called at each point with its name, on the thread that passes it. Must not call back into the core.
using SchedHook = void (*)(const char* point);

// Installs `hook` for the whole process (null: none) and returns the one before. Only between tests, while
// no other thread runs core code.
SchedHook SetSchedHook(SchedHook hook);

void SchedPoint(const char* point);

namespace internal {
// In a loop that spins until another thread has done something.
void SpinPoint();
}  // namespace internal

#else

constexpr void SchedPoint(const char*) {}

namespace internal {
constexpr void SpinPoint() {}
}  // namespace internal

#endif

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_SCHED_POINT_H_
