// SPDX-License-Identifier: Apache-2.0
//
// Jobs that share nodes, contexts and clients: which of them exclude each other, that each gets its turn, and what is
// left of one that goes while a client copies for it.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "block/node_world.h"
#include "block/test_nodes.h"
#include "gmock/gmock.h"
#include "job-common/job_txn.h"
#include "job-driver/block/raw_node.h"

namespace jobcore::block {
namespace {

using jobcore_test::Refused;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kSize = 64 * kKiB;
constexpr auto kBusy = absl::StatusCode::kFailedPrecondition;

class SharedNodes : public ::testing::Test {
 protected:
  std::shared_ptr<MemoryNode> Disk(const char* name) { return world.FullDisk(name, kSize); }
  std::shared_ptr<Node> Raw(const char* name, std::shared_ptr<Node> file) {
    absl::StatusOr<std::shared_ptr<Node>> raw =
        MakeRawNode(world.core(), {.node = {.name = name}, .file = std::move(file)});
    EXPECT_TRUE(raw.ok()) << raw.status();
    return *std::move(raw);
  }
  absl::StatusOr<JobRef> NewMirror(const char* id, std::shared_ptr<Node> source, std::shared_ptr<Node> target) {
    return world.Await(
        CreateMirror(world.core(), {.id = id}, {.source = std::move(source), .target = std::move(target)}));
  }
  absl::StatusOr<JobRef> NewBackup(const char* id, std::shared_ptr<Node> source, std::shared_ptr<Node> target) {
    return world.Await(
        CreateBackup(world.core(), {.id = id}, {.source = std::move(source), .target = std::move(target)}));
  }

