// SPDX-License-Identifier: Apache-2.0

#include "job-testing/campaign.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "job-testing/choices.h"
#include "job-testing/probes.h"

namespace jobcore {
namespace {

using testing::CampaignResult;
using testing::Choices;
using testing::RunCampaign;

// Fails if two of 30 decisions are above 90.
void Rare(Choices& choices) {
  int high = 0;
  for (int i = 0; i < 30; ++i) high += choices.Below(100) > 90;
  if (high < 2) return;
  std::fputs("two are high\n", stderr);
  std::abort();
}

TEST(Campaign, StopsAtTheFirstSeedThatFails) {
  const CampaignResult result = RunCampaign({.seeds = 1000, .shrink_limit = std::chrono::seconds(0)}, Rare);
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_EQ(result.failure->seed, result.seeds_run);
  EXPECT_EQ(result.failure->choices.size(), 30u);
  EXPECT_EQ(result.failure->how, "signal 6 (Aborted)");
  EXPECT_EQ(result.failure->output, "two are high\n");
}

TEST(Campaign, ShrinksAFailureToWhatItTakes) {
  const CampaignResult result = RunCampaign({.seeds = 1000}, Rare);
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_EQ(result.failure->choices, (std::vector<uint32_t>{91, 91}));
  EXPECT_NE(result.ToString().find("JOBCORE_CHOICES=91x2"), std::string::npos) << result.ToString();
}

TEST(Campaign, TellsAnExitStatus) {
  const CampaignResult result =
      RunCampaign({.seeds = 1, .shrink_limit = std::chrono::seconds(0)}, [](Choices&) { std::exit(7); });
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_EQ(result.failure->how, "exit status 7");
}

TEST(Campaign, EndsASeedThatDoesNotEnd) {
  const CampaignResult result =
      RunCampaign({.seeds = 10, .hang_limit = std::chrono::seconds(1), .shrink_limit = std::chrono::seconds(0)},
                  [](Choices& choices) {
                    volatile bool for_ever = choices.OneIn(3);
                    while (for_ever) {
                    }
                  });
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_EQ(result.failure->how, "no end within 1000 ms");
}

TEST(Campaign, FailsIfABranchWasNeverReached) {
  const CampaignResult result =
      RunCampaign({.seeds = 50, .must_reach = {"test.often", "test.never"}}, [](Choices& choices) {
        if (choices.OneIn(3)) testing::Reached("test.often");
      });
  EXPECT_FALSE(result.ok());
  EXPECT_FALSE(result.failure.has_value());
  EXPECT_EQ(result.not_reached, std::vector<std::string>{"test.never"});
  EXPECT_GT(testing::ReachedCounts()["test.often"], 5u);
}

TEST(Campaign, OfWhichNothingFailsSaysSo) {
  const CampaignResult result = RunCampaign({.seeds = 100}, [](Choices&) {});
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.seeds_run, 100u);
  EXPECT_NE(result.ToString().find("100 seeds"), std::string::npos);
}

TEST(Campaign, RunsJustTheSeedOrTheDecisionsOfTheEnvironment) {
  std::vector<uint32_t> decided;
  const auto decide = [&](Choices& choices) { decided = {choices.Below(1000), choices.Below(1000)}; };
  setenv("JOBCORE_SEED", "42", 1);
  EXPECT_EQ(RunCampaign({.seeds = 100}, decide).seeds_run, 1u);
  unsetenv("JOBCORE_SEED");
  EXPECT_EQ(decided, (std::vector<uint32_t>{741, 159}));
  setenv("JOBCORE_CHOICES", "5,6", 1);
  EXPECT_EQ(RunCampaign({.seeds = 100}, decide).seeds_run, 1u);
  unsetenv("JOBCORE_CHOICES");
  EXPECT_EQ(decided, (std::vector<uint32_t>{5, 6}));
}

TEST(Campaign, RunsAsManySeedsAsTheEnvironmentAsksFor) {
  setenv("JOBCORE_SEEDS", "7", 1);
  setenv("JOBCORE_FIRST_SEED", "1000", 1);
  const CampaignResult result = RunCampaign({.seeds = 100, .shrink_limit = std::chrono::seconds(0)}, [](Choices& c) {
    if (c.Below(1000) == Choices(1006).Below(1000)) std::abort();
  });
  unsetenv("JOBCORE_SEEDS");
  unsetenv("JOBCORE_FIRST_SEED");
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_EQ(result.failure->seed, 1006u);
  EXPECT_EQ(result.seeds_run, 7u);
}

TEST(Campaign, RunsForAsLongAsTheEnvironmentAsksFor) {
  setenv("JOBCORE_SECONDS", "1", 1);
  const CampaignResult result = RunCampaign({.seeds = 1}, [](Choices&) {});
  unsetenv("JOBCORE_SECONDS");
  EXPECT_TRUE(result.ok());
  EXPECT_GT(result.seeds_run, 100u);
  EXPECT_GE(result.seconds, 1);
}

TEST(Faults, FireOnlyInSomeRunsAndThenOnlySometimes) {
  int runs = 0;
  int fired = 0;
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    Choices choices(seed);
    testing::Faults faults(choices);
    int here = 0;
    for (int i = 0; i < 20; ++i) here += faults.Fires("test.site");
    runs += here > 0;
    fired += here;
  }
  EXPECT_GT(runs, 60);
  EXPECT_LT(runs, 140);
  EXPECT_LT(fired, runs * 8);
  EXPECT_EQ(testing::ReachedCounts()["fault.test.site"], static_cast<uint64_t>(fired));
}

}  // namespace
}  // namespace jobcore
