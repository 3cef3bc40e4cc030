// SPDX-License-Identifier: Apache-2.0
//
// No wake-up is lost: a job that yields until it is entered, while a monitor enters it at any moment (it runs,
// is about to yield, yields, parks, is parked, goes on). Nobody else wakes it, so one lost Enter is a hang.

#ifndef JOBCORE_TESTS_STRESS_STRESS_WAKEUPS_H_
#define JOBCORE_TESTS_STRESS_STRESS_WAKEUPS_H_

#include "stress/stress_util.h"
#include "stress/stress_world.h"

namespace jobcore::stress {

// On a monitor's thread, with a lease. Returns when the job has ended.
void CheckWakeUps(World& world, Rng& rng, Heart& heart) JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::stress

#endif  // JOBCORE_TESTS_STRESS_STRESS_WAKEUPS_H_
