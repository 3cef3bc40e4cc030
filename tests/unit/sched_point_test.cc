// SPDX-License-Identifier: Apache-2.0

#include "job-common/sched_point.h"

#include <gtest/gtest.h>

namespace jobcore {
namespace {

// The compiler itself shows that a point does nothing: it can be passed at compile time.
constexpr bool PassAPoint() {
  SchedPoint("nothing");
  return true;
}

TEST(SchedPoint, CostsNothingInTheProductionBuild) { static_assert(PassAPoint()); }

}  // namespace
}  // namespace jobcore
