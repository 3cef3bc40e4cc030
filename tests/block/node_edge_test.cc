// SPDX-License-Identifier: Apache-2.0
//
// NodeEdge: who gets along with whom, who may resize, and how requests wait.

#include "job-driver/block/node_edge.h"

#include <cerrno>
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

absl::Status Attaching(const std::shared_ptr<Node>& node, EdgeOptions options) {
  return NodeEdge::Attach(node, std::move(options)).status();
}

// --- Who fits with whom ---

TEST(NodeEdge, TwoFitIfEachLetsTheOtherDoWhatItDoes) {
  TestWorld world;
  for (int bits = 0; bits < 16; ++bits) {
    const EdgeOptions first{.user = "user A", .writes = (bits & 1) != 0, .lets_write = (bits & 2) != 0};
    const EdgeOptions second{.user = "user B", .writes = (bits & 4) != 0, .lets_write = (bits & 8) != 0};
    const bool fits = (!second.writes || first.lets_write) && (!first.writes || second.lets_write);
    const auto node = LoggingNode::Make(world, "disk");
    auto edge = Edge(node, first);
    const absl::Status status = Attaching(node, second);
    EXPECT_EQ(status.ok(), fits) << bits;
    if (!fits) {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_THAT(std::string(status.message()), HasSubstr("user A"));
      EXPECT_THAT(std::string(status.message()), HasSubstr("user B"));
      EXPECT_THAT(std::string(status.message()), HasSubstr("'disk'"));
    }
    edge.reset();  // makes room
    EXPECT_TRUE(Attaching(node, second).ok());
  }
}

TEST(NodeEdge, MessageNamesTheOneInTheWayAmongMany) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk");
  const auto a = Edge(node, {.user = "export 'a'"});
  const auto b = Edge(node, {.user = "job 'b'", .lets_write = false});
  const auto c = Edge(node, {.user = "export 'c'"});
  EXPECT_THAT(Attaching(node, {.user = "export 'd'", .writes = true}),
              Refused(absl::StatusCode::kFailedPrecondition, "in use by job 'b', meanwhile export 'd' cannot write"));
}

TEST(NodeEdge, OneThatWasRefusedIsNoUser) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk");
  const auto a = Edge(node, {.user = "a", .lets_write = false});
  EXPECT_FALSE(Attaching(node, {.user = "b", .writes = true}).ok());
  EXPECT_THAT(UsersOf(*node), ElementsAre("a"));
}

TEST(NodeEdge, WriterOfAReadOnlyNodeIsRefused) {
  TestWorld world;
  const auto node =
      std::make_shared<LoggingNode>(world.core(), Node::Options{.name = "disk", .read_only = true}, uint64_t{512});
  EXPECT_THAT(Attaching(node, {.user = "export 'e'", .writes = true}),
              Refused(absl::StatusCode::kPermissionDenied, "Node 'disk' is read-only: export 'e' cannot write to it"));
  EXPECT_TRUE(Attaching(node, {.user = "export 'e'"}).ok());
}

TEST(NodeEdge, KeepsItsNodeAlive) {
  TestWorld world;
  auto node = LoggingNode::Make(world, "disk");
  const std::weak_ptr<Node> alive = node;
  auto edge = Edge(node, {.user = "a"});
  node.reset();
  EXPECT_EQ(Await(world, edge->Flush()), 0);
  edge.reset();
  EXPECT_TRUE(alive.expired());
}

// --- Requests ---

TEST(NodeEdge, EveryRequestReachesTheNode) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk", 1024);
  const auto edge = Edge(node, {.user = "a", .writes = true});
  const std::string data(512, 'x');
  std::string buffer(512, '\0');
  EXPECT_EQ(Await(world, edge->Write(512, Bytes(data))), 0);
  EXPECT_EQ(Await(world, edge->Read(512, std::as_writable_bytes(std::span(buffer)))), 0);
  EXPECT_EQ(buffer, data);
  EXPECT_EQ(Await(world, edge->Change({.kind = NodeWrite::Kind::kZeroes, .offset = 0, .length = 512})), 0);
  EXPECT_EQ(Await(world, edge->Flush()), 0);
  EXPECT_TRUE(Await(world, edge->Status(0, 512)).ok());
  EXPECT_TRUE(Await(world, edge->Resize(2048)).ok());
  EXPECT_EQ(node->size(), 2048u);
  EXPECT_THAT(node->log(),
              ElementsAre("write 512+512", "read 512+512", "zeroes 0+512", "flush", "status 0+512", "resize 2048"));
  EXPECT_EQ(node->resource().in_flight(), 0u);
}

