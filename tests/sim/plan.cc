// SPDX-License-Identifier: Apache-2.0

#include "sim/plan.h"

#include <chrono>
#include <numeric>
#include <string>
#include <utility>

namespace jobcore::sim {
namespace {

using std::chrono::milliseconds;
using testing::Choices;
using testing::Faults;

template <size_t n>
uint32_t PickWeighted(Choices& choices, const std::array<uint32_t, n>& weights) {
  uint32_t at = choices.Below(std::accumulate(weights.begin(), weights.end(), 0u));
  uint32_t pick = 0;
  while (at >= weights[pick]) at -= weights[pick++];
  return pick;
}

HookPlan MakeHook(Choices& choices, Faults& faults, const char* slow, const char* fails, const char* throws) {
  HookPlan hook;
  hook.slow = faults.Fires(slow);
  hook.fails = fails != nullptr && faults.Fires(fails);
  hook.throws = throws != nullptr && faults.Fires(throws);
  (void)choices;
  return hook;
}

JobPlan MakeJob(Choices& choices, Faults& faults, const Profile& profile, const Plan& plan, uint32_t contexts) {
  JobPlan job;
  job.id = "j" + std::to_string(plan.jobs.size());
  const bool internal = choices.OneIn(16);
  if (internal) job.id.clear();
  job.context = choices.Below(contexts);
  job.auto_finalize = internal || !choices.OneIn(3);
  job.auto_dismiss = internal || !choices.OneIn(3);
  if (choices.OneIn(4)) job.speed = 1 << choices.Below(12);
  if (plan.resources > 0) {
    if (choices.OneIn(2)) job.resources = choices.Below(1u << plan.resources);
    if (choices.OneIn(4)) job.still_at_end = choices.Below(1u << plan.resources);
  }
  job.drain_timeout = choices.OneIn(4) ? milliseconds(choices.Below(20)) : milliseconds(30'000);

  const uint32_t steps = choices.Below(profile.run_steps + 1);
  for (uint32_t i = 0; i < steps; ++i) {
    auto kind = static_cast<Step::Kind>(PickWeighted(choices, profile.steps));
    // Nobody can complete an internal job, or wake it, or resume it after an error.
    const bool waits = kind == Step::Kind::kYield || kind == Step::Kind::kAwaitComplete || kind == Step::Kind::kError ||
                       kind == Step::Kind::kBeside;
    if (internal && waits) kind = Step::Kind::kSleep;
    job.run.push_back({kind, choices.Below(64), choices.Below(64)});
    if (faults.Fires("run_fails")) job.run.back().kind = Step::Kind::kFail;
    if (faults.Fires("run_throws")) job.run.back().kind = Step::Kind::kThrow;
  }
  job.pause = MakeHook(choices, faults, "slow_pause", nullptr, "pause_throws");
  job.resume = MakeHook(choices, faults, "slow_resume", nullptr, "resume_throws");
  job.complete = MakeHook(choices, faults, "slow_complete", "complete_refused", "complete_throws");
  job.change = MakeHook(choices, faults, "slow_change", "change_refused", "change_throws");
  job.prepare = MakeHook(choices, faults, "slow_prepare", "prepare_fails", "prepare_throws");
  job.prepare.drains = plan.resources > 0 && choices.OneIn(8);
  job.commit = MakeHook(choices, faults, "slow_commit", "commit_fails", "commit_throws");
  job.abort = MakeHook(choices, faults, "slow_abort", nullptr, nullptr);
  job.clean = MakeHook(choices, faults, "slow_clean", nullptr, nullptr);
  return job;
}

// Creates them all; starts most, before or after the group is sealed; gives some up.
GroupPlan MakeGroup(Choices& choices, Faults& faults, std::vector<uint32_t> jobs) {
  using enum Action::Kind;
  GroupPlan group;
  group.own = jobs.size() == 1 && !choices.OneIn(4);
  std::vector<Action> late;
  for (const uint32_t job : jobs) {
    group.actions.push_back({kCreate, job});
    Action next{kStart, job};
    if (faults.Fires("never_started")) continue;
    if (faults.Fires("abandoned")) next.kind = kAbandon;
    (choices.OneIn(2) ? late : group.actions).push_back(next);
  }
  if (!group.own) group.actions.push_back({faults.Fires("group_given_up") ? kGiveUp : kSeal});
  group.actions.insert(group.actions.end(), late.begin(), late.end());
  group.jobs = std::move(jobs);
  return group;
}

}  // namespace

Plan MakePlan(Choices& choices, Faults& faults, const Profile& profile, uint32_t contexts) {
  Plan plan;
  plan.resources = choices.Below(profile.resources + 1);
  if (faults.Fires("few_events")) plan.event_capacity = 1 + choices.Below(8);
  if (choices.OneIn(8)) plan.history_count = choices.Below(3);
  plan.unresponsive_after = choices.OneIn(4) ? milliseconds(1 + choices.Below(50)) : milliseconds(30'000);

  const uint32_t jobs = choices.Between(1, profile.jobs);
  while (plan.jobs.size() < jobs) {
    std::vector<uint32_t> members;
    const uint32_t size =
        std::min(choices.Between(1, profile.group_of), jobs - static_cast<uint32_t>(plan.jobs.size()));
    for (uint32_t i = 0; i < size; ++i) {
      members.push_back(static_cast<uint32_t>(plan.jobs.size()));
      plan.jobs.push_back(MakeJob(choices, faults, profile, plan, contexts));
    }
    plan.groups.push_back(MakeGroup(choices, faults, std::move(members)));
  }

  const uint32_t monitors = choices.Below(profile.monitors + 1);
  for (uint32_t i = 0; i < monitors; ++i) {
    std::vector<Action>& actions = plan.monitors.emplace_back();
    const uint32_t count = choices.Below(profile.actions_each + 1);
    for (uint32_t k = 0; k < count; ++k) {
      const auto kind = static_cast<Action::Kind>(PickWeighted(choices, profile.actions));
      actions.push_back({kind, choices.Below(jobs), choices.Below(64), choices.Below(64)});
      if (faults.Fires("monitor_gone")) break;
    }
  }
  return plan;
}

}  // namespace jobcore::sim
