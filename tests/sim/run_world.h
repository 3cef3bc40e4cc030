// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_TESTS_SIM_RUN_WORLD_H_
#define JOBCORE_TESTS_SIM_RUN_WORLD_H_

#include <string>

#include "job-testing/choices.h"
#include "sim/plan.h"

namespace jobcore::sim {

// Plans a world and simulates it to its end; aborts if it breaks a rule. Returns what happened.
std::string RunWorld(testing::Choices& choices, const Profile& profile);

}  // namespace jobcore::sim

#endif  // JOBCORE_TESTS_SIM_RUN_WORLD_H_