Co<void> NoteFlush(NodeEdge& edge, int number, std::vector<int>& order) {
  const int error = co_await edge.Flush();
  EXPECT_EQ(error, 0);
  order.push_back(number);
}

TEST(NodeEdge, RequestsWaitWhileItsNodeIsDrainedAndKeepTheirOrder) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk");
  const auto a = Edge(node, {.user = "a"});
  const auto b = Edge(node, {.user = "b"});
  std::vector<int> order;
  DrainedSection section = Drained({node.get()});
  for (int i = 0; i < 6; ++i) Spawn("flush", NoteFlush(i % 2 == 0 ? *a : *b, i, order));
  world.Settle();
  EXPECT_EQ(Parked(world, *node), 6u);
  EXPECT_THAT(node->log(), IsEmpty());
  section.End();
  Spawn("flush", NoteFlush(*a, 6, order));
  ASSERT_TRUE(world.RunUntil([&] { return order.size() == 7; }));
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4, 5, 6));
}

// Whichever of the nodes is let go of first: that is decided by which was made first.
TEST(NodeEdge, RequestsThatWaitedWhileTheirUserWasSwitchedOverComeBeforeThoseThatCameAfterwards) {
  for (const bool from_is_older : {false, true}) {
    TestWorld world;
    std::shared_ptr<LoggingNode> from = from_is_older ? LoggingNode::Make(world, "from") : nullptr;
    const auto to = LoggingNode::Make(world, "to");
    if (!from_is_older) from = LoggingNode::Make(world, "from");
    const auto edge = Edge(from, {.user = "a"});
    std::vector<int> order;
    DrainedSection section = Drained({from.get(), to.get()});
    for (const int i : {0, 1, 2}) Spawn("flush", NoteFlush(*edge, i, order));
    world.Settle();
    SwitchUsers(*from, to);
    EXPECT_EQ(Parked(world, *from), 0u);
    EXPECT_EQ(Parked(world, *to), 3u);
    for (const int i : {3, 4}) Spawn("flush", NoteFlush(*edge, i, order));
    world.Settle();
    section.End();
    Spawn("flush", NoteFlush(*edge, 5, order));
    ASSERT_TRUE(world.RunUntil([&] { return order.size() == 6; }));
    EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4, 5));
    EXPECT_THAT(from->log(), IsEmpty());
  }
}

TEST(NodeEdge, RequestsThatWereSwitchedOverToANodeThatIsDrainedLongerKeepTheirOrder) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from");
  const auto to = LoggingNode::Make(world, "to");
  const auto edge = Edge(from, {.user = "a"});
  std::vector<int> order;
  DrainedSection longer = Drained({to.get()});
  DrainedSection section = Drained({from.get(), to.get()});
  for (const int i : {0, 1}) Spawn("flush", NoteFlush(*edge, i, order));
  world.Settle();
  SwitchUsers(*from, to);
  Spawn("flush", NoteFlush(*edge, 2, order));
  section.End();
  world.Settle();
  EXPECT_THAT(order, IsEmpty());
  Spawn("flush", NoteFlush(*edge, 3, order));
  world.Settle();
  longer.End();
  Spawn("flush", NoteFlush(*edge, 4, order));
  ASSERT_TRUE(world.RunUntil([&] { return order.size() == 5; }));
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
}

