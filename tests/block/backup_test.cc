// SPDX-License-Identifier: Apache-2.0
//
// Backup jobs: the copy is that of one moment, however clients go on writing, and clients lose nothing by it (R-62,
//

#include "job-driver/block/backup.h"

#include <cerrno>
#include <tuple>

#include "block/node_world.h"
#include "gmock/gmock.h"
#include "job-common/job_txn.h"
#include "job-driver/block/fault_node.h"

namespace jobcore::block {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using OnCopyError = BackupOptions::OnCopyError;
using Sync = BackupOptions::Sync;

std::shared_ptr<FaultNode> Faulty(NodeWorld& world, std::shared_ptr<Node> image, std::vector<FaultRule> rules) {
  FaultOptions options = {.node = {.name = "faulty-" + image->name()}, .image = image, .rules = std::move(rules)};
  return *MakeFaultNode(world.core(), std::move(options));
}

// A backup whose moment is known: what was in the source is in `then`.
JobRef StartBackup(NodeWorld& world, MemoryNode& source, JobSpec spec, BackupOptions options,
                   std::vector<std::byte>& then) {
  const DrainedSection section = world.Drain({&source.resource()});
  then = source.Snapshot();
  absl::StatusOr<JobRef> job = CreateBackup(world.core(), std::move(spec), std::move(options), section);
  EXPECT_TRUE(job.ok()) << job.status();
  EXPECT_TRUE(StartJob(**job).ok());
  return *std::move(job);
}

class BackupOfBusyDisk : public ::testing::TestWithParam<std::tuple<uint64_t, uint64_t>> {
 protected:
  static constexpr uint64_t kSize = 96 * kKiB + 700;
  uint64_t granularity() const { return std::get<0>(GetParam()); }
  uint64_t block() const { return std::get<1>(GetParam()); }

  NodeWorld world{2};
  std::shared_ptr<MemoryNode> source = world.FullDisk("disk", kSize, &world.io());
  std::shared_ptr<MemoryNode> target = world.Disk("copy", kSize);
};

TEST_P(BackupOfBusyDisk, IsTheDiskOfTheMomentOfItsCreation) {
  world.StartWriters(source, 6, block());
  for (int i = 0; i < 8; ++i) {
    std::vector<std::byte> then;
    JobRef job =
        StartBackup(world, *source, {.id = "b"},
                    {.source = source, .target = target, .granularity = granularity(), .in_flight = 1 + i % 3}, then);
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(world.Outcome(job), "succeeded");
    EXPECT_TRUE(target->Snapshot() == then);
    EXPECT_EQ(world.Query(job).progress.current, kSize);
    EXPECT_EQ(world.Query(job).progress.total, kSize);
  }
  world.CheckWriters(*source);
  world.EndWriters();
}

TEST_P(BackupOfBusyDisk, GoesOnAfterPausesAndMoves) {
  world.StartWriters(source, 6, block());
  std::vector<std::byte> then;
  JobRef job = StartBackup(world, *source, {.id = "b"},
                           {.source = source, .target = target, .granularity = granularity()}, then);
  for (int i = 0; i < 6; ++i) {
    const bool paused = i % 2 == 0 && world.Pause(job).ok();
    const absl::Status moved = world.Await(MoveNode(source, world.io(i % 2).shared_from_this()));
    EXPECT_TRUE(moved.ok()) << moved;
    world.LetWritersWork(5);
    // Refused if its Run had nothing left to do by then: it never parked.
    if (paused && !world.Resume(job).ok()) {
      EXPECT_NE(world.Status(job), "paused");
    }
  }
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.Outcome(job), "succeeded");
  EXPECT_TRUE(target->Snapshot() == then);
  world.CheckWriters(*source);
  world.EndWriters();
}

TEST_P(BackupOfBusyDisk, LetsClientsBeWhenItIsCancelled) {
  world.StartWriters(source, 6, block());
  for (int i = 0; i < 8; ++i) {
    JobRef job = world.Backup({.id = "b"}, {.source = source, .target = target, .granularity = granularity()});
    (void)world.Cancel(job);
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_THAT(UsersOf(*target), IsEmpty());
    const uint64_t written = target->written_bytes();
    world.LetWritersWork(3);
    EXPECT_EQ(target->written_bytes(), written);  // nobody writes on behalf of the job any more
  }
  world.CheckWriters(*source);
  world.EndWriters();
}

INSTANTIATE_TEST_SUITE_P(, BackupOfBusyDisk,
                         ::testing::Combine(::testing::Values(512, 4096, 64 * kKiB), ::testing::Values(512, 3072)));

