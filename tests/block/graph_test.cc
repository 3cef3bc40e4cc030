// SPDX-License-Identifier: Apache-2.0
//
// Switching users from one node to another, and nodes by their names.

#include "job-driver/block/graph.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "block/test_nodes.h"
#include "job-driver/block/raw_node.h"

namespace jobcore::block {
namespace {

using namespace jobcore_test;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::shared_ptr<Node> Raw(TestWorld& world, std::string name, std::shared_ptr<Node> file) {
  absl::StatusOr<std::shared_ptr<Node>> raw =
      MakeRawNode(world.core(), {.node = {.name = std::move(name)}, .file = std::move(file)});
  EXPECT_TRUE(raw.ok()) << raw.status();
  return *std::move(raw);
}

// --- SwitchUsers ---

TEST(SwitchUsers, RequestThatWaitsDuringTheSectionLandsOnTheNewNode) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from");
  const auto to = LoggingNode::Make(world, "to");
  const auto before = Edge(from, {.user = "before", .writes = true});
  DrainedSection section = Drained({from.get(), to.get()});
  const auto during = Edge(from, {.user = "during", .writes = true});
  const std::string data(512, 'x');
  Started<int> a(before->Write(0, Bytes(data)));
  Started<int> b(during->Write(512, Bytes(data)));
  world.Settle();
  EXPECT_EQ(Parked(world, *from), 2u);
  SwitchUsers(*from, to);
  EXPECT_EQ(before->node(), to);
  EXPECT_EQ(during->node(), to);
  Started<int> c(before->Write(1024, Bytes(data)));
  section.End();
  ASSERT_TRUE(world.RunUntil([&] { return a.done() && b.done() && c.done(); }));
  EXPECT_THAT(from->log(), IsEmpty());
  EXPECT_THAT(to->log(), testing::UnorderedElementsAre("write 0+512", "write 512+512", "write 1024+512"));
  EXPECT_THAT(UsersOf(*from), IsEmpty());
  EXPECT_THAT(UsersOf(*to), ElementsAre("before", "during"));
}

TEST(SwitchUsers, RequestOfARawNodeThatStandsOnTheSwitchedOneLandsOnTheNewNode) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from");
  const auto to = LoggingNode::Make(world, "to");
  const auto raw = Raw(world, "raw", from);
  const auto edge = Edge(raw, {.user = "client", .writes = true});
  DrainedSection section = Drained({from.get(), to.get()});
  const std::string data(512, 'x');
  Started<int> write(edge->Write(0, Bytes(data)));
  world.Settle();
  EXPECT_EQ(raw->resource().in_flight(), 1u);  // inside of the raw node, and waits for what is below
  EXPECT_EQ(Parked(world, *from), 1u);
  SwitchUsers(*from, to);
  section.End();
  ASSERT_TRUE(world.RunUntil([&] { return write.done(); }));
  EXPECT_EQ(*write, 0);
  EXPECT_THAT(from->log(), IsEmpty());
  EXPECT_THAT(to->log(), ElementsAre("write 0+512"));
}

TEST(SwitchUsers, NewNodeMayStandUponTheOldOneAndDoesNotTurnRound) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from");
  const auto middle = Raw(world, "middle", from);
  const auto top = Raw(world, "top", middle);
  const auto client = Edge(from, {.user = "client"});
  EXPECT_TRUE(CheckSwitch(*from, *top).ok());
  {
    const DrainedSection section = Drained({from.get(), middle.get(), top.get()});
    SwitchUsers(*from, top);  // two nodes higher: the edge of `middle` must not lead to `top`
  }
  EXPECT_EQ(client->node(), top);
  EXPECT_THAT(UsersOf(*from), ElementsAre("node 'middle'"));
  EXPECT_EQ(Await(world, client->Flush()), 0);
  EXPECT_THAT(from->log(), ElementsAre("flush"));
}

TEST(SwitchUsers, EdgesThatStayStay) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from");
  const auto to = LoggingNode::Make(world, "to");
  const auto job = Edge(from, {.user = "job", .job_use = EdgeOptions::JobUse::kSource});
  const auto client = Edge(from, {.user = "client"});
  const DrainedSection section = Drained({from.get(), to.get()});
  SwitchUsers(*from, to);
  EXPECT_EQ(job->node(), from);
  EXPECT_EQ(client->node(), to);
}

TEST(SwitchUsers, OldNodeGoesWithItsLastUserEvenIfRequestsStillWaitThere) {
  TestWorld world;
  auto from = LoggingNode::Make(world, "from");
  const std::weak_ptr<Node> alive = from;
  const auto to = LoggingNode::Make(world, "to");
  const auto client = Edge(from, {.user = "client"});
  DrainedSection section = Drained({from.get(), to.get()});
  Started<int> flush(client->Flush());
  SwitchUsers(*from, to);
  section.End();
  from.reset();
  ASSERT_TRUE(world.RunUntil([&] { return flush.done(); }));
  EXPECT_TRUE(alive.expired());
  EXPECT_THAT(to->log(), ElementsAre("flush"));
}

