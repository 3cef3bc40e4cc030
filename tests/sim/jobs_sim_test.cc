// SPDX-License-Identifier: Apache-2.0
//
// Campaigns of seeds over worlds of jobs.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
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
  if (std::getenv("JOBCORE_REACHED") == nullptr) return;
  for (const auto& [name, count] : testing::ReachedCounts()) std::printf("  %8lu  %s\n", count, name.c_str());
}

TEST(JobsSim, AllKindsOfJobs) { Campaign({}, 20'000, {}); }

TEST(JobsSim, Groups) {
  Profile profile{.jobs = 6, .group_of = 5, .run_steps = 3, .monitors = 4};
  profile.actions = {1, 1, 1, 3, 3, 1, 6, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1};
  Campaign(profile, 20'000, {});
}

TEST(JobsSim, PausesAndMoves) {
  Profile profile{.jobs = 3, .group_of = 2, .run_steps = 8, .monitors = 4, .actions_each = 16, .resources = 0};
  profile.steps = {1, 4, 4, 2, 4, 4, 1, 3, 1, 0, 2, 1, 2, 0, 0, 0};
  profile.actions = {0, 6, 6, 1, 1, 4, 0, 0, 4, 3, 6, 4, 0, 0, 0, 1, 1, 0, 0};
  Campaign(profile, 20'000, {});
}

TEST(JobsSim, DrainsAndAdmission) {
  Profile profile{.jobs = 4, .group_of = 3, .run_steps = 8, .monitors = 4, .actions_each = 12, .resources = 3};
  profile.steps = {1, 2, 2, 1, 1, 1, 0, 1, 0, 8, 1, 1, 1, 0, 0, 0};
  profile.actions = {0, 1, 1, 1, 2, 1, 1, 0, 0, 0, 2, 1, 0, 0, 1, 1, 0, 8, 8};
  Campaign(profile, 20'000, {});
}

TEST(JobsSim, ErrorPolicies) {
  Profile profile{.jobs = 3, .group_of = 2, .run_steps = 8, .monitors = 3, .resources = 1};
  profile.steps = {1, 2, 1, 1, 1, 0, 0, 1, 8, 2, 4, 2, 1, 0, 0, 0};
  profile.actions = {2, 3, 6, 1, 2, 1, 0, 1, 0, 0, 2, 1, 1, 1, 1, 1, 1, 1, 1};
  Campaign(profile, 10'000, {});
}

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
