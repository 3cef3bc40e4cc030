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
  if (std::getenv("JOBCORE_REACHED") == nullptr) return;
  for (const auto& [name, count] : testing::ReachedCounts()) std::printf("  %8lu  %s\n", count, name.c_str());
}

TEST(JobsSim, AllKindsOfJobs) {
  Campaign({}, 20'000,
           {"events.lost", "fault.commit_throws", "fault.create.no_memory", "fault.early_timer", "fault.few_events",
            "fault.late_timer", "fault.monitor_gone", "fault.prepare_throws", "group.commit_failed",
            "run.never_entered", "verbs.before_start", "watch.unresponsive"});
}

TEST(JobsSim, Groups) {
  Profile profile{.jobs = 6, .group_of = 5, .run_steps = 3, .monitors = 4};
  profile.actions = {1, 1, 1, 3, 3, 1, 6, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 0};
  Campaign(profile, 20'000,
           {"cancel.committing", "cancel.parked", "finalize.joined", "group.aborted_after_run",
            "group.aborted_before_seal", "group.cancelled_in_prepare", "group.commit_failed",
            "group.never_started_member", "group.without_members", "run.never_entered"});
}

TEST(JobsSim, PausesAndMoves) {
  Profile profile{.jobs = 3, .group_of = 2, .run_steps = 8, .monitors = 4, .actions_each = 16, .resources = 0};
  profile.steps = {1, 4, 4, 2, 4, 4, 1, 3, 1, 0, 2, 1, 2, 2, 0, 0, 0};
  profile.actions = {0, 6, 6, 1, 1, 4, 0, 0, 4, 3, 6, 4, 0, 0, 0, 1, 1, 0, 0, 0};
  Campaign(profile, 20'000, {"gate.hook_threw",        "gate.wake_up_passed_on", "move.another_first",
                             "move.finished_first",    "move.put_off",           "move.while_parked",
                             "park.move_first",        "park.not_any_more",      "run.ended_beside_a_hook",
                             "run.ended_by_a_hook",    "run.paused_before",      "sleep.goes_on",
                             "sleep.request_first",    "sleep.woken_before",     "throttle.paused",
                             "throttle.speed_changed", "verbs.before_start",     "verbs.cancelled_first",
                             "verbs.completed_anyway", "verbs.finished_first",   "verbs.sent_after_the_job"});
}

TEST(JobsSim, DrainsAndAdmission) {
  Profile profile{.jobs = 4, .group_of = 3, .run_steps = 8, .monitors = 4, .actions_each = 12, .resources = 3};
  profile.steps = {1, 2, 2, 1, 1, 1, 0, 1, 0, 8, 1, 1, 1, 1, 0, 0, 0};
  profile.actions = {0, 1, 1, 1, 2, 1, 1, 0, 0, 0, 2, 1, 0, 0, 1, 1, 0, 8, 8, 0};
  Campaign(
      profile, 20'000,
      {"admit.cancelled", "resource.counted_at_section_end", "resource.job_comes_while_drained",
       "resource.request_behind_others", "resource.request_parked", "section.deadline", "wait.over_before_its_kick"});
}

TEST(JobsSim, ErrorPolicies) {
  Profile profile{.jobs = 3, .group_of = 2, .run_steps = 8, .monitors = 3, .resources = 1};
  profile.steps = {1, 2, 1, 1, 1, 0, 0, 1, 8, 2, 4, 2, 1, 1, 0, 0, 0};
  profile.actions = {2, 3, 6, 1, 2, 1, 0, 1, 0, 0, 2, 1, 1, 1, 1, 1, 1, 1, 1, 0};
  Campaign(profile, 10'000,
           {"cancel.parked", "fault.disk.early_end", "fault.disk.eio", "fault.disk.enospc", "gate.hook_threw",
            "run.cancelled_then_failed", "watch.unresponsive"});
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
