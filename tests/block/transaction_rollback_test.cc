// SPDX-License-Identifier: Apache-2.0
//
// Transactions of real actions among clients that write: a failure at every position leaves everything as it was; and
// groups of mirrors and backups end together, whichever member fails or is cancelled.

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "block/node_world.h"
#include "block/test_nodes.h"
#include "gmock/gmock.h"
#include "job-driver/block/block_actions.h"
#include "job-driver/block/fault_node.h"
#include "job-driver/block/node_bitmaps.h"
#include "job-monitor/action_transaction.h"

namespace jobcore::block {
namespace {

using jobcore_test::Refused;
using monitor::Action;
using monitor::ActionTransaction;
using monitor::CompletionMode;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kSize = 64 * kKiB;

// --- A failure at every position ---

struct Rollback {
  const char* name;
  bool several_threads;
  CompletionMode mode;
};

class TransactionRollback : public ::testing::TestWithParam<Rollback> {
 protected:
  struct Place {
    std::shared_ptr<MemoryNode> source;
    std::shared_ptr<MemoryNode> target;
    std::shared_ptr<AioContext> home;
    std::unique_ptr<NodeEdge> client;
  };

  void MakePlaces(size_t n) {
    for (size_t i = 0; i < n; ++i) {
      AioContext* const homes[] = {&world.io(0), &world.io(1), &world.main()};
      AioContext* const home = homes[GetParam().several_threads ? i % 3 : 0];
      const std::string name = std::to_string(i);
      Place place = {.source = world.FullDisk("s" + name, kSize, home),
                     .target = world.Disk("t" + name, kSize),
                     .home = home->shared_from_this(),
                     .client = nullptr};
      absl::StatusOr<std::unique_ptr<NodeEdge>> client =
          NodeEdge::Attach(place.source, {.user = "client", .writes = true});
      place.client = *std::move(client);
      ActionTransaction bitmaps(world.core());
      bitmaps.Add(AddBitmapAction(place.source, {.name = "old", .granularity = 4096}));
      ASSERT_TRUE(world.Await(ActionTransaction::Run(std::move(bitmaps))).ok());
      WriteTo(place, 0);
      places.push_back(std::move(place));
    }
  }
  void WriteTo(const Place& place, uint64_t offset) {
    const std::vector<std::byte> data(512, std::byte{7});
    EXPECT_EQ(world.Await(place.client->Write(offset, data)), 0);
  }
  std::unique_ptr<Action> NewAction(size_t i, const Place& place) {
    const std::string id = "j" + std::to_string(i);
    switch (i) {
      case 0:
        return StartBackupAction({.id = id}, {.source = place.source, .target = place.target});
      case 1:
        return AddBitmapAction(place.source, {.name = "new"});
      case 2:
        return StartMirrorAction({.id = id}, {.source = place.source, .target = place.target});
      case 3:
        return SetContextAction(place.source, world.io(2).shared_from_this());
      case 4:
        return RemoveBitmapAction(place.source, "old");
      case 5:
        return SwitchUsersAction(place.source, place.target);
      case 6:
        return ClearBitmapAction(place.source, "old");
      default:
        return StartBackupAction({.id = id}, {.source = place.source,
                                              .target = place.target,
                                              .sync = BackupOptions::Sync::kBitmap,
                                              .bitmap = "old",
                                              .bitmap_mode = BackupOptions::BitmapMode::kAlways});
    }
  }
  void ExpectAllAsBefore(size_t members) {
    for (size_t i = 0; i < members; ++i) {
      const Place& place = places[i];
      EXPECT_FALSE(world.Findable("j" + std::to_string(i)));
      EXPECT_EQ(place.client->node(), place.source);
      EXPECT_EQ(place.source->context(), place.home);
      EXPECT_THAT(UsersOf(*place.source), ElementsAre("client"));
      EXPECT_THAT(UsersOf(*place.target), IsEmpty());
      const std::vector<BitmapInfo> bitmaps = place.source->bitmaps().List();
      ASSERT_EQ(bitmaps.size(), 1u);
      EXPECT_EQ(bitmaps[0].dirty_bytes, 4096u);
      EXPECT_TRUE(bitmaps[0].recording);
      EXPECT_EQ(bitmaps[0].busy_with, "");
      // Nobody copies what is written, and nobody has the node drained.
      const uint64_t written = place.target->written_bytes();
      WriteTo(place, 512);
      EXPECT_EQ(place.target->written_bytes(), written);
    }
  }

