// SPDX-License-Identifier: Apache-2.0
//
// Campaigns of seeds over worlds of jobs.

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "job-testing/campaign.h"
#include "job-testing/choices.h"
#include "sim/plan.h"
#include "sim/run_world.h"

namespace jobcore::sim {
namespace {

using testing::Choices;

void Campaign(const Profile& profile, uint64_t seeds, std::vector<std::string> must_reach) {
  const testing::CampaignResult result =
      testing::RunCampaign({.seeds = seeds, .must_reach = std::move(must_reach)},
                           [&profile](Choices& choices) { (void)RunWorld(choices, profile); });
  EXPECT_TRUE(result.ok()) << result.ToString();
  std::printf("%s\n", result.ToString().c_str());
}

TEST(JobsSim, AllKindsOfJobs) { Campaign({}, 10'000, {}); }

TEST(JobsSim, TheSameSeedGivesTheSameRun) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Choices first(seed);
    Choices second(seed);
    const std::string trace = RunWorld(first, {});
    ASSERT_EQ(trace, RunWorld(second, {})) << "seed " << seed;
    ASSERT_EQ(first.record(), second.record()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace jobcore::sim