  NodeWorld world;
};

// --- Sources and targets ---

TEST_F(SharedNodes, NobodyCopiesWhatAnotherJobMakesACopy) {
  auto a = Disk("a"), b = Disk("b"), c = Disk("c");
  for (const bool mirror : {false, true}) {
    absl::StatusOr<JobRef> first = mirror ? NewMirror("first", a, b) : NewBackup("first", a, b);
    ASSERT_TRUE(first.ok()) << first.status();
    const char* const why =
        "Node 'b' is being made a copy by job 'first': job 'second' can copy it once that has ended";
    EXPECT_THAT(NewMirror("second", b, c).status(), Refused(kBusy, why));
    EXPECT_THAT(NewBackup("second", b, c).status(), Refused(kBusy, why));
    ASSERT_TRUE(AbandonJob(**first).ok());
    first = absl::CancelledError();
    world.Settle();
    absl::StatusOr<JobRef> second = NewBackup("second", b, c);  // and so it can
    ASSERT_TRUE(second.ok()) << second.status();
    ASSERT_TRUE(AbandonJob(**second).ok());
    second = absl::CancelledError();
    world.Settle();
  }
}

TEST_F(SharedNodes, NobodyMakesACopyOfWhatAnotherJobCopies) {
  auto a = Disk("a"), b = Disk("b"), c = Disk("c");
  absl::StatusOr<JobRef> first = NewMirror("first", a, b);
  ASSERT_TRUE(first.ok()) << first.status();
  const char* const why = "Node 'a' is being copied by job 'first': job 'second' can write to it once that has ended";
  EXPECT_THAT(NewMirror("second", c, a).status(), Refused(kBusy, why));
  EXPECT_THAT(NewBackup("second", c, a).status(), Refused(kBusy, why));
  EXPECT_THAT(UsersOf(*c), IsEmpty());
}

TEST_F(SharedNodes, ManyCopyOneSource) {
  auto disk = Disk("disk");
  std::vector<JobRef> jobs;
  for (const char* id : {"m1", "m2"}) jobs.push_back(*NewMirror(id, disk, Disk(id)));
  for (const char* id : {"b1", "b2"}) jobs.push_back(*NewBackup(id, disk, Disk(id)));
  EXPECT_THAT(UsersOf(*disk), ElementsAre("job 'm1'", "job 'm2'", "job 'b1'", "job 'b2'"));
  for (const JobRef& job : jobs) ASSERT_TRUE(AbandonJob(*job).ok());
}

TEST_F(SharedNodes, WhatATargetStandsUponIsATargetToo) {
  auto disk = Disk("disk"), file = Disk("file"), other = Disk("other");
  const auto raw = Raw("top", Raw("raw", file));
  {
    absl::StatusOr<JobRef> writes = NewMirror("writes", disk, raw);
    ASSERT_TRUE(writes.ok()) << writes.status();
    EXPECT_THAT(NewMirror("reads", file, other).status(),
                Refused(kBusy, "Node 'file' is being made a copy by job 'writes': job 'reads' can"));
    ASSERT_TRUE(AbandonJob(**writes).ok());
  }
  world.Settle();
  absl::StatusOr<JobRef> reads = NewMirror("reads", file, other);
  ASSERT_TRUE(reads.ok()) << reads.status();
  EXPECT_THAT(NewMirror("writes", disk, raw).status(),
              Refused(kBusy, "Node 'file' is being copied by job 'reads': job 'writes' can"));
}

TEST_F(SharedNodes, NobodyMakesACopyOfWhatASourceStandsUpon) {
  auto disk = Disk("disk"), file = Disk("file"), other = Disk("other");
  absl::StatusOr<JobRef> reads = NewBackup("reads", Raw("raw", file), other);
  ASSERT_TRUE(reads.ok()) << reads.status();
  EXPECT_THAT(NewBackup("writes", disk, file).status(), Refused(kBusy, "Node 'file' is in use by node 'raw'"));
}

TEST_F(SharedNodes, NoJobCopiesAnImageToItself) {
  auto file = Disk("file");
  const auto raw = Raw("raw", file);
  const char* const why = "node 'raw' stands upon node 'file'";
  EXPECT_THAT(NewMirror("m", file, raw).status(), Refused(absl::StatusCode::kInvalidArgument, why));
  EXPECT_THAT(NewBackup("b", raw, file).status(), Refused(absl::StatusCode::kInvalidArgument, why));
}

// Their group drains both at once: what one of them reads through the raw node gets through to the file.
TEST_F(SharedNodes, MirrorsOfANodeAndOfWhatItStandsUponEndTogether) {
  auto file = Disk("file");
  const auto raw = Raw("raw", file);
  auto raw_copy = Disk("raw-copy"), file_copy = Disk("file-copy");
  auto client = NodeEdge::Attach(raw, {.user = "client", .writes = true});
  JobTxnBuilder group(world.core());
  const std::vector<JobRef> jobs = {
      world.Mirror({.id = "raw", .group = &group}, {.source = raw, .target = raw_copy}),
      world.Mirror({.id = "file", .group = &group}, {.source = file, .target = file_copy})};
  ASSERT_TRUE(group.Seal().ok());
  for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  for (const JobRef& job : jobs) ASSERT_TRUE(world.Pause(job).ok());
  const std::vector<std::byte> data(512, std::byte{7});
  EXPECT_EQ(world.Await((*client)->Write(0, data)), 0);  // is copied at the end
  for (const JobRef& job : jobs) {
    ASSERT_TRUE(world.Complete(job).ok());
    ASSERT_TRUE(world.Resume(job).ok());
  }
  for (const JobRef& job : jobs) {
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(world.Outcome(job), "succeeded");
  }
  EXPECT_EQ((*client)->node(), raw_copy);
  EXPECT_EQ(raw_copy->Snapshot(), file->Snapshot());
  EXPECT_EQ(file_copy->Snapshot(), file->Snapshot());
}

// --- Turns ---

// Answers at once, and says in `order` what it was asked to write.
class InstantNode final : public Node {
 public:
  InstantNode(JobCore& core, std::string name, uint64_t size, std::string* order)
      : Node(core, {.name = std::move(name)}, size), order_(order) {}
  const char* driver() const override { return "instant"; }

 protected:
  Co<int> DoRead(const Admission&, uint64_t, std::span<std::byte>) override { return {}; }
  Co<int> DoWrite(const Admission&, NodeWrite) override {
    if (order_ != nullptr) *order_ += name();
    return {};
  }
  Co<int> DoFlush(const Admission&) override { return {}; }

