// SPDX-License-Identifier: Apache-2.0
//
// Races of the catalogue that need many steps: attaching and detaching within nested sections, failures at
// every step of a group's end, requests without pause while a resource is exchanged, and a group over
// many resources whose members name them in different orders.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-driver/resource.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using namespace std::chrono_literals;
using ::testing::IsEmpty;

// jobs come and go, sections open, nest, overlap and end, in random order; in the end nothing is left of them.
TEST(ResourceRaces, JobsThatComeAndGoWithinNestedSectionsLeaveNoReasonBehind) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    TestWorld world;
    std::mt19937 random(seed);
    Resource disks[3] = {{world.core(), "a"}, {world.core(), "b"}, {world.core(), "c"}};
    std::vector<DrainedSection> sections;
    std::vector<std::pair<JobRef, std::shared_ptr<Remote>>> jobs;
    const auto some = [&] {
      std::vector<Resource*> list;
      for (Resource& disk : disks)
        if (random() % 2 == 0) list.push_back(&disk);
      if (list.empty()) list.push_back(&disks[random() % 3]);
      return list;
    };
    int number = 0;
    for (int step = 0; step < 60; ++step) {
      switch (random() % 4) {
        case 0: {
          auto remote = std::make_shared<Remote>();
          const std::string id = "j" + std::to_string(number++);
          jobs.emplace_back(world.Start({.id = id, .resources = some()}, Obedient(remote)), remote);
          break;
        }
        case 1: {
          const TimePoint deadline = world.main().clock().Now() + 10s;
          absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking(some(), {.deadline = deadline});
          ASSERT_TRUE(section.ok()) << section.status();
          sections.push_back(*std::move(section));
          break;
        }
        case 2:
          if (!sections.empty()) {
            std::swap(sections[random() % sections.size()], sections.back());
            sections.pop_back();
          }
          break;
        default:
          if (!jobs.empty()) {
            auto& [job, remote] = jobs[random() % jobs.size()];
            if (random() % 2 == 0) {
              remote->Finish(*job);
            } else {
              world.Cancel(job).IgnoreError();
            }
          }
      }
      for (size_t turns = random() % 4; turns > 0; --turns) world.main().RunOnce(false);
      for (const auto& [job, remote] : jobs) {
        for (const Resource& disk : disks) {
          JobLock lock(world.core());
          const std::vector<std::string> reasons = job->pause_reasons();
          const bool paused = std::count(reasons.begin(), reasons.end(), "drain:" + disk.name()) != 0;
          EXPECT_FALSE(paused && !disk.draining()) << job->id() << " by " << disk.name();
        }
      }
    }
    sections.clear();
    for (const auto& [job, remote] : jobs) {
      EXPECT_THAT(world.Query(job).pause_reasons, IsEmpty());
      remote->Finish(*job);
    }
    for (const auto& [job, remote] : jobs) ASSERT_TRUE(world.RunUntilNull(job));
  }  // ~Resource sees to the rest
}

// whatever fails, the section is over when the group is, and the resource goes on.
TEST(ResourceRaces, FailureAtAnyStepOfTheEndOfAGroupEndsItsSection) {
  enum Step { kRunFails, kPrepareFails, kPrepareThrows, kCommitFails, kCommitThrows, kCancelInPrepare, kNone };
  for (const Step step :
       {kRunFails, kPrepareFails, kPrepareThrows, kCommitFails, kCommitThrows, kCancelInPrepare, kNone}) {
    TestWorld world({.io_threads = 1});
    Resource disk(world.core(), "disk0");
    std::optional<JobRef> other;
    Script script;
    script.run = [&](JobContext&) -> Co<absl::Status> {
      if (step == kRunFails) co_return absl::InternalError("run");
      co_return absl::OkStatus();
    };
    script.prepare = [&]() -> Co<absl::Status> {
      if (step == kPrepareFails) co_return absl::InternalError("prepare");
      if (step == kPrepareThrows) throw std::runtime_error("prepare");
      if (step == kCancelInPrepare) {
        EXPECT_TRUE(world.Cancel(*other).ok());
      }
      co_return absl::OkStatus();
    };
    script.commit = [&]() -> Co<absl::Status> {
      if (step == kCommitFails) co_return absl::InternalError("commit");
      if (step == kCommitThrows) throw std::runtime_error("commit");
      co_return absl::OkStatus();
    };
    JobTxnBuilder group(world.core());
    const JobRef a = world.Create(
        {.id = "a", .context = &world.io(), .group = &group, .resources = {&disk}, .still_at_end = {&disk}},
        std::move(script));
    other = world.Create({.id = "b", .group = &group, .still_at_end = {&disk}}, {});
    ASSERT_TRUE(group.Seal().ok());
    ASSERT_TRUE(StartJob(**other).ok());  // first: a may have failed, and the group with it, at any moment from now
    ASSERT_TRUE(StartJob(*a).ok());
    ASSERT_TRUE(world.RunUntilNull(a)) << step;
    ASSERT_TRUE(world.RunUntilNull(*other)) << step;
    other.reset();
    JobLock lock(world.core());
    EXPECT_FALSE(disk.draining()) << step;
  }
}