// The user of `above` has both nodes drained, and goes before who has the lower one and something else; but until now
// somebody else has had the upper one drained as well.
TEST(NodeEdge, RequestOnBehalfOfAnotherOneGoesOnWhenASectionEndsThatHoldsUpOnlyThatOne) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file");
  const std::shared_ptr<Node> raw = *MakeRawNode(world.core(), {.node = {.name = "raw"}, .file = file});
  const auto another = LoggingNode::Make(world, "another");
  const DrainedSection crosswise = Drained({file.get(), another.get()});
  DrainedSection others = Drained({raw.get()});
  DrainedSection both = Drained({raw.get(), file.get()});
  const Admission above = both.Admit(raw->resource());
  Started<int> flush(raw->Flush(above));
  world.Settle();
  ASSERT_FALSE(flush.done());
  EXPECT_EQ(Parked(world, *file), 1u);
  others.End();
  ASSERT_TRUE(world.RunUntil([&] { return flush.done(); }));
  EXPECT_EQ(*flush, 0);
}

TEST(NodeEdge, StatusOfWhatIsNotThereIsAnErrorOfTheClients) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk", 1024);
  const auto edge = Edge(node, {.user = "a"});
  for (const auto& [offset, length] : {std::pair<uint64_t, uint64_t>{0, 1025}, {1024, 1}, {0, 0}, {UINT64_MAX, 2}}) {
    EXPECT_EQ(Await(world, edge->Status(offset, length)).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

// --- Resize ---

TEST(NodeEdge, ResizeIsRefusedWhileSomebodyElseReliesOnTheSize) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk", 1024);
  const auto resizer = Edge(node, {.user = "user A", .writes = true});
  auto relies = Edge(node, {.user = "user B"});
  const auto bears = Edge(node, {.user = "user C", .lets_resize = true});
  EXPECT_THAT(Await(world, resizer->Resize(2048)),
              Refused(absl::StatusCode::kFailedPrecondition, "in use by user B, which relies on its size"));
  EXPECT_EQ(node->size(), 1024u);
  EXPECT_THAT(node->log(), IsEmpty());
  relies.reset();
  EXPECT_TRUE(Await(world, resizer->Resize(2048)).ok());
  EXPECT_EQ(node->size(), 2048u);
  EXPECT_THAT(Await(world, bears->Resize(512)),
              Refused(absl::StatusCode::kPermissionDenied, "not to be changed by user C"));
}

TEST(NodeEdge, NobodyWhoReliesOnTheSizeComesWhileItChanges) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk", 1024);
  const auto resizer = Edge(node, {.user = "user A", .writes = true, .lets_resize = true});
  const auto other = Edge(node, {.user = "user B", .writes = true, .lets_resize = true});
  Gate& gate = world.NewGate();
  node->before = [&gate] { return gate.Pass(); };
  Started<absl::Status> resize(resizer->Resize(2048));
  world.Settle();
  ASSERT_FALSE(resize.done());
  EXPECT_THAT(Attaching(node, {.user = "user C"}),
              Refused(absl::StatusCode::kFailedPrecondition, "being resized by user A"));
  EXPECT_TRUE(Attaching(node, {.user = "user C", .lets_resize = true}).ok());
  // Nor does a second one resize it meanwhile.
  EXPECT_THAT(Await(world, other->Resize(512)),
              Refused(absl::StatusCode::kFailedPrecondition, "being resized by user A"));
  gate.Open();
  ASSERT_TRUE(world.RunUntil([&] { return resize.done(); }));
  EXPECT_TRUE((*resize).ok());
  EXPECT_TRUE(Attaching(node, {.user = "user C"}).ok());
}

