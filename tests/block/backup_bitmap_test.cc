// SPDX-License-Identifier: Apache-2.0
//
// Backups that go by a bitmap: one after the other, each of which copies only what has been written since the one
// before, the target is the source of the moment of each, whatever has become of those that failed.

#include <cerrno>
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
using monitor::ActionTransaction;
using BitmapMode = BackupOptions::BitmapMode;
using Sync = BackupOptions::Sync;

constexpr uint64_t kChunk = 4096;
constexpr uint64_t kSize = 64 * kKiB + 700;

std::string NameOf(const ::testing::TestParamInfo<BitmapMode>& mode) {
  const char* const names[] = {"OnSuccess", "Never", "Always"};
  return names[static_cast<size_t>(mode.param)];
}

class BackupByBitmap : public ::testing::TestWithParam<BitmapMode> {
 protected:
  template <typename... Actions>
  absl::Status RunAll(Actions... actions) {
    ActionTransaction transaction(world.core());
    (transaction.Add(std::move(actions)), ...);
    return world.Await(ActionTransaction::Run(std::move(transaction)));
  }
  void AddBitmap() { ASSERT_TRUE(RunAll(AddBitmapAction(source, {.name = "b", .granularity = kChunk})).ok()); }
  void Write(uint64_t offset, uint64_t length) {
    auto edge = NodeEdge::Attach(source, {.user = "client", .writes = true});
    const std::vector<std::byte> data(length, std::byte{9});
    EXPECT_EQ(world.Await((*edge)->Write(offset, data)), 0);
  }
  uint64_t Dirty() { return source->bitmaps().Find("b")->dirty_bytes; }
  BackupOptions Options(std::shared_ptr<Node> to, Sync sync = Sync::kBitmap) {
    return {.source = source,
            .target = std::move(to),
            .sync = sync,
            .bitmap = "b",
            .bitmap_mode = GetParam(),
            .granularity = kChunk,
            .in_flight = 1};
  }

  NodeWorld world{2};
  std::shared_ptr<MemoryNode> source = world.FullDisk("disk", kSize, &world.io());
  std::shared_ptr<MemoryNode> target = world.Disk("copy", kSize);
};

TEST_P(BackupByBitmap, TheTargetIsTheSourceOfTheMomentThoughOthersHaveFailed) {
  const std::vector<std::byte> base = source->Snapshot();
  target->Fill(0, base);
  AddBitmap();
  world.StartWriters(source, 3);
  int succeeded = 0;
  for (int i = 0; i < 24; ++i) {
    world.LetWritersWork(3);
    if (GetParam() == BitmapMode::kNever) target->Fill(0, base);  // all that has been written since is copied anew
    std::vector<std::byte> then;
    absl::StatusOr<JobRef> job;
    {
      const DrainedSection section = world.Drain({&source->resource()});
      then = source->Snapshot();
      job = CreateBackup(world.core(), {.id = "j"}, Options(target), section);
      ASSERT_TRUE(job.ok()) << job.status();
    }
    if (i % 4 == 1) world.LetWritersWork(2);
    const bool starts = i % 4 != 2;
    ASSERT_EQ(starts ? StartJob(**job) : absl::OkStatus(), absl::OkStatus());
    if (i % 4 == 3) world.LetWritersWork(1);
    if (i % 4 >= 2) (void)world.Cancel(*job);  // refused: it is over
    ASSERT_TRUE(world.RunUntilNull(*job));
    if (world.Outcome(*job) != "succeeded") continue;
    EXPECT_TRUE(target->Snapshot() == then);
    ++succeeded;
  }
  EXPECT_GE(succeeded, 12);
  world.CheckWriters(*source);
  world.EndWriters();
}

TEST_P(BackupByBitmap, CopiesNoMoreThanTheBitmapSays) {
  AddBitmap();
  Write(3 * kChunk + 1, kChunk);
  Write(kSize - 1, 1);
  EXPECT_EQ(Dirty(), 2 * kChunk + 700);
  JobRef job = world.Backup({.id = "j"}, Options(target));
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.Outcome(job), "succeeded");
  EXPECT_EQ(world.Query(job).progress.total, 2 * kChunk + 700);
  EXPECT_EQ(target->written_bytes(), 2 * kChunk + 700);
  EXPECT_EQ(Dirty(), GetParam() == BitmapMode::kNever ? 2 * kChunk + 700 : 0);
}