// the section covers the whole exchange. Requests come from two I/O threads without pause; each is carried out
// by exactly one side, and none by the old side once the new one has taken over.
TEST(ResourceRaces, StormOfRequestsDuringAnExchangeReachesExactlyOneSide) {
  TestWorld world({.io_threads = 2});
  Resource disk(world.core(), "disk0");
  std::atomic<int> side{0};
  std::atomic<bool> half{false};  // in the middle of the exchange
  std::atomic<int> written[2] = {0, 0};
  std::atomic<int> wrong{0};
  std::atomic<bool> stop{false};
  std::atomic<int> producers{4};
  const auto produce = [&](AioContext& home) -> Co<void> {
    while (!stop) {
      {
        const Admission in = co_await disk.Admit();
        const int to = side;
        if (half) ++wrong;
        bool passed = false;
        home.Post("the write itself", [&passed, &home]() JOBCORE_EXCLUDES(job_mutex) {
          passed = true;
          home.wait_domain().Kick();
        });
        const auto waiting = [&passed] { return !passed; };
        (void)co_await AioWaitWhile(home, waiting);
        if (half || side != to) ++wrong;
        ++written[to];
      }
    }
    --producers;
  };
  for (int t = 0; t < 2; ++t) {
    world.io(t).Post("producers", [&, t] {
      for (int i = 0; i < 2; ++i) Spawn("producer", produce(world.io(t)));
    });
  }
  ASSERT_TRUE(world.RunUntil([&] { return written[0] > 20; }));
  for (int round = 0; round < 20; ++round) {
    Script script;
    script.prepare = [&]() -> Co<absl::Status> {
      half = true;
      co_return absl::OkStatus();
    };
    script.commit = [&]() -> Co<absl::Status> {
      side = 1 - side;
      co_return absl::OkStatus();
    };
    script.clean = [&]() -> Co<void> {
      half = false;
      co_return;
    };
    const int after = 1 - side;
    const JobRef job = world.Start({.id = "mirror", .resources = {&disk}, .still_at_end = {&disk}}, std::move(script));
    ASSERT_TRUE(world.RunUntilNull(job));
    const int before = written[after];
    ASSERT_TRUE(world.RunUntil([&] { return written[after] > before + 10; }));
  }
  stop = true;
  ASSERT_TRUE(world.RunUntil([&] { return producers == 0; }));
  EXPECT_EQ(wrong, 0);
}

// A driver may as well open the section itself and carry it along: it is a value, and ends with whoever has it.
TEST(ResourceRaces, SectionOpenedInPrepareIsCarriedIntoCommitOrAbort) {
  for (const bool fails : {false, true}) {
    TestWorld world;
    Resource disk(world.core(), "disk0");
    DrainedSection section;
    std::string where;
    const auto note = [&](std::string_view hook) {
      JobLock lock(world.core());
      where += std::string(hook) + (disk.draining() ? "+ " : "- ");
    };
    Script script;
    script.prepare = [&]() -> Co<absl::Status> {
      Resource* const list[] = {&disk};
      absl::StatusOr<DrainedSection> opened = co_await DrainedSection::Open(list, {.name = "end of the job"});
      if (!opened.ok()) co_return opened.status();
      section = *std::move(opened);
      note("prepare");
      co_return fails ? absl::InternalError("prepare") : absl::OkStatus();
    };
    script.commit = [&]() -> Co<absl::Status> {
      note("commit");
      co_return absl::OkStatus();
    };
    script.abort = [&]() -> Co<void> {
      note("abort");
      co_return;
    };
    script.clean = [&]() -> Co<void> {
      section.End();
      note("clean");
      co_return;
    };
    const JobRef job = world.Start({.id = "a", .resources = {&disk}}, std::move(script));
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(where, fails ? "prepare+ abort+ clean- " : "prepare+ commit+ clean- ");
  }
}

TEST(ResourceRaces, GroupsThatNameTheSameResourcesInDifferentOrdersDoNotWaitForEachOther) {
  TestWorld world({.io_threads = 2});
  Resource a(world.core(), "a"), b(world.core(), "b"), c(world.core(), "c");
  for (int round = 0; round < 50; ++round) {
    std::vector<JobRef> jobs;
    std::vector<std::vector<Resource*>> orders = {{&a, &b, &c}, {&c, &b, &a}, {&b, &a}};
    for (size_t i = 0; i < orders.size(); ++i) {
      jobs.push_back(world.Start({.id = "j" + std::to_string(i),
                                  .context = &world.io(i % 2),
                                  .resources = orders[i],
                                  .still_at_end = orders[i]},
                                 {}));
    }
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
  }
}

}  // namespace
}  // namespace jobcore
