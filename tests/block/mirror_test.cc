// SPDX-License-Identifier: Apache-2.0
//
// Mirror jobs: what was acknowledged is there after the switch, whoever writes when, and whatever fails (R-20, R-58,
// D6 and D13 of the reference).

#include "job-driver/block/mirror.h"

#include <cerrno>
#include <tuple>

#include "block/node_world.h"
#include "gmock/gmock.h"
#include "job-common/job_txn.h"
#include "job-driver/block/fault_node.h"

namespace jobcore::block {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using CopyMode = MirrorOptions::CopyMode;
using Sync = MirrorOptions::Sync;

std::shared_ptr<FaultNode> Faulty(NodeWorld& world, std::shared_ptr<Node> image, std::vector<FaultRule> rules) {
  FaultOptions options = {.node = {.name = "faulty-" + image->name()}, .image = image, .rules = std::move(rules)};
  return *MakeFaultNode(world.core(), std::move(options));
}

// --- What a copy is ---

struct Shape {
  uint64_t size;
  uint64_t granularity;
};
class MirrorOf : public ::testing::TestWithParam<std::tuple<Shape, CopyMode>> {};

TEST_P(MirrorOf, AnIdleDiskIsItsCopyAndTakesItsPlace) {
  const auto [shape, mode] = GetParam();
  NodeWorld world;
  auto source = world.FullDisk("disk", shape.size, &world.io());
  auto target = world.Disk("copy", shape.size);
  JobRef job = world.Mirror({.id = "m"},
                            {.source = source, .target = target, .copy_mode = mode, .granularity = shape.granularity});
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  EXPECT_EQ(source->Snapshot(), target->Snapshot());
  EXPECT_EQ(world.Query(job).progress.current, shape.size);
  EXPECT_EQ(world.Query(job).progress.total, shape.size);
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  world.Switch(job);
  EXPECT_EQ((*client)->node(), target);
  EXPECT_GT(target->flushes(), 0);
  EXPECT_THAT(UsersOf(*source), IsEmpty());
  EXPECT_THAT(UsersOf(*target), ElementsAre("client"));
}

INSTANTIATE_TEST_SUITE_P(, MirrorOf,
                         ::testing::Combine(::testing::Values(Shape{64 * kKiB, 512}, Shape{64 * kKiB + 1, 512},
                                                              Shape{300'007, 4096}, Shape{kKiB, 64 * kKiB},
                                                              Shape{2048 * kKiB + 513, 1024 * kKiB}),
                                            ::testing::Values(CopyMode::kBackground, CopyMode::kWriteBlocking)));

TEST(Mirror, WritesZerosAsZeros) {
  NodeWorld world;
  auto source = world.Disk("disk", 64 * kKiB);
  source->Fill(0, Numbered(4096));
  auto target = world.FullDisk("copy", 64 * kKiB);
  JobRef job = world.Mirror({.id = "m"}, {.source = source, .target = target, .granularity = 4096});
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  EXPECT_EQ(source->Snapshot(), target->Snapshot());
  EXPECT_GT(target->zero_writes(), 0);
  world.Switch(job);
}

TEST(Mirror, OfSyncNoneCopiesOnlyWhatIsWritten) {
  NodeWorld world;
  auto source = world.FullDisk("disk", 64 * kKiB);
  auto target = world.FullDisk("copy", 64 * kKiB);
  JobRef job = world.Mirror({.id = "m"}, {.source = source, .target = target, .sync = Sync::kNone, .granularity = 512});
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  EXPECT_EQ(target->written_bytes(), 0u);
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  const std::vector<std::byte> data(1000, std::byte{9});
  EXPECT_EQ(world.Await((*client)->Write(700, data)), 0);
  world.Switch(job);
  EXPECT_EQ(target->written_bytes(), 1536u);
  EXPECT_EQ(source->Snapshot(), target->Snapshot());
}

// --- While clients write ---

class MirrorOfBusyDisk : public ::testing::TestWithParam<std::tuple<CopyMode, uint64_t, uint64_t>> {
 protected:
  static constexpr uint64_t kSize = 96 * kKiB + 700;
  MirrorOptions Options() {
    const auto [mode, granularity, block] = GetParam();
    return {.source = source, .target = target, .copy_mode = mode, .granularity = granularity, .in_flight = 3};
  }
  uint64_t block() const { return std::get<2>(GetParam()); }

  NodeWorld world{2};
  std::shared_ptr<MemoryNode> source = world.FullDisk("disk", kSize, &world.io());
  std::shared_ptr<MemoryNode> target = world.Disk("copy", kSize);
};

TEST_P(MirrorOfBusyDisk, LosesNothingInASwitch) {
  world.StartWriters(source, 6, block());
  JobRef job = world.Mirror({.id = "m"}, Options());
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));  // though they never stop
  world.LetWritersWork();
  world.Switch(job);
  world.LetWritersWork();
  world.CheckWriters(*target);
  world.EndWriters();
  EXPECT_THAT(UsersOf(*source), IsEmpty());
}

