// SPDX-License-Identifier: Apache-2.0
//
// The worlds of the simulation once more, on controlled threads: every loop and every actor has a thread of its own, so
// that they also meet in the middle of a verb, a turn or a critical section.

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "job-common/iothread.h"
#include "job-common/sync.h"
#include "job-testing/campaign.h"
#include "job-testing/controlled_threads.h"
#include "job-testing/probes.h"
#include "sim/plan.h"
#include "sim/world.h"
#include "testing/tsan.h"

namespace jobcore::sim {
namespace {

using testing::Choices;
using testing::ControlledThreads;

// Whatever it is asked has happened at once.
class ReadyDisk final : public IoEngine {
 public:
  void Submit(IoRequest& request) override { request.Complete({.bytes = request.size}); }
};

ControlledThreads::Options StrategyOf(Choices& choices) {
  const bool pct = choices.OneIn(2);
  return {.strategy = pct ? ControlledThreads::Strategy::kPct : ControlledThreads::Strategy::kRandom,
          .expected_steps = uint32_t{256} << choices.Below(6),
          .max_steps = 2'000'000};
}

void RunThreads(Choices& choices, const Profile& profile) {
  testing::Faults faults(choices);
  ControlledThreads threads(choices, StrategyOf(choices));
  ReadyDisk disk;
  const auto main = AioContext::Create({.name = "main", .clock = &threads.clock(), .poller = threads.NewPoller()});
  std::vector<std::unique_ptr<IOThread>> io_threads;
  Environment environment{.clock = threads.clock(), .contexts = {main}, .disk = disk};
  const uint32_t count = choices.Between(1, 2);
  for (uint32_t i = 0; i < count; ++i) {
    io_threads.push_back(std::make_unique<IOThread>(
        "io" + std::to_string(i), IOThread::Options{.clock = &threads.clock(), .poller = threads.NewPoller()}));
    environment.contexts.push_back(io_threads.back()->context().shared_from_this());
  }
  Plan plan = MakePlan(choices, faults, profile, count + 1);
  plan.event_capacity = 4096;  // the checker looks at rest only, and is to see all

  internal::Mutex mutex;
  internal::CondVar made;
  World* world = nullptr;
  bool running = true;  // the main thread's
  internal::Thread home([&] {
    const AioHome here(*main);
    const auto own = std::make_unique<World>(environment, std::move(plan));
    {
      const std::scoped_lock lock(mutex);
      world = own.get();
      made.notify_all();
    }
    while (running) main->RunOnce(/*may_block=*/true);
  });
  {
    std::unique_lock lock(mutex);
    made.wait(lock, [&] { return world != nullptr; });
  }
  {
    std::vector<World::Actor> actors = world->TakeActors();
    std::vector<internal::Thread> at_work;
    for (World::Actor& actor : actors) {
      at_work.emplace_back([&actor] {
        while (actor.step()) {
        }
      });
    }
    for (internal::Thread& thread : at_work) thread.join();
  }
  threads.AwaitQuiet();
  world->checker().Check();
  for (int i = 0; world->Push(); ++i) {
    if (i == world->max_pushes()) world->Broken("it does not come to its end");
    threads.AwaitQuiet();
    world->checker().Check();
  }
  threads.AwaitQuiet();
  world->Finish();
  main->Post("end", [&running] { running = false; });
  home.join();
}

void Campaign(const Profile& profile, uint64_t seeds) {
  if (internal::kUnderTsan) seeds /= 10;
  const testing::CampaignResult result =
      testing::RunCampaign({.seeds = seeds}, [&profile](Choices& choices) { RunThreads(choices, profile); });
  EXPECT_TRUE(result.ok()) << result.ToString();
}

TEST(ThreadsSim, AllKindsOfJobs) { Campaign({.jobs = 3, .monitors = 2}, 1'000); }

TEST(ThreadsSim, Groups) {
  Profile profile{.jobs = 4, .group_of = 4, .run_steps = 2, .monitors = 3, .actions_each = 6};
  profile.actions = {1, 1, 1, 3, 3, 1, 6, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 0};
  Campaign(profile, 1'000);
}

TEST(ThreadsSim, PausesAndMoves) {
  Profile profile{.jobs = 2, .group_of = 1, .run_steps = 6, .monitors = 3, .resources = 0};
  profile.steps = {1, 4, 4, 2, 4, 4, 1, 3, 1, 0, 2, 1, 2, 2, 0, 0, 0};
  profile.actions = {0, 6, 6, 1, 1, 4, 0, 0, 4, 3, 6, 4, 0, 0, 0, 1, 1, 0, 0, 0};
  Campaign(profile, 2'000);
}

TEST(ThreadsSim, DrainsAndAdmission) {
  Profile profile{.jobs = 2, .group_of = 2, .run_steps = 5, .monitors = 3, .resources = 2};
  profile.steps = {1, 2, 2, 1, 1, 1, 0, 1, 0, 8, 1, 1, 1, 1, 0, 0, 0};
  profile.actions = {0, 1, 1, 1, 2, 1, 1, 0, 0, 0, 2, 1, 0, 0, 1, 1, 0, 8, 8, 0};
  Campaign(profile, 1'000);
}

}  // namespace
}  // namespace jobcore::sim