TEST(NodeEdge, ResizeWaitsForWhatIsInFlightAndNothingFollowsBeforeItsEnd) {
  for (const bool through_raw : {false, true}) {
    TestWorld world;
    const auto file = LoggingNode::Make(world, "file", 4096);
    std::shared_ptr<Node> node = file;
    if (through_raw) node = *MakeRawNode(world.core(), {.node = {.name = "raw"}, .file = file});
    const auto resizer = Edge(node, {.user = "user A", .writes = true});
    const auto writer = Edge(node, {.user = "user B", .writes = true, .lets_resize = true});
    Gate& gate = world.NewGate();
    file->before = [&gate] { return gate.Pass(); };
    const std::string data(512, 'x');
    Started<int> before(writer->Write(3584, Bytes(data)));
    Started<absl::Status> resize(resizer->Resize(1024));
    Started<int> after(writer->Write(3584, Bytes(data)));
    world.Settle();
    EXPECT_THAT(file->log(), ElementsAre("write 3584+512"));
    gate.Open();
    ASSERT_TRUE(world.RunUntil([&] { return before.done() && resize.done() && after.done(); }));
    EXPECT_EQ(*before, 0);
    EXPECT_TRUE((*resize).ok()) << *resize;
    EXPECT_EQ(*after, EINVAL);
    EXPECT_THAT(file->log(), ElementsAre("write 3584+512", "resize 1024"));
  }
}

TEST(NodeEdge, ResizeThatWaitedWhileItsUserWasSwitchedOverIsOfTheNewNode) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from", 4096);
  const auto to = LoggingNode::Make(world, "to", 4096);
  const auto resizer = Edge(from, {.user = "user A", .writes = true});
  std::optional<DrainedSection> section(Drained({from.get(), to.get()}));
  Admission inside = section->Admit(from->resource());
  Started<absl::Status> resize(resizer->Resize(1024));
  world.Settle();
  ASSERT_FALSE(resize.done());
  SwitchUsers(*from, to);
  inside = Admission();
  section.reset();
  ASSERT_TRUE(world.RunUntil([&] { return resize.done(); }));
  EXPECT_TRUE((*resize).ok()) << *resize;
  EXPECT_EQ(from->size(), 4096u);
  EXPECT_EQ(to->size(), 1024u);
}

TEST(NodeEdge, ResizeWaitsForWhatIsInFlightInATowerThatWasRebuiltMeanwhile) {
  TestWorld world;
  const auto from = LoggingNode::Make(world, "from", 4096);
  const auto to = LoggingNode::Make(world, "to", 4096);
  const std::shared_ptr<Node> raw = *MakeRawNode(world.core(), {.node = {.name = "raw"}, .file = from});
  const auto resizer = Edge(raw, {.user = "user A", .writes = true});
  std::optional<DrainedSection> section(Drained({raw.get(), from.get(), to.get()}));
  Admission above = section->Admit(raw->resource());
  Admission below = section->Admit(to->resource());
  Started<absl::Status> resize(resizer->Resize(1024));
  world.Settle();
  SwitchUsers(*from, to);
  section.reset();
  above = Admission();
  world.Settle();
  EXPECT_FALSE(resize.done());
  EXPECT_THAT(to->log(), ElementsAre());
  below = Admission();
  ASSERT_TRUE(world.RunUntil([&] { return resize.done(); }));
  EXPECT_TRUE((*resize).ok()) << *resize;
  EXPECT_THAT(to->log(), ElementsAre("resize 1024"));
  EXPECT_THAT(from->log(), ElementsAre());
}

TEST(NodeEdge, NodeThatCannotBeResizedSaysWhatItsSizeIs) {
  class Fixed final : public Node {
   public:
    Fixed(JobCore& core) : Node(core, {.name = "fixed"}, 1000) {}
    const char* driver() const override { return "stone"; }

   protected:
    Co<int> DoRead(const Admission&, uint64_t, std::span<std::byte>) override { return {}; }
    Co<int> DoWrite(const Admission&, NodeWrite) override { return {}; }
    Co<int> DoFlush(const Admission&) override { return {}; }
  };
  TestWorld world;
  const auto node = std::make_shared<Fixed>(world.core());
  const auto edge = Edge(node, {.user = "a", .writes = true});
  EXPECT_THAT(Await(world, edge->Resize(2000)), Refused(absl::StatusCode::kInvalidArgument, "has 1000 bytes"));
  EXPECT_TRUE(Await(world, edge->Resize(1000)).ok());
  const absl::StatusOr<BlockStatus> status = Await(world, edge->Status(10, 20));
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(status->length, 20u);
  EXPECT_TRUE(status->stored);
  EXPECT_FALSE(status->zero);
}

}  // namespace
}  // namespace jobcore::block