  NodeWorld world{3};
  std::vector<Place> places;
};

TEST_P(TransactionRollback, LeavesAllAsItWasWhereverItFails) {
  constexpr size_t kMost = 8;
  MakePlaces(kMost);
  for (size_t members = 1; members <= kMost; ++members) {
    for (size_t failing = 0; failing < members; ++failing) {
      SCOPED_TRACE(std::to_string(failing) + " of " + std::to_string(members));
      ActionTransaction transaction(world.core(), {.completion = GetParam().mode});
      for (size_t i = 0; i < members; ++i) {
        // Which action comes at a position differs from one length to the next.
        transaction.Add(i == failing ? monitor::FailingAction() : NewAction((i + members) % kMost, places[i]));
      }
      EXPECT_THAT(world.Await(ActionTransaction::Run(std::move(transaction))),
                  Refused(absl::StatusCode::kAborted, "Transaction aborted"));
      for (size_t i = 0; i < kMost; ++i) EXPECT_FALSE(world.Findable("j" + std::to_string(i)));
      ExpectAllAsBefore(kMost);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, TransactionRollback,
                         ::testing::Values(Rollback{"OneThread", false, CompletionMode::kIndividual},
                                           Rollback{"OneThreadGrouped", false, CompletionMode::kGrouped},
                                           Rollback{"SeveralThreads", true, CompletionMode::kIndividual},
                                           Rollback{"SeveralThreadsGrouped", true, CompletionMode::kGrouped}),
                         [](const auto& param) { return std::string(param.param.name); });

// --- Groups that run ---

class MixedGroup : public ::testing::Test {
 protected:
  static constexpr size_t kMembers = 4;  // mirror, backup, mirror, backup

  // The targets of `faulty` fail at what is written near the end.
  void Start(size_t faulty = kMembers, bool complete = true) {
    ActionTransaction all(world.core(), {.completion = CompletionMode::kGrouped});
    for (size_t i = 0; i < kMembers; ++i) {
      AioContext* const homes[] = {&world.io(0), &world.io(1), &world.main()};
      const std::string name = std::to_string(i);
      sources.push_back(world.FullDisk("s" + name, kSize, homes[i % 3]));
      targets.push_back(world.Disk("t" + name, kSize));
      world.StartWriters(sources[i], 1);
      std::shared_ptr<Node> target = targets[i];
      if (i == faulty) {
        FaultOptions options = {.node = {.name = "faulty"},
                                .image = target,
                                .rules = {{.operation = FaultRule::Operation::kWrite, .sector = 127}}};
        target = *MakeFaultNode(world.core(), std::move(options));
      }
      if (i % 2 == 0) {
        all.Add(StartMirrorAction({.id = Id(i), .auto_dismiss = false, .drain_timeout = drain_timeout},
                                  {.source = sources[i], .target = target}));
      } else {
        // The client is not to be told of what the target cannot do.
        all.Add(StartBackupAction(
            {.id = Id(i), .auto_dismiss = false, .drain_timeout = drain_timeout},
            {.source = sources[i], .target = target, .on_copy_error = BackupOptions::OnCopyError::kBreakBackup}));
      }
    }
    const absl::Status status = world.Await(ActionTransaction::Run(std::move(all)));
    ASSERT_TRUE(status.ok()) << status;
    for (size_t i = 0; i < kMembers; ++i) {
      JobLock lock(world.core());
      jobs.emplace_back(*monitor::Find(world.core(), Id(i)));
    }
    if (complete) CompleteMirrors();
  }
  void CompleteMirrors() {
    for (size_t i = 0; i < kMembers; i += 2) {
      ASSERT_TRUE(world.RunUntil(
          [&] { return world.Status(jobs[i]) != "running" && world.Status(jobs[i]) != "paused"; }, "a mirror"));
      (void)world.Complete(jobs[i]);  // refused: the group has failed
    }
  }
  static std::string Id(size_t i) { return "j" + std::to_string(i); }
  void ExpectEnd(bool succeeded) {
    for (size_t i = 0; i < kMembers; ++i) {
      SCOPED_TRACE(Id(i));
      ASSERT_TRUE(world.RunUntilStatus(jobs[i], "concluded"));
      EXPECT_EQ(world.Outcome(jobs[i]) == "succeeded", succeeded) << world.Outcome(jobs[i]);
    }
    world.StopWriters();
    for (size_t i = 0; i < kMembers; ++i) {
      const std::shared_ptr<MemoryNode>& now = succeeded && i % 2 == 0 ? targets[i] : sources[i];
      EXPECT_EQ(world.writers()[i]->edge().node(), now);
      EXPECT_EQ(world.writers()[i]->Check(now->Snapshot()), "");
      if (now != targets[i]) {
        EXPECT_THAT(UsersOf(*sources[i]), ElementsAre("writer"));
      }
    }
    world.EndWriters();
  }

  Nanoseconds drain_timeout = std::chrono::seconds(30);
  NodeWorld world{2};
  std::vector<std::shared_ptr<MemoryNode>> sources, targets;
  std::vector<JobRef> jobs;
};

TEST_F(MixedGroup, OfMirrorsAndBackupsSucceedsTogether) {
  Start();
  ExpectEnd(true);
}

TEST_F(MixedGroup, FailsAsAWholeWithAMirror) {
  Start(/*faulty=*/2);
  ExpectEnd(false);
}

TEST_F(MixedGroup, FailsAsAWholeWithABackup) {
  Start(/*faulty=*/1);
  ExpectEnd(false);
}

TEST_F(MixedGroup, IsCancelledWithAnyMember) {
  Start(kMembers, /*complete=*/false);
  ASSERT_TRUE(world.Cancel(jobs[3]).ok() || world.Cancel(jobs[0]).ok());
  ExpectEnd(false);
}

TEST_F(MixedGroup, FailsIfOneOfTheNodesDoesNotStandStillAtTheEndInTime) {
  drain_timeout = std::chrono::milliseconds(20);
  Start(kMembers, /*complete=*/false);
  Admission in =
      world.Await([](Node& node) -> Co<Admission> { co_return co_await node.resource().Admit(); }(*sources[2]));
  CompleteMirrors();
  ExpectEnd(false);
  in.End();
}

}  // namespace
}  // namespace jobcore::block
