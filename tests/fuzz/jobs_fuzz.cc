// SPDX-License-Identifier: Apache-2.0
//
// The fuzz target: the bytes decide what happens in a world of jobs, monitors and drains, and in which order; the
// job checker is the oracle.

#include <cstddef>
#include <cstdint>

#include "job-testing/choices.h"
#include "sim/plan.h"
#include "sim/run_world.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  jobcore::testing::Choices choices = jobcore::testing::Choices::FromBytes({data, size});
  (void)jobcore::sim::RunWorld(choices, {});
  return 0;
}