TEST_P(BackupByBitmap, AfterAFailureTheBitmapSaysWhatIsStillToBeCopied) {
  const std::shared_ptr<FaultNode> faulty = *MakeFaultNode(
      world.core(), {.node = {.name = "faulty"},
                     .image = target,
                     .rules = {{.operation = FaultRule::Operation::kWrite, .sector = 4 * kChunk / 512}}});
  AddBitmap();
  for (uint64_t chunk = 0; chunk < 8; chunk += 2) Write(chunk * kChunk, 1);
  JobRef job = world.Backup({.id = "j"}, Options(faulty));
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_NE(world.Outcome(job), "succeeded");
  EXPECT_EQ(Dirty(), GetParam() == BitmapMode::kAlways ? 2 * kChunk : 4 * kChunk);
  // One of all that is there fails as early, and leaves all of the rest.
  if (GetParam() == BitmapMode::kNever) return;
  const uint64_t before = Dirty();
  JobRef all = world.Backup({.id = "j"}, Options(faulty, Sync::kFull));
  ASSERT_TRUE(world.RunUntilNull(all));
  EXPECT_EQ(Dirty(), GetParam() == BitmapMode::kAlways ? kSize : before);
}

TEST_P(BackupByBitmap, OneThatIsUndoneBeforeItBeginsLeavesTheBitmapAsItWas) {
  AddBitmap();
  Write(0, 1);
  for (const Sync sync : {Sync::kBitmap, Sync::kFull}) {
    EXPECT_FALSE(RunAll(StartBackupAction({.id = "j"}, Options(target, sync)), monitor::FailingAction()).ok());
    EXPECT_EQ(Dirty(), kChunk);
  }
  EXPECT_EQ(source->bitmaps().Find("b")->busy_with, "");
  EXPECT_FALSE(world.Findable("j"));
}

TEST_P(BackupByBitmap, KeepsItBusyUntilItHasEnded) {
  AddBitmap();
  const auto busy = Refused(absl::StatusCode::kFailedPrecondition, "currently in use by another operation");
  absl::StatusOr<JobRef> job = world.Await(CreateBackup(world.core(), {.id = "j"}, Options(target)));
  ASSERT_TRUE(job.ok()) << job.status();
  const auto other = world.Disk("other", kSize);
  EXPECT_THAT(world.Await(CreateBackup(world.core(), {.id = "k"}, Options(other))).status(), busy);
  EXPECT_THAT(RunAll(RemoveBitmapAction(source, "b")), busy);
  EXPECT_TRUE(AbandonJob(**job).ok());
  job = absl::UnknownError("forgotten");
  EXPECT_TRUE(world.RunUntil([&] { return source->bitmaps().Find("b")->busy_with.empty(); }, "the end of the job"));
  EXPECT_TRUE(RunAll(RemoveBitmapAction(source, "b")).ok());
}

TEST_P(BackupByBitmap, IsRefusedIfThatMeansNothing) {
  const auto status = [&](BackupOptions options) {
    return world.Await(CreateBackup(world.core(), {.id = "j"}, std::move(options))).status();
  };
  BackupOptions unnamed = Options(target);
  unnamed.bitmap.clear();
  EXPECT_THAT(status(unnamed), Refused(absl::StatusCode::kInvalidArgument, "must provide a valid bitmap name"));
  EXPECT_THAT(status(Options(target)), Refused(absl::StatusCode::kNotFound, "'b' not found"));
  EXPECT_THAT(status(Options(target, Sync::kNone)), Refused(absl::StatusCode::kInvalidArgument, "meaningful bitmap"));
  EXPECT_EQ(status(Options(target, Sync::kFull)).code(),
            GetParam() == BitmapMode::kNever ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(, BackupByBitmap,
                         ::testing::Values(BitmapMode::kOnSuccess, BitmapMode::kNever, BitmapMode::kAlways), NameOf);

}  // namespace
}  // namespace jobcore::block
