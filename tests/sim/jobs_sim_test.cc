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
#include "job-testing/probes.h"
#include "job-testing/sim_disk.h"
#include "job-testing/simulation.h"
#include "sim/plan.h"
#include "sim/world.h"

namespace jobcore::sim {
namespace {

using testing::Choices;

// Runs one world to its end; returns what happened.
std::string RunWorld(Choices& choices, const Profile& profile) {
  testing::Faults faults(choices);
  testing::Simulation sim(choices);
  testing::SimDisk disk(choices, sim.clock());
  sim.AddDevice(disk);

  Environment environment{.clock = sim.clock(), .contexts = {}, .disk = disk};
  environment.file = disk.Create(std::vector<std::byte>(128));
  environment.contexts.push_back(sim.NewContext("main", AioContext::Kind::kMain));
  const uint32_t threads = choices.Between(1, 3);
  for (uint32_t i = 0; i < threads; ++i) {
    environment.contexts.push_back(sim.NewContext("io" + std::to_string(i), AioContext::Kind::kIOThread));
  }
  Plan plan = MakePlan(choices, faults, profile, threads + 1);

  AioContext& main = *environment.contexts.front();
  std::unique_ptr<World> world;
  sim.AtHome(main, [&] {
    auto trace = [&sim] { return "what happened:\n" + sim.trace(); };
    world = std::make_unique<World>(environment, std::move(plan), trace);
  });
  for (World::Actor& actor : world->TakeActors()) sim.AddActor(actor.name, std::move(actor.step));
  const auto check = [&] { world->checker().Check(); };
  sim.RunUntilQuiet(check);
  for (int i = 0; world->Push(); ++i) {
    if (i == world->max_pushes()) world->Broken("it does not come to its end");
    sim.RunUntilQuiet(check);
  }
  sim.RunUntilQuiet(check);
  world->Finish();
  sim.AtHome(main, [&] { world.reset(); });
  return sim.trace();
}

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
