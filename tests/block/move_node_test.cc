// SPDX-License-Identifier: Apache-2.0
//
// MoveNode: a node, those that it stands upon, and their jobs go to another context, while clients write all the time.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "block/test_nodes.h"
#include "job-driver/block/graph.h"
#include "job-driver/block/mirror.h"
#include "job-driver/block/raw_node.h"
#include "support/event.h"

namespace jobcore::block {
namespace {

using namespace jobcore_test;
using namespace std::chrono_literals;
using ::testing::ElementsAre;

std::shared_ptr<Node> Raw(TestWorld& world, std::string name, std::shared_ptr<Node> file) {
  absl::StatusOr<std::shared_ptr<Node>> raw =
      MakeRawNode(world.core(), {.node = {.name = std::move(name)}, .file = std::move(file)});
  EXPECT_TRUE(raw.ok()) << raw.status();
  return *std::move(raw);
}

absl::Status Move(TestWorld& world, std::shared_ptr<Node> node, AioContext& to, TimePoint deadline = kNoDeadline) {
  return Await(world, MoveNode(std::move(node), to.shared_from_this(), deadline));
}

// A job that writes to its node all the time, and looks where it does.
struct Seen {
  std::atomic<bool> stop{false};
  std::atomic<int> elsewhere{0};  // steps outside of the context of the job, or of the node
  std::atomic<int> steps{0};
  std::atomic<AioContext*> where{nullptr};
};

Script Writer(std::shared_ptr<Node> node, Seen& seen) {
  Script script;
  script.run = [node, &seen](JobContext& job) -> Co<absl::Status> {
    while (!seen.stop) {
      if (absl::Status s = co_await job.PausePoint(); !s.ok()) co_return s;
      absl::StatusOr<Admission> in = job.Admit(node->resource());
      if (!in.ok()) co_return in.status();
      const int error = co_await node->Change(*in, {.kind = NodeWrite::Kind::kZeroes, .offset = 0, .length = 16});
      in->End();
      if (error != 0) co_return absl::ErrnoToStatus(error, "write");
      if (!job.context().IsHome()) ++seen.elsewhere;
      seen.where = AioContext::Current();
      ++seen.steps;
      if (absl::Status s = co_await job.Sleep(Nanoseconds(0)); !s.ok()) co_return s;
    }
    co_return absl::OkStatus();
  };
  return script;
}

// A client that writes from wherever it lives.
struct Client {
  std::atomic<bool> stop{false};
  std::atomic<int> running{0};
  std::atomic<int> failed{0};
  std::atomic<int> writes{0};
};

Co<void> KeepWriting(NodeEdge& edge, AioContext& home, Client& client) {
  ++client.running;
  while (!client.stop) {
    const NodeWrite write{.kind = NodeWrite::Kind::kZeroes, .offset = 512, .length = 16};
    const int error = co_await edge.Change(write);
    if (error != 0 || !home.IsHome()) ++client.failed;
    ++client.writes;
    const auto never = [] { return false; };
    if (absl::Status s = co_await AioWaitWhile(home, never); !s.ok()) ++client.failed;
    support::Event turn;
    home.Post("next", [&turn] { turn.Set(); });
    co_await turn;
  }
  --client.running;
}

TEST(MoveNode, TowerGoesToTheNewContextAndWhatStandsUponItStays) {
  TestWorld world({.io_threads = 1});
  const auto file = LoggingNode::Make(world, "file");
  const auto middle = Raw(world, "middle", file);
  const auto top = Raw(world, "top", middle);
  EXPECT_TRUE(Move(world, middle, world.io()).ok());
  EXPECT_EQ(file->context().get(), &world.io());
  EXPECT_EQ(middle->context().get(), &world.io());
  EXPECT_EQ(top->context().get(), &world.main());
  EXPECT_TRUE(Move(world, top, world.main()).ok());
  EXPECT_EQ(file->context().get(), &world.main());
}

TEST(MoveNode, JobRunsInTheNewContextAfterwardsWhileAClientWrites) {
  TestWorld world({.io_threads = 2});
  const auto file = LoggingNode::Make(world, "file");
  const auto raw = Raw(world, "raw", file);
  const auto edge = Edge(raw, {.user = "client", .writes = true});
  Client client;
  Seen seen;
  const JobRef job =
      world.Start({.id = "j", .context = &world.io(0), .resources = {&raw->resource()}}, Writer(raw, seen));
  AioContext& home = world.io(1);
  home.Post("client", [&] { Spawn("client", KeepWriting(*edge, home, client)); });
  ASSERT_TRUE(world.RunUntil([&] { return seen.steps > 10 && client.writes > 10; }));
  for (int round = 0; round < 20; ++round) {
    AioContext& to = world.io((round + 1) % 2);
    const absl::Status moved = Move(world, raw, to);
    ASSERT_TRUE(moved.ok()) << moved;
    EXPECT_EQ(raw->context().get(), &to);
    EXPECT_EQ(file->context().get(), &to);
    EXPECT_EQ(&job->context(), &to);
    const int steps = seen.steps, writes = client.writes;
    ASSERT_TRUE(world.RunUntil([&] { return seen.steps > steps + 2 && client.writes > writes + 2; }));
    EXPECT_EQ(seen.where, &to);
  }
  seen.stop = client.stop = true;
  ASSERT_TRUE(world.RunUntilNull(job));
  ASSERT_TRUE(world.RunUntil([&] { return client.running == 0; }));
  EXPECT_EQ(seen.elsewhere, 0);
  EXPECT_EQ(client.failed, 0);
  EXPECT_EQ(world.Outcome(job), "succeeded");
  world.Settle();
}

TEST(MoveNode, JobThatHasNotBegunAndOneThatIsPausedGoWithIt) {
  TestWorld world({.io_threads = 2});
  const auto node = LoggingNode::Make(world, "disk");
  Seen seen;
  const JobSpec spec{.id = "new", .context = &world.io(0), .resources = {&node->resource()}};
  const JobRef created = world.Create(spec, Writer(node, seen));
  const JobRef paused =
      world.Start({.id = "paused", .context = &world.io(0), .resources = {&node->resource()}}, Writer(node, seen));
  ASSERT_TRUE(world.Pause(paused).ok());
  ASSERT_TRUE(world.RunUntilStatus(paused, "paused"));
  ASSERT_TRUE(Move(world, node, world.io(1)).ok());
  EXPECT_EQ(&created->context(), &world.io(1));
  EXPECT_EQ(&paused->context(), &world.io(1));
  seen.stop = true;
  ASSERT_TRUE(StartJob(*created).ok());
  ASSERT_TRUE(world.Resume(paused).ok());
  ASSERT_TRUE(world.RunUntilNull(created) && world.RunUntilNull(paused));
}

TEST(MoveNode, IsRefusedIfTheNewContextIsClosedAndNothingHasChanged) {
  TestWorld world({.io_threads = 1});
  IOThread gone("gone");
  ASSERT_TRUE(gone.Stop().ok());
  const auto file = LoggingNode::Make(world, "file");
  const auto raw = Raw(world, "raw", file);
  Seen seen;
  const JobRef job =
      world.Start({.id = "j", .context = &world.io(), .resources = {&raw->resource()}}, Writer(raw, seen));
  EXPECT_THAT(Move(world, raw, gone.context()),
              Refused(absl::StatusCode::kFailedPrecondition, "cannot move to 'gone', which has been stopped"));
  EXPECT_EQ(raw->context().get(), &world.main());
  EXPECT_EQ(file->context().get(), &world.main());
  EXPECT_EQ(&job->context(), &world.io());
  const int steps = seen.steps;
  ASSERT_TRUE(world.RunUntil([&] { return seen.steps > steps + 2; }));  // and nobody is drained any more
  seen.stop = true;
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(MoveNode, IsRefusedAtItsDeadlineAndNothingHasChanged) {
  TestWorld world({.io_threads = 1});
  const auto file = LoggingNode::Make(world, "file");
  const auto raw = Raw(world, "raw", file);
  Gate& gate = world.NewGate();
  file->before = [&gate] { return gate.Pass(); };
  const auto edge = Edge(raw, {.user = "client"});
  Started<int> flush(edge->Flush());
  EXPECT_THAT(Move(world, raw, world.io(), world.main().clock().Now() + 1ms),
              Refused(absl::StatusCode::kDeadlineExceeded, "'raw' has 1 request in flight"));
  EXPECT_EQ(raw->context().get(), &world.main());
  EXPECT_EQ(file->context().get(), &world.main());
  gate.Open();
  ASSERT_TRUE(world.RunUntil([&] { return flush.done(); }));
  file->before = nullptr;
  EXPECT_EQ(Await(world, edge->Flush()), 0);
}

TEST(MoveNode, IsRefusedWhileSomebodyElseMovesAPartOfTheTower) {
  TestWorld world({.io_threads = 1});
  const auto file = LoggingNode::Make(world, "file");
  const auto raw = Raw(world, "raw", file);
  Gate& gate = world.NewGate();
  file->before = [&gate] { return gate.Pass(); };
  const auto edge = Edge(raw, {.user = "client"});
  Started<int> flush(edge->Flush());
  Started<absl::Status> move(MoveNode(file, world.io().shared_from_this()));
  world.Settle();
  ASSERT_FALSE(move.done());
  for (int i = 0; i < 2; ++i) {  // and that leaves no trace
    EXPECT_THAT(Move(world, raw, world.main()),
                Refused(absl::StatusCode::kFailedPrecondition, "Node 'file' is just being moved; try again when"));
  }
  gate.Open();
  ASSERT_TRUE(world.RunUntil([&] { return move.done() && flush.done(); }));
  EXPECT_TRUE((*move).ok()) << *move;
  EXPECT_EQ(file->context().get(), &world.io());
  EXPECT_EQ(raw->context().get(), &world.main());
  file->before = nullptr;
  EXPECT_TRUE(Move(world, raw, world.main()).ok());
  EXPECT_EQ(file->context().get(), &world.main());
}

// Whoever has a section of his own may make a job while the move waits for another one, which is in a hook.
TEST(MoveNode, JobThatIsMadeMeanwhileLivesInTheNewContext) {
  TestWorld world({.io_threads = 2});
  const auto node = LoggingNode::Make(world, "disk");
  const auto copy = LoggingNode::Make(world, "copy");
  ASSERT_TRUE(Move(world, node, world.io(0)).ok());
  Gate& gate = world.NewGate();
  Seen seen;
  Script script = Writer(node, seen);
  script.run = [run = script.run](JobContext& job) {
    job.Ready();
    return run(job);
  };
  script.complete = [&gate](JobContext&) -> Co<absl::Status> {
    co_await gate.Pass();
    co_return absl::OkStatus();
  };
  const JobRef busy = world.Start({.id = "busy", .context = &world.io(0), .resources = {&node->resource()}}, script);
  ASSERT_TRUE(world.RunUntilStatus(busy, "ready"));
  ASSERT_TRUE(world.Pause(busy).ok());
  ASSERT_TRUE(world.RunUntilStatus(busy, "standby"));
  ASSERT_TRUE(world.Complete(busy).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }));
  Started<absl::Status> move(MoveNode(node, world.io(1).shared_from_this()));
  world.Settle();
  ASSERT_FALSE(move.done());
  JobRef job;
  {
    const DrainedSection section = Drained({node.get()});
    job = *CreateMirror(world.core(), {.id = "m"}, {.source = node, .target = copy}, section);
  }
  gate.Open();
  ASSERT_TRUE(world.RunUntil([&] { return move.done(); }));
  EXPECT_TRUE((*move).ok()) << *move;
  EXPECT_EQ(&busy->context(), &world.io(1));
  EXPECT_EQ(&job->context(), &world.io(1));
  EXPECT_EQ(node->context().get(), &world.io(1));
  seen.stop = true;
  ASSERT_TRUE(world.Resume(busy).ok());
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(busy) && world.RunUntilNull(job));
}