TEST_P(MirrorOfBusyDisk, CancelledSoftlyIsTheDiskOfAMoment) {
  JobRef job = world.Mirror({.id = "m", .auto_finalize = false}, Options());
  world.StartWriters(source, 6, block());
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  world.LetWritersWork();
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  world.LetWritersWork();
  world.StopWriters();  // so that the moment is known
  ASSERT_TRUE(world.Finalize(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.Outcome(job), "succeeded");
  EXPECT_EQ(source->Snapshot(), target->Snapshot());
  world.CheckWriters(*source);
  world.EndWriters();
}

TEST_P(MirrorOfBusyDisk, LetsClientsBeWhenItIsCancelled) {
  world.StartWriters(source, 6, block());
  for (const bool ready : {false, true}) {
    JobRef job = world.Mirror({.id = "m"}, Options());
    if (ready) {
      ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
    }
    ASSERT_TRUE(world.Cancel(job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_THAT(UsersOf(*target), IsEmpty());
    const uint64_t written = target->written_bytes();
    world.LetWritersWork();
    EXPECT_EQ(target->written_bytes(), written);  // nobody writes on behalf of the job any more
  }
  world.CheckWriters(*source);
  world.EndWriters();
}

TEST_P(MirrorOfBusyDisk, LetsClientsWriteWhilePending) {  // D6
  world.StartWriters(source, 6, block());
  JobRef job = world.Mirror({.id = "m", .auto_finalize = false}, Options());
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Complete(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  world.LetWritersWork(100);
  ASSERT_TRUE(world.Finalize(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.Query(job).progress.current, world.Query(job).progress.total);
  world.LetWritersWork();
  world.CheckWriters(*target);
  world.EndWriters();
}

TEST_P(MirrorOfBusyDisk, GoesOnAfterPausesAndMoves) {
  world.StartWriters(source, 6, block());
  JobRef job = world.Mirror({.id = "m"}, Options());
  for (int i = 0; i < 6; ++i) {
    if (i % 2 == 0) {
      ASSERT_TRUE(world.Pause(job).ok());
    }
    const absl::Status moved = world.Await(MoveNode(source, world.io(i % 2).shared_from_this()));
    EXPECT_TRUE(moved.ok()) << moved;
    EXPECT_EQ(source->context().get(), &world.io(i % 2));
    world.LetWritersWork(5);
    if (i % 2 == 0) {
      ASSERT_TRUE(world.Resume(job).ok());
    }
  }
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  world.Switch(job);
  world.LetWritersWork();
  world.CheckWriters(*target);
  world.EndWriters();
}

INSTANTIATE_TEST_SUITE_P(, MirrorOfBusyDisk,
                         ::testing::Combine(::testing::Values(CopyMode::kBackground, CopyMode::kWriteBlocking),
                                            ::testing::Values(512, 4096, 64 * kKiB), ::testing::Values(512, 3072)));

// --- The end ---

TEST(Mirror, SwitchesAClientThatCameWhileItWasPending) {  // D13
  for (const CopyMode mode : {CopyMode::kBackground, CopyMode::kWriteBlocking}) {
    NodeWorld world;
    auto source = world.FullDisk("disk", 64 * kKiB, &world.io());
    auto target = world.Disk("copy", 64 * kKiB);
    JobRef job = world.Mirror({.id = "m", .auto_finalize = false},
                              {.source = source, .target = target, .copy_mode = mode, .granularity = 4096});
    ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
    ASSERT_TRUE(world.Complete(job).ok());
    ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
    auto client = NodeEdge::Attach(source, {.user = "late client", .writes = true});
    const std::vector<std::byte> data(512, std::byte{7});
    EXPECT_EQ(world.Await((*client)->Write(8192, data)), 0);
    ASSERT_TRUE(world.Finalize(job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ((*client)->node(), target);
    std::vector<std::byte> back(512);
    EXPECT_EQ(world.Await((*client)->Read(8192, back)), 0);
    EXPECT_EQ(back, data);
    const monitor::JobInfo info = world.Query(job);
    EXPECT_EQ(info.progress.current, info.progress.total);
  }
}

TEST(Mirror, LetsARequestThatHadToWaitReachTheNewDisk) {
  NodeWorld world;
  auto source = world.FullDisk("disk", 64 * kKiB);
  auto target = world.Disk("copy", 64 * kKiB);
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  JobRef job = world.Mirror({.id = "m", .auto_finalize = false}, {.source = source, .target = target});
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Complete(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  std::optional<DrainedSection> section = world.Drain({&source->resource()});
  const std::vector<std::byte> data(512, std::byte{7});
  std::optional<int> answer;
  Spawn("client", [](NodeEdge& edge, const std::vector<std::byte>& what, std::optional<int>& error) -> Co<void> {
    error = co_await edge.Write(0, what);
  }(**client, data, answer));
  ASSERT_TRUE(world.Finalize(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_FALSE(answer.has_value());
  section.reset();
  ASSERT_TRUE(world.RunUntil([&] { return answer.has_value(); }));
  EXPECT_EQ(answer, 0);
  EXPECT_EQ(source->Snapshot(), Numbered(64 * kKiB));
  EXPECT_EQ(target->Snapshot()[0], std::byte{7});
}

// As the reference does: what has been promised to whoever asked for the switch holds.
TEST(Mirror, CancelledSoftlyAfterItWasCompletedSwitchesStill) {
  NodeWorld world;
  auto source = world.FullDisk("disk", 64 * kKiB);
  auto target = world.Disk("copy", 64 * kKiB);
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  JobRef job = world.Mirror({.id = "m"}, {.source = source, .target = target});
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Pause(job).ok());  // so that it does not end before it is cancelled
  ASSERT_TRUE(world.RunUntilStatus(job, "standby"));
  Replies replies;
  ASSERT_TRUE(world.Complete(job, replies.Make(world.main())).ok());
  ASSERT_TRUE(world.RunUntil([&] { return replies.count() == 1; }));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.Outcome(job), "succeeded");
  EXPECT_EQ((*client)->node(), target);
}

// A discard may mean zeros here and nothing there.
TEST(Mirror, CopiesAgainWhatIsDiscarded) {
  NodeWorld world;
  auto source = world.FullDisk("disk", 64 * kKiB);
  auto target = world.Disk("copy", 64 * kKiB);
  const MirrorOptions options = {
      .source = source, .target = target, .copy_mode = CopyMode::kWriteBlocking, .granularity = 512};
  JobRef job = *world.Await(CreateMirror(world.core(), {.id = "m"}, options));
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  EXPECT_EQ(world.Await((*client)->Change({.kind = NodeWrite::Kind::kDiscard, .offset = 0, .length = 64 * kKiB})), 0);
  ASSERT_TRUE(StartJob(*job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  world.Switch(job);
  EXPECT_EQ(target->Snapshot(), source->Snapshot());
}

TEST(Mirror, SwitchesAllOfAGroupOrNone) {
  for (const bool fails : {false, true}) {
    NodeWorld world;
    std::vector<std::shared_ptr<MemoryNode>> sources, targets;
    std::vector<std::shared_ptr<Node>> tops;
    std::vector<JobRef> jobs;
    JobTxnBuilder group(world.core());
    for (int i = 0; i < 2; ++i) {
      sources.push_back(world.FullDisk("disk" + std::to_string(i), 64 * kKiB, &world.io()));
      targets.push_back(world.Disk("copy" + std::to_string(i), 64 * kKiB));
      world.StartWriters(sources[i], 3);
      std::vector<FaultRule> rules;
      if (fails && i == 1) rules.push_back({.operation = FaultRule::Operation::kFlush});
      tops.push_back(Faulty(world, targets[i], rules));
      jobs.push_back(world.Mirror({.id = "m" + std::to_string(i), .group = &group},
                                  {.source = sources[i], .target = tops[i], .granularity = 4096}));
    }
    ASSERT_TRUE(group.Seal().ok());
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
    for (const JobRef& job : jobs) ASSERT_TRUE(world.Complete(job).ok());
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(world.Outcome(jobs[0]) == "succeeded", !fails);
    world.LetWritersWork();
    world.StopWriters();
    for (size_t w = 0; w < 6; ++w) {
      const size_t i = w / 3;
      EXPECT_EQ(world.writers()[w]->edge().node(), fails ? std::shared_ptr<Node>(sources[i]) : tops[i]);
      EXPECT_EQ(world.writers()[w]->Check((fails ? sources : targets)[i]->Snapshot()), "");
    }
    EXPECT_THAT(UsersOf(fails ? *tops[0] : *sources[0]), IsEmpty());
    world.EndWriters();
  }
}

// --- Errors ---

class MirrorWithErrors : public ::testing::TestWithParam<std::tuple<bool, CopyMode, OnError, int>> {};

TEST_P(MirrorWithErrors, DoesWhatItsPolicySays) {
  const auto [at_source, mode, policy, error] = GetParam();
  NodeWorld world;
  auto disk = world.FullDisk("disk", 64 * kKiB, &world.io());
  auto copy = world.Disk("copy", 64 * kKiB);
  auto source = Faulty(world, disk, {});
  auto target = Faulty(world, copy, {});
  const auto operation = at_source ? FaultRule::Operation::kRead : FaultRule::Operation::kWrite;
  const ErrorAction action = DecideAction(policy, error);
  // An ignored error is met again and again.
  (at_source ? source : target)
      ->SetRules({{.operation = operation, .error = error, .sector = 20, .once = action == ErrorAction::kIgnore}});
  JobRef job = world.Mirror({.id = "m"}, {.source = source,
                                          .target = target,
                                          .copy_mode = mode,
                                          .granularity = 4096,
                                          .on_source_error = policy,
                                          .on_target_error = policy});
  if (action == ErrorAction::kReport) {
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_THAT(world.Outcome(job), HasSubstr(at_source ? "cannot read node" : "cannot write node"));
    return;
  }
  if (action == ErrorAction::kStop) {
    ASSERT_TRUE(world.RunUntil([&] { return world.Status(job) == "paused"; }));
    EXPECT_THAT(world.Query(job).pause_reasons, ElementsAre("error"));
    source->SetRules({});
    target->SetRules({});
    if (at_source) world.StartWriters(source, 2);
    ASSERT_TRUE(world.Resume(job).ok());
  }
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  world.Switch(job);
  EXPECT_TRUE(!world.writers().empty() || disk->Snapshot() == copy->Snapshot());
  world.StopWriters();
  for (const auto& writer : world.writers()) EXPECT_EQ(writer->Check(copy->Snapshot()), "");
  world.EndWriters();
}

INSTANTIATE_TEST_SUITE_P(
    , MirrorWithErrors,
    ::testing::Combine(::testing::Bool(), ::testing::Values(CopyMode::kBackground, CopyMode::kWriteBlocking),
                       ::testing::Values(OnError::kReport, OnError::kIgnore, OnError::kStop, OnError::kEnospc),
                       ::testing::Values(EIO, ENOSPC)));

// In write-blocking mode, too: the job meets the error later, and stops for it.
TEST(Mirror, SparesClientsTheErrorsOfItsTarget) {
  NodeWorld world;
  auto source = world.FullDisk("disk", 64 * kKiB, &world.io());
  auto copy = world.Disk("copy", 64 * kKiB);
  auto target = Faulty(world, copy, {});
  JobRef job = world.Mirror({.id = "m"}, {.source = source,
                                          .target = target,
                                          .copy_mode = CopyMode::kWriteBlocking,
                                          .granularity = 512,
                                          .on_target_error = OnError::kStop});
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  target->SetRules({{.operation = FaultRule::Operation::kAny}});
  world.StartWriters(source, 3);
  ASSERT_TRUE(world.RunUntil([&] { return world.Status(job) == "standby"; }));
  world.LetWritersWork();
  target->SetRules({});
  ASSERT_TRUE(world.Resume(job).ok());
  world.Switch(job);
  world.LetWritersWork();
  world.StopWriters();
  for (const auto& writer : world.writers()) EXPECT_EQ(writer->Check(copy->Snapshot()), "");
  world.EndWriters();
}

// It has been told to end, and the last but one of its requests has come back, when the last one fails: that stops it
// as any other error does.
TEST(Mirror, StopsForAnErrorThatComesAtItsVeryEnd) {
  NodeWorld world;
  auto source = world.FullDisk("disk", 64 * kKiB);
  auto copy = world.Disk("copy", 64 * kKiB);
  auto target = Faulty(world, copy, {});
  JobRef job = world.Mirror(
      {.id = "m"}, {.source = source, .target = target, .granularity = 4096, .on_target_error = OnError::kStop});
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  using std::chrono::milliseconds;
  target->SetRules({{.error = 0, .sector = 0, .delay = milliseconds(20)}, {.sector = 16, .delay = milliseconds(60)}});
  ASSERT_TRUE(world.Pause(job).ok());
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  const std::vector<std::byte> data(512, std::byte{7});
  for (const uint64_t sector : {0, 16}) EXPECT_EQ(world.Await((*client)->Write(sector * 512, data)), 0);
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntil([&] { return target->resource().in_flight() == 2; }));
  ASSERT_TRUE(world.Complete(job).ok());
  ASSERT_TRUE(world.RunUntil([&] { return world.Status(job) == "standby" || world.Status(job) == "null"; }));
  ASSERT_EQ(world.Status(job), "standby") << world.Outcome(job);
  target->SetRules({});
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.Outcome(job), "succeeded");
  EXPECT_EQ(copy->Snapshot(), source->Snapshot());
}

}  // namespace
}  // namespace jobcore::block