TEST(SwitchUsersDeathTest, NodesThatAreNotDrainedAbort) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from");
  const auto to = LoggingNode::Make(world, "to");
  EXPECT_DEATH(SwitchUsers(*from, to), "users of node 'from' switched over while");
  {
    const DrainedSection section = Drained({from.get()});
    EXPECT_DEATH(SwitchUsers(*from, to), "switched over while");
  }
  {
    const DrainedSection section = Drained({to.get()});
    EXPECT_DEATH(SwitchUsers(*from, to), "switched over while");
  }
  const DrainedSection section = Drained({from.get(), to.get()});
  EXPECT_DEATH(SwitchUsers(*from, from), "to itself");
}

// --- CheckSwitch ---

TEST(CheckSwitch, RefusesANodeOfAnotherSizeAndTheNodeItself) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from", 1024);
  const auto to = LoggingNode::Make(world, "to", 512);
  EXPECT_THAT(CheckSwitch(*from, *to), Refused(absl::StatusCode::kFailedPrecondition, "'to' of 512 bytes cannot"));
  EXPECT_THAT(CheckSwitch(*from, *from), Refused(absl::StatusCode::kFailedPrecondition, "its own place"));
}

TEST(CheckSwitch, RefusesAReadOnlyNodeOnlyIfAWriterWouldCome) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from", 512);
  const auto to =
      std::make_shared<LoggingNode>(world.core(), Node::Options{.name = "to", .read_only = true}, uint64_t{512});
  const auto reader = Edge(from, {.user = "reader"});
  const auto job = Edge(from, {.user = "job", .writes = true, .job_use = EdgeOptions::JobUse::kSource});
  EXPECT_TRUE(CheckSwitch(*from, *to).ok());
  const auto writer = Edge(from, {.user = "writer", .writes = true});
  EXPECT_THAT(CheckSwitch(*from, *to), Refused(absl::StatusCode::kFailedPrecondition, "to which writer writes"));
}

TEST(CheckSwitch, RefusesUsersWhoDoNotGetAlong) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from", 512);
  const auto to = LoggingNode::Make(world, "to", 512);
  const auto writer = Edge(from, {.user = "writer", .writes = true});
  const auto job = Edge(to, {.user = "job", .lets_write = false, .job_use = EdgeOptions::JobUse::kSource});
  EXPECT_TRUE(CheckSwitch(*from, *to).ok());  // that one goes
  auto shy = Edge(to, {.user = "shy", .lets_write = false});
  EXPECT_THAT(CheckSwitch(*from, *to),
              Refused(absl::StatusCode::kFailedPrecondition, "in use by shy, which does not get along with writer"));
  shy.reset();
  EXPECT_TRUE(CheckSwitch(*from, *to).ok());
}

TEST(CheckSwitch, UserWhoBearsNoWritesDoesNotComeToAWriter) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from", 512);
  const auto to = LoggingNode::Make(world, "to", 512);
  const auto shy = Edge(from, {.user = "shy", .lets_write = false});
  const auto writer = Edge(to, {.user = "writer", .writes = true});
  EXPECT_THAT(CheckSwitch(*from, *to),
              Refused(absl::StatusCode::kFailedPrecondition, "in use by writer, which does not get along with shy"));
}

// --- NodeSet ---

TEST(NodeSet, FindsWhatWasAddedUntilItIsRemoved) {
  TestWorld world;
  NodeSet set;
  const auto b = LoggingNode::Make(world, "b");
  const auto a = LoggingNode::Make(world, "a");
  EXPECT_TRUE(set.Add(b).ok());
  EXPECT_TRUE(set.Add(a).ok());
  EXPECT_THAT(set.All(), ElementsAre(a, b));
  EXPECT_EQ(*set.Find("a"), a);
  EXPECT_THAT(set.Find("c").status(), Refused(absl::StatusCode::kNotFound, "There is no node 'c'"));
  EXPECT_THAT(set.Add(LoggingNode::Make(world, "a")),
              Refused(absl::StatusCode::kAlreadyExists, "There is a node 'a' already"));
  EXPECT_EQ(*set.Find("a"), a);
  EXPECT_TRUE(set.Remove("a").ok());
  EXPECT_THAT(set.Remove("a"), Refused(absl::StatusCode::kNotFound, "There is no node 'a'"));
  EXPECT_EQ(a.use_count(), 1);
  EXPECT_THAT(set.All(), ElementsAre(b));
}

TEST(NodeSet, DoesNotLetGoOfANodeThatIsInUseAndSaysByWhom) {
  TestWorld world;
  NodeSet set;
  const auto node = LoggingNode::Make(world, "disk");
  ASSERT_TRUE(set.Add(node).ok());
  auto a = Edge(node, {.user = "export 'a'"});
  const auto b = Edge(node, {.user = "job 'b'"});
  EXPECT_THAT(set.Remove("disk"),
              Refused(absl::StatusCode::kFailedPrecondition, "Node 'disk' is in use by export 'a', job 'b'"));
  a.reset();
  EXPECT_THAT(set.Remove("disk"), Refused(absl::StatusCode::kFailedPrecondition, "is in use by job 'b'"));
  EXPECT_TRUE(set.Find("disk").ok());
}

}  // namespace
}  // namespace jobcore::block