 private:
  std::string* const order_;
};

TEST_F(SharedNodes, JobsOnNodesThatAnswerAtOnceTakeTurnsInTheirContext) {
  constexpr uint64_t kPieces = 200;
  std::string order;
  const auto node = [&](const char* name, bool notes) {
    return std::make_shared<InstantNode>(world.core(), name, kPieces << 20, notes ? &order : nullptr);
  };
  const JobRef jobs[] = {world.Mirror({.id = "m"}, {.source = node("s1", false), .target = node("m", true)}),
                         world.Backup({.id = "b"}, {.source = node("s2", false), .target = node("b", true)})};
  ASSERT_TRUE(world.RunUntilNull(jobs[1]));
  ASSERT_TRUE(world.RunUntilStatus(jobs[0], "ready"));
  ASSERT_EQ(order.size(), 2 * kPieces);
  size_t longest = 0, turn = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    turn = i != 0 && order[i] == order[i - 1] ? turn + 1 : 1;
    longest = std::max(longest, turn);
  }
  EXPECT_LE(longest, 32u) << order;
}

// --- A job goes while a client copies ---

class GoneJob : public SharedNodes {
 protected:
  // The job, a backup, and a client that copies for it what it is about to overwrite, up to the gate.
  void Begin() { Begin(NewBackup("gone", source, target)); }
  // The job, and a client that writes to its target, too.
  void BeginWriteBlocking() {
    Begin(world.Await(
        CreateMirror(world.core(), {.id = "gone"},
                     {.source = source, .target = target, .copy_mode = MirrorOptions::CopyMode::kWriteBlocking})));
  }
  void Begin(absl::StatusOr<JobRef> made) {
    ASSERT_TRUE(made.ok()) << made.status();
    job = *std::move(made);
    target->before = [this] { return gate.Pass(); };
    client = *NodeEdge::Attach(source, {.user = "client", .writes = true});
    write.emplace(client->Write(0, data));
    world.Settle();
    ASSERT_EQ(gate.reached(), 1);
  }
  void EndWrite() {
    gate.Open();
    ASSERT_TRUE(world.RunUntil([&] { return write->done(); }));
    EXPECT_EQ(**write, 0);
    target->before = nullptr;
  }

  const std::vector<std::byte> data = std::vector<std::byte>(512, std::byte{7});
  std::shared_ptr<MemoryNode> source = Disk("disk");
  std::shared_ptr<jobcore_test::LoggingNode> target = jobcore_test::LoggingNode::Make(world, "copy", kSize);
  Gate& gate = world.NewGate();
  JobRef job;
  std::unique_ptr<NodeEdge> client;
  std::optional<jobcore_test::Started<int>> write;
};

class GoneBackup : public GoneJob {};
class GoneMirror : public GoneJob {};

TEST_F(GoneBackup, ThatIsAbandonedLeavesItsTargetToNobodyBeforeTheClientHasCopied) {
  Begin();
  ASSERT_TRUE(AbandonJob(*job).ok());
  job = JobRef();
  world.Settle();
  EXPECT_THAT(UsersOf(*source), ElementsAre("client"));
  EXPECT_THAT(NewBackup("next", Disk("other"), target).status(),
              Refused(kBusy, "Node 'copy' is in use by job 'gone', meanwhile job 'next' cannot write to it"));
  EndWrite();
  EXPECT_THAT(UsersOf(*target), IsEmpty());
  const absl::StatusOr<JobRef> next = NewBackup("next", Disk("another"), target);
  EXPECT_TRUE(next.ok()) << next.status();
  const size_t written = target->log().size();
  EXPECT_EQ(world.Await(client->Write(4096, data)), 0);
  EXPECT_EQ(target->log().size(), written);
}

TEST_F(GoneMirror, ThatIsAbandonedLeavesItsTargetToNobodyBeforeTheClientHasWrittenToBoth) {
  BeginWriteBlocking();
  ASSERT_TRUE(AbandonJob(*job).ok());
  job = JobRef();
  world.Settle();
  EXPECT_THAT(UsersOf(*source), ElementsAre("client"));
  EXPECT_THAT(NewMirror("next", Disk("other"), target).status(),
              Refused(kBusy, "Node 'copy' is in use by job 'gone', meanwhile job 'next' cannot write to it"));
  EndWrite();
  EXPECT_THAT(UsersOf(*target), IsEmpty());
}

TEST_F(GoneBackup, ThatIsCancelledBeforeItWasStartedEndsWhenTheClientHasCopied) {
  Begin();
  ASSERT_TRUE(world.Cancel(job).ok());
  world.Settle();
  EXPECT_FALSE(NewBackup("next", Disk("other"), target).ok());
  EndWrite();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(UsersOf(*target), IsEmpty());
}

TEST_F(GoneBackup, ThatIsCancelledWhileItRunsEndsWhenTheClientHasCopied) {
  Begin();
  ASSERT_TRUE(StartJob(*job).ok());
  ASSERT_TRUE(world.Cancel(job).ok());
  world.Settle();
  EXPECT_NE(world.Status(job), "null");
  EndWrite();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(UsersOf(*target), IsEmpty());
}

}  // namespace
}  // namespace jobcore::block
