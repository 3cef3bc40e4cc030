// SPDX-License-Identifier: Apache-2.0
//
// B20, B23: eight threads ask for everything, with deadlines, stop tokens and deaths of the object between, and look
// for anybody who is in where he must not be. Meant for ThreadSanitizer, too.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <random>
#include <stop_token>
#include <thread>
#include <vector>

#include "job-monitor/gated_monitor.h"
#include "job-monitor/job_gate.h"

namespace jobcore::gate {
namespace {

using std::chrono::microseconds;

struct World {
  World() { gate.BeginLife(); }

  JobIds ids{1};
  JobGate gate{ids, {.max_queued = 12}};
  int plain = 0;  // whoever has the monitor: a race if there are two
  GatedMonitor<int> monitor{gate, plain};
  std::atomic<int> in_monitor{0};
  std::atomic<int> in_async{0};
  std::atomic<bool> excludes_modify{false};
  std::atomic<int> violations{0};
  std::atomic<int> let_in{0};
};

void InTheMonitor(World& world, const MonitorGrant& grant) {
  if (world.in_monitor.fetch_add(1) != 0) ++world.violations;
  if (auto session = world.monitor.Enter(grant); session.ok()) ++**session;
  world.in_monitor.fetch_sub(1);
  ++world.let_in;
}

void LongJob(World& world, AcquireOptions options, AsyncKind kind) {
  const absl::StatusOr<AsyncGrant> job = world.gate.BeginAsync(kind, options);
  if (!job.ok()) return;
  if (world.in_async.fetch_add(1) != 0) ++world.violations;
  world.excludes_modify = kind == AsyncKind::kSave;
  options.stop = job->stop_token();
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<NestedGrant> step = world.gate.BeginNested(*job, options);
    if (step.ok()) InTheMonitor(world, *step);
  }
  world.excludes_modify = false;
  world.in_async.fetch_sub(1);
}

void Client(World& world, uint64_t number, int rounds) {
  std::mt19937 random(static_cast<unsigned>(number));
  for (int i = 0; i < rounds; ++i) {
    AcquireOptions options{.owner = {.api = "client", .task = number}};
    std::stop_source stop;
    if (random() % 3 == 0) options.deadline = Clock::System().Now() + microseconds(random() % 80);
    if (random() % 4 == 0) options.stop = stop.get_token();
    std::thread stopper;
    switch (random() % 12) {
      case 0:
        LongJob(world, options, AsyncKind::kSave);
        break;
      case 1:
        LongJob(world, options, AsyncKind::kBackup);
        break;
      case 2:
        (void)world.gate.RequestAbort({});
        break;
      case 3:
        if (i % 16 == 0 && number == 1) {
          world.gate.EndLife();
          world.gate.BeginLife();
        }
        break;
      case 4:
        options.stop = stop.get_token();
        stopper = std::thread([&stop] { stop.request_stop(); });
        [[fallthrough]];
      default: {
        const JobClass job_class = random() % 2 == 0 ? JobClass::kModify : JobClass::kQuery;
        const absl::StatusOr<NormalGrant> grant = world.gate.Begin(job_class, options);
        if (!grant.ok()) break;
        if (job_class == JobClass::kModify && world.excludes_modify) ++world.violations;
        InTheMonitor(world, *grant);
      }
    }
    if (stopper.joinable()) stopper.join();
  }
}

TEST(JobGateStress, EightThreadsViolateNothing) {
  World world;
  std::vector<std::thread> clients;
  for (uint64_t number = 1; number <= 8; ++number) {
    clients.emplace_back([&world, number] { Client(world, number, 1500); });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(world.violations, 0);
  EXPECT_GT(world.let_in, 1000);
  EXPECT_EQ(world.gate.Info().queued, 0u);
}

}  // namespace
}  // namespace jobcore::gate
