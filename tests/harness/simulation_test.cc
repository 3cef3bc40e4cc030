// SPDX-License-Identifier: Apache-2.0
//
// The simulation, its disk and the checker themselves: that they find, on toys with a known bug, what they are there
// to find.

#include "job-testing/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "job-common/coroutine.h"
#include "job-common/job_core.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"
#include "job-testing/campaign.h"
#include "job-testing/choices.h"
#include "job-testing/job_checker.h"
#include "job-testing/probes.h"
#include "job-testing/sim_disk.h"

namespace jobcore {
namespace {

using std::chrono::seconds;
using testing::Choices;
using testing::JobChecker;
using testing::SimDisk;
using testing::Simulation;

// A look in one turn, acted upon in another.
void StaleLook(Choices& choices) {
  Simulation sim(choices);
  const std::shared_ptr<AioContext> driver = sim.NewContext("driver", AioContext::Kind::kIOThread);
  bool cancelled = false;
  sim.AddActor("start", [&] {
    driver->Post("look", [&] {
      if (cancelled) return;
      driver->Post("act", [&] {
        if (cancelled) std::abort();
      });
    });
    return false;
  });
  sim.AddActor("cancel", [&] {
    cancelled = true;
    return false;
  });
  sim.RunUntilQuiet([] {});
}

TEST(Simulation, FindsTheStaleLookAndShrinksIt) {
  const testing::CampaignResult result = testing::RunCampaign({.seeds = 1000}, StaleLook);
  ASSERT_TRUE(result.failure.has_value());
  EXPECT_LT(result.failure->seed, 100u);
  EXPECT_LE(result.failure->choices.size(), 10u) << result.ToString();
}

TEST(Simulation, MovesTimeToTheNextTimerWhenNothingElseCanHappen) {
  Choices choices = Choices::Replay({});
  Simulation sim(choices);
  const std::shared_ptr<AioContext> main = sim.NewContext("main", AioContext::Kind::kMain);
  std::vector<int> fired;
  std::optional<AioTimer> late, early;
  const TimePoint start = sim.clock().Now();
  sim.AtHome(*main, [&] {
    late.emplace(*main, "late", [&] { fired.push_back(2); });
    early.emplace(*main, "early", [&] { fired.push_back(1); });
    late->ArmAt(start + seconds(2));
    early->ArmAt(start + seconds(1));
  });
  sim.RunUntilQuiet([] {});
  EXPECT_THAT(fired, ::testing::ElementsAre(1, 2));
  EXPECT_EQ(sim.clock().Now(), start + seconds(2));
  EXPECT_EQ(sim.trace(), "time\nmain\ntime\nmain\n");
  sim.AtHome(*main, [&] {
    late.reset();
    early.reset();
  });
}

TEST(SimulationDeathTest, WhatHasNoEndIsAFailure) {
  EXPECT_DEATH(
      {
        Choices choices(1);
        Simulation sim(choices);
        sim.AddActor("restless", [] { return true; });
        sim.RunUntilQuiet([] {}, 100);
      },
      "no end after 100 steps; the last ones:\nrestless");
}

TEST(SimDisk, KeepsWhatIsWrittenAndAnswersInSomeOrder) {
  Choices choices(5);
  Simulation sim(choices);
  SimDisk disk(choices, sim.clock());
  sim.AddDevice(disk);
  const std::shared_ptr<AioContext> main = sim.NewContext("main", AioContext::Kind::kMain);
  const int file = disk.Create({});
  const int copy = disk.Create({});
  std::array<std::byte, 8> read{};
  const auto run = [&](SimDisk& d, int from, int to) -> Co<void> {
    const std::array<std::byte, 4> data = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    const IoResult written = co_await Write(d, from, 1, data);
    EXPECT_EQ(written.bytes, 4u);
    const IoResult copied = co_await CopyRange(d, from, 0, to, 0, 100);
    EXPECT_EQ(copied.bytes, 5u);
    const IoResult got = co_await Read(d, to, 2, read);
    EXPECT_EQ(got.bytes, 3u);
  };
  sim.AtHome(*main, [&] { Spawn("disk test", run(disk, file, copy)); });
  sim.RunUntilQuiet([] {});
  EXPECT_EQ(disk.Content(copy).size(), 5u);
  EXPECT_EQ(read[2], std::byte{4});
}

// --- The checker: what it says when something is wrong ---

class Checked {
 public:
  Checked() : choices_(Choices::Replay({})), sim_(choices_), main_(sim_.NewContext("main", AioContext::Kind::kMain)) {
    sim_.AtHome(*main_, [&] { core_.emplace(JobCore::Options{.main_context = main_}); });
    checker_.emplace(*core_);
  }
  ~Checked() {
    sim_.AtHome(*main_, [&] { core_.reset(); });
  }
  JobCore& core() { return *core_; }
  JobChecker& checker() { return *checker_; }
  AioContext& main() { return *main_; }
  Simulation& sim() { return sim_; }

 private:
  Choices choices_;
  Simulation sim_;
  std::shared_ptr<AioContext> main_;
  std::optional<JobCore> core_;
  std::optional<JobChecker> checker_;
};

struct Returns final : JobDriver {
  Co<absl::Status> Run(JobContext&) override { co_return absl::OkStatus(); }
};

TEST(JobCheckerDeathTest, AJobThatIsLeft) {
  EXPECT_DEATH(
      {
        Checked world;
        (void)world.checker().Create({.id = "a"}, std::make_unique<Returns>());
        world.checker().Finish();
      },
      "at the end job 'a' is 'created'");
}

TEST(JobCheckerDeathTest, ADriverThatIsLeft) {
  EXPECT_DEATH(
      {
        Checked world;
        const JobRef job = *world.checker().Create({.id = "a"}, std::make_unique<Returns>());
        (void)StartJob(*job);
        world.sim().RunUntilQuiet([&] { world.checker().Check(); });
        world.checker().Finish();
      },
      "at the end the driver of job 'a' lives");
}

TEST(JobCheckerDeathTest, AVerbThatIsNotAnswered) {
  EXPECT_DEATH(
      {
        Checked world;
        {
          JobLock lock(world.core());
          (void)world.checker().Ask(world.main(), [](VerbReply) { return absl::OkStatus(); });
        }
        world.checker().Finish();
      },
      "a verb that was accepted has had no answer");
}

TEST(JobCheckerDeathTest, AVerbThatIsRefusedAndAnswered) {
  EXPECT_DEATH(
      {
        Checked world;
        {
          JobLock lock(world.core());
          (void)world.checker().Ask(world.main(), [](VerbReply reply) {
            std::move(reply).Send(absl::OkStatus());
            return absl::InternalError("refused");
          });
        }
        world.sim().RunUntilQuiet([] {});
      },
      "a verb that was refused was answered");
}

TEST(JobCheckerDeathTest, StepsOfAJobThatDoesNotRun) {
  EXPECT_DEATH(
      {
        Checked world;
        const JobRef job = *world.checker().Create({.id = "a"}, std::make_unique<Returns>());
        world.checker().Runs(JobContext(*job));
      },
      "job 'a' runs in state 'created'");
}

}  // namespace
}  // namespace jobcore