TEST(MoveNode, TowerThatIsRebuiltMeanwhileIsMovedAsItIsThen) {
  TestWorld world({.io_threads = 1});
  const auto from = LoggingNode::Make(world, "from");
  const auto to = LoggingNode::Make(world, "to");
  const auto raw = Raw(world, "raw", from);
  const auto edge = Edge(raw, {.user = "client"});
  Gate& gate = world.NewGate();
  Started<int> inside(Admitted(*raw, [&](const Admission&) {
    return [](Gate& g) -> Co<int> {
      co_await g.Pass();
      co_return 0;
    }(gate);
  }));
  Started<absl::Status> move(MoveNode(raw, world.io().shared_from_this()));
  world.Settle();
  ASSERT_FALSE(move.done());
  {
    const DrainedSection section = Drained({from.get(), to.get()});
    SwitchUsers(*from, to);
  }
  gate.Open();
  ASSERT_TRUE(world.RunUntil([&] { return move.done() && inside.done(); }));
  EXPECT_TRUE((*move).ok()) << *move;
  EXPECT_EQ(raw->context().get(), &world.io());
  EXPECT_EQ(to->context().get(), &world.io());
  EXPECT_EQ(from->context().get(), &world.main());
}

}  // namespace
}  // namespace jobcore::block
