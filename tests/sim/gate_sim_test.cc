// SPDX-License-Identifier: Apache-2.0
//
// A gate in the simulation: clients in several loops ask for everything, with deadlines, cancellations, aborts, and an
// object that dies and comes back. After each step the gate is looked at from outside; in the end it is empty.

#include <gtest/gtest.h>

#include <chrono>
#include <coroutine>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-monitor/job_gate.h"
#include "job-testing/campaign.h"
#include "job-testing/choices.h"
#include "job-testing/simulation.h"

namespace jobcore::sim {
namespace {

using gate::AcquireOptions;
using gate::AsyncGrant;
using gate::AsyncKind;
using gate::GateInfo;
using gate::JobClass;
using gate::JobGate;
using gate::JobIds;
using gate::NestedGrant;
using gate::NormalGrant;
using gate::PhaseNumber;
using testing::Choices;
using testing::Simulation;

void Require(bool holds, const char* rule) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", rule);
  std::abort();
}

struct World {
  explicit World(Choices& c)
      : choices(c),
        simulation(c),
        gate(ids, {.max_queued = choices.Below(3) * 4, .overtake_limit = 2, .clock = &simulation.clock()}) {
    if (!choices.OneIn(8)) gate.BeginLife();
  }

  AcquireOptions SomeOptions(uint64_t task, std::stop_source& stop) {
    AcquireOptions options{.owner = {.api = "client", .task = task}};
    if (choices.OneIn(3)) {
      options.deadline = SaturatingAdd(simulation.clock().Now(), std::chrono::microseconds(choices.Below(50)));
    }
    if (choices.OneIn(3)) options.stop = stop.get_token();
    options.nowait = choices.OneIn(8);
    options.may_be_dead = choices.OneIn(4);
    return options;
  }
  void Enter() { Require(++inside == 1, "one at a time has the monitor"); }
  void Leave() { --inside; }

  void Check() {
    const GateInfo info = gate.Info();
    Require(info.queued >= info.waiting, "who waits is counted");
    const size_t held = (info.monitor ? 1 : 0) + (info.agent ? 1 : 0) + (info.async ? 1 : 0);
    Require(info.queued == info.waiting + held, "the queue is who is in and who waits");
    Require(!info.monitor || info.monitor->slot != gate::Slot::kNested || info.async.has_value(),
            "a nested job is of an asynchronous one");
  }

  Choices& choices;
  Simulation simulation;
  JobIds ids{1};
  JobGate gate;
  std::vector<std::unique_ptr<std::stop_source>> stops;
  int inside = 0;
  int running = 0;
};

// co_await: goes on in the next turn of its loop.
struct NextTurn {
  AioContext& context;
  bool await_ready() const { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> self) {
    context.Post("next turn", [coroutine = CoHandle::Of(self)] { coroutine.Resume(); });
  }
  void await_resume() const {}
};

Co<void> LongJob(World& world, AioContext& context, const AcquireOptions& options) {
  const AsyncKind kind = gate::kAsyncKinds[world.choices.Below(gate::kAsyncKinds.size())];
  absl::StatusOr<AsyncGrant> job = co_await world.gate.AwaitAsync(kind, options);
  if (!job.ok()) co_return;
  AcquireOptions mine = options;
  mine.stop = job->stop_token();
  mine.nowait = false;
  for (int i = 0; i < 3; ++i) {
    const auto next = static_cast<PhaseNumber>(world.choices.Below(11));
    const bool aborted = world.gate.Info().async->abort_requested;
    const absl::Status status = job->SetPhaseNumber(next);
    Require(!status.ok() || !aborted || gate::InfoOf(kind).phases[next].way_back, "an aborted job goes back only");
    const absl::StatusOr<NestedGrant> step = co_await world.gate.AwaitNested(*job, mine);
    if (!step.ok()) continue;
    world.Enter();
    if (world.choices.OneIn(2)) co_await NextTurn{context};
    world.Leave();
  }
}

Co<void> Client(World& world, AioContext& context, uint64_t task) {
  for (uint32_t rounds = world.choices.Below(4); rounds > 0; --rounds) {
    std::stop_source& stop = *world.stops.emplace_back(std::make_unique<std::stop_source>());
    const AcquireOptions options = world.SomeOptions(task, stop);
    if (world.choices.OneIn(3)) {
      co_await LongJob(world, context, options);
      continue;
    }
    const auto job_class = static_cast<JobClass>(world.choices.Below(gate::kJobClassNames.size()));
    const absl::StatusOr<NormalGrant> grant = co_await world.gate.AwaitBegin(job_class, options);
    if (!grant.ok()) continue;
    const GateInfo info = world.gate.Info();
    Require(info.monitor.has_value(), "whoever is in is known to be");
    world.Enter();
    if (world.choices.OneIn(2)) co_await NextTurn{context};
    world.Leave();
  }
  --world.running;
}

// From outside: stops, aborts, deaths and lives.
bool Trouble(World& world, int& left) {
  switch (world.choices.Below(5)) {
    case 0:
      break;
    case 1:
      if (!world.stops.empty()) world.choices.Pick(world.stops)->request_stop();
      break;
    case 2:
      (void)world.gate.RequestAbort({}, {.postcopy = world.choices.OneIn(2)});
      break;
    case 3:
      world.gate.EndLife();
      break;
    case 4:
      if (!world.gate.live()) world.gate.BeginLife();
      break;
  }
  return --left > 0;
}

void RunGate(Choices& choices) {
  World world(choices);
  std::vector<std::shared_ptr<AioContext>> contexts = {world.simulation.NewContext("main", AioContext::Kind::kMain),
                                                       world.simulation.NewContext("io", AioContext::Kind::kIOThread)};
  const uint32_t clients = choices.Between(2, 6);
  world.running = static_cast<int>(clients);
  for (uint32_t i = 0; i < clients; ++i) {
    AioContext& home = *choices.Pick(contexts);
    home.Post("client", [&world, &home, i] { Spawn("client", Client(world, home, i + 1)); });
  }
  int trouble = static_cast<int>(choices.Below(10)) + 1;
  world.simulation.AddActor("trouble", [&] { return Trouble(world, trouble); });
  world.simulation.RunUntilQuiet([&] { world.Check(); });
  Require(world.running == 0, "everybody gets an answer");
  Require(world.gate.Info().queued == 0, "nobody is left in the gate");
}

TEST(GateSim, ClientsDeathsAndAborts) {
  const testing::CampaignResult result = testing::RunCampaign(
      {.seeds = 20'000, .must_reach = {"gate.overtaken_enough"}}, [](Choices& choices) { RunGate(choices); });
  EXPECT_TRUE(result.ok()) << result.ToString();
  std::printf("%s\n", result.ToString().c_str());
}

}  // namespace
}  // namespace jobcore::sim