// Two clients wait for the same pieces, one of them wants more: it must not read what it has no turn at.
TEST(NodeBackup, CopiesNothingThatAnotherClientIsAboutToChange) {
  NodeWorld world(2);
  auto source = world.FullDisk("disk", 64 * kKiB, &world.io());
  auto target = world.Disk("copy", 64 * kKiB);
  std::vector<std::byte> all(64 * kKiB, std::byte{0xee});
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  for (int i = 0; i < 100; ++i) {
    std::vector<std::byte> then;
    JobRef job = StartBackup(world, *source, {.id = "b"},
                             {.source = source, .target = target, .sync = Sync::kNone, .granularity = 512}, then);
    int open = 16;
    for (uint64_t n = 0; n < 16; ++n) {  // of 1 to 8 pieces
      Spawn("client", [](NodeEdge& edge, uint64_t at, std::span<const std::byte> data, int& left) -> Co<void> {
        EXPECT_EQ(co_await edge.Write(at, data), 0);
        --left;
      }(**client, world.Below(120) * 512, std::span(all).first(512 * (1 + world.Below(8))), open));
    }
    ASSERT_TRUE(world.RunUntil([&] { return open == 0; }));
    const std::vector<std::byte> now = source->Snapshot(), copied = target->Snapshot();
    for (size_t at = 0; at < now.size(); ++at) {
      if (now[at] != then[at]) {
        ASSERT_EQ(copied[at], then[at]) << at;
      }
    }
    ASSERT_TRUE(world.Cancel(job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
    source->Fill(0, Numbered(64 * kKiB));
  }
}

TEST(NodeBackup, OfSyncNoneHoldsOnlyWhatWasOverwritten) {
  NodeWorld world;
  auto source = world.FullDisk("disk", 64 * kKiB, &world.io());
  auto target = world.Disk("copy", 64 * kKiB);
  JobRef job =
      world.Backup({.id = "b"}, {.source = source, .target = target, .sync = Sync::kNone, .granularity = 4096});
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  const std::vector<std::byte> data(600, std::byte{9});
  EXPECT_EQ(world.Await((*client)->Write(4096 * 3 - 100, data)), 0);
  EXPECT_EQ(world.Await((*client)->Write(4096 * 3, data)), 0);
  EXPECT_EQ(target->written_bytes(), 8192u);
  std::vector<std::byte> expected(64 * kKiB);
  const std::vector<std::byte> old = Numbered(64 * kKiB);
  std::copy_n(old.begin() + 8192, 8192, expected.begin() + 8192);
  EXPECT_EQ(target->Snapshot(), expected);
  EXPECT_EQ(world.Status(job), "running");
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

// --- Several nodes ---

// Writes a number to both, first to `a`.
Co<void> WriteBoth(NodeEdge& a, NodeEdge& b, std::atomic<bool>& stop, std::atomic<int>& running) {
  for (uint64_t number = 1; !stop; ++number) {
    co_await Delay(Nanoseconds{1});
    const std::vector<uint64_t> data(64, number);
    EXPECT_EQ(co_await a.Write(0, std::as_bytes(std::span(data))), 0);
    EXPECT_EQ(co_await b.Write(0, std::as_bytes(std::span(data))), 0);
  }
  --running;
}

uint64_t NumberIn(MemoryNode& node) {
  uint64_t number = 0;
  std::memcpy(&number, node.Snapshot().data(), sizeof(number));
  return number;
}

TEST(NodeBackup, OfSeveralDisksIsOfOneMoment) {
  NodeWorld world(2);
  auto a = world.Disk("a", 8 * kKiB, &world.io(0)), b = world.Disk("b", 8 * kKiB, &world.io(1));
  auto a_copy = world.Disk("a-copy", 8 * kKiB), b_copy = world.Disk("b-copy", 8 * kKiB);
  auto a_edge = NodeEdge::Attach(a, {.user = "client", .writes = true});
  auto b_edge = NodeEdge::Attach(b, {.user = "client", .writes = true});
  std::atomic<bool> stop{false};
  std::atomic<int> running{1};
  world.io(0).Post("client", [&] { Spawn("client", WriteBoth(**a_edge, **b_edge, stop, running)); });
  for (int i = 0; i < 50; ++i) {
    JobTxnBuilder group(world.core());
    std::vector<JobRef> jobs;
    {
      const DrainedSection section = world.Drain({&a->resource(), &b->resource()});
      for (const auto& [id, source, target] : {std::tuple("ba", a, a_copy), std::tuple("bb", b, b_copy)}) {
        const BackupOptions options = {.source = source, .target = target, .granularity = 512};
        jobs.push_back(*CreateBackup(world.core(), {.id = id, .group = &group}, options, section));
      }
    }
    ASSERT_TRUE(group.Seal().ok());
    for (const JobRef& job : jobs) ASSERT_TRUE(StartJob(*job).ok());
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_GE(NumberIn(*a_copy), NumberIn(*b_copy));
    EXPECT_LE(NumberIn(*a_copy), NumberIn(*b_copy) + 1);
  }
  stop = true;
  ASSERT_TRUE(world.RunUntil([&] { return running == 0; }));
}

// --- Errors ---

class BackupWithFailingTarget : public ::testing::TestWithParam<std::tuple<OnCopyError, Sync>> {};

TEST_P(BackupWithFailingTarget, FailsTheWriteOrItself) {
  const auto [on_copy_error, sync] = GetParam();
  NodeWorld world;
  auto source = world.FullDisk("disk", 64 * kKiB);
  auto copy = world.Disk("copy", 64 * kKiB);
  auto target = Faulty(world, copy, {{.operation = FaultRule::Operation::kWrite, .sector = 127}});
  const BackupOptions options = {
      .source = source, .target = target, .sync = sync, .granularity = 512, .on_copy_error = on_copy_error};
  JobRef job = *world.Await(CreateBackup(world.core(), {.id = "b"}, options));
  if (sync == Sync::kNone) {
    ASSERT_TRUE(StartJob(*job).ok());
    world.Settle();  // it waits to be woken
  }
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  const std::vector<std::byte> data(512, std::byte{9});
  const int error = world.Await((*client)->Write(127 * 512, data));
  target->SetRules({});
  if (sync == Sync::kFull) {
    ASSERT_TRUE(StartJob(*job).ok());
  }
  if (on_copy_error == OnCopyError::kBreakBackup) {
    EXPECT_EQ(error, 0);
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_THAT(world.Outcome(job), HasSubstr("before it was overwritten"));
    return;
  }
  EXPECT_EQ(error, EIO);
  EXPECT_EQ(source->Snapshot(), Numbered(64 * kKiB));
  if (sync == Sync::kNone) {
    ASSERT_TRUE(world.Cancel(job).ok());
  }
  ASSERT_TRUE(world.RunUntilNull(job));
  if (sync == Sync::kFull) {
    EXPECT_EQ(copy->Snapshot(), Numbered(64 * kKiB));
  }
  EXPECT_EQ(world.Await((*client)->Write(127 * 512, data)), 0);
}

INSTANTIATE_TEST_SUITE_P(, BackupWithFailingTarget,
                         ::testing::Combine(::testing::Values(OnCopyError::kBreakWrite, OnCopyError::kBreakBackup),
                                            ::testing::Values(Sync::kFull, Sync::kNone)));

// The job has nothing else to do while a client copies the only piece; the client fails.
TEST(NodeBackup, GoesOnWhenAClientHasFailedToCopy) {
  NodeWorld world;
  auto source = world.FullDisk("disk", 512);
  auto copy = world.Disk("copy", 512);
  auto target = Faulty(
      world, copy, {{.operation = FaultRule::Operation::kWrite, .once = true, .delay = std::chrono::milliseconds(20)}});
  absl::StatusOr<JobRef> job =
      world.Await(CreateBackup(world.core(), {.id = "b"}, {.source = source, .target = target, .granularity = 512}));
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  const std::vector<std::byte> data(512, std::byte{9});
  std::optional<int> answer;
  Spawn("client", [](NodeEdge& edge, const std::vector<std::byte>& what, std::optional<int>& error) -> Co<void> {
    error = co_await edge.Write(0, what);
  }(**client, data, answer));
  ASSERT_TRUE(StartJob(**job).ok());
  ASSERT_TRUE(world.RunUntilNull(*job));
  EXPECT_EQ(answer, EIO);
  EXPECT_EQ(world.Outcome(*job), "succeeded");
  EXPECT_EQ(copy->Snapshot(), Numbered(512));
}

TEST(NodeBackup, LeavesNothingWhenItIsAbandonedOrRefused) {
  NodeWorld world;
  auto source = world.FullDisk("disk", 64 * kKiB);
  auto target = world.Disk("copy", 64 * kKiB);
  const BackupOptions options = {.source = source, .target = target};
  {
    absl::StatusOr<JobRef> job = world.Await(CreateBackup(world.core(), {.id = "b"}, options));
    EXPECT_FALSE(world.Await(CreateBackup(world.core(), {.id = "b2"}, options)).ok());  // the target is taken
    ASSERT_TRUE(AbandonJob(**job).ok());
  }
  world.Settle();
  EXPECT_FALSE(world.Await(CreateBackup(world.core(), {.id = "no id"}, options)).ok());
  EXPECT_THAT(UsersOf(*source), IsEmpty());
  EXPECT_THAT(UsersOf(*target), IsEmpty());
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  const std::vector<std::byte> data(512, std::byte{9});
  EXPECT_EQ(world.Await((*client)->Write(0, data)), 0);
  EXPECT_EQ(target->written_bytes(), 0u);
}

}  // namespace
}  // namespace jobcore::block
