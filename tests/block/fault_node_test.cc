// SPDX-License-Identifier: Apache-2.0
//
// Fault nodes: which rule a request meets, and what it does.

#include "job-driver/block/fault_node.h"

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "block/test_nodes.h"

namespace jobcore::block {
namespace {

using namespace jobcore_test;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Operation = FaultRule::Operation;

struct Fixture {
  explicit Fixture(TestWorld& world, std::vector<FaultRule> rules)
      : world(world),
        image(LoggingNode::Make(world, "image", 8192)),
        node(*MakeFaultNode(world.core(), {.node = {.name = "fault"}, .image = image, .rules = std::move(rules)})),
        edge(Edge(node, {.user = "client", .writes = true})) {}

  int Read(uint64_t offset, size_t length) {
    std::vector<std::byte> buffer(length);
    return Await(world, edge->Read(offset, buffer));
  }
  int Change(NodeWrite::Kind kind, uint64_t offset, uint64_t length) {
    const std::string data(kind == NodeWrite::Kind::kData ? length : 0, 'x');
    return Await(world, edge->Change({.kind = kind, .offset = offset, .length = length, .data = Bytes(data)}));
  }
  bool StatusOk() { return Await(world, edge->Status(0, 512)).ok(); }
  // What fails of: read, write, write zeroes, discard, flush, block status.
  std::string Failing() {
    std::string failing;
    if (Read(0, 512) != 0) failing += 'r';
    if (Change(NodeWrite::Kind::kData, 0, 512) != 0) failing += 'w';
    if (Change(NodeWrite::Kind::kZeroes, 0, 512) != 0) failing += 'z';
    if (Change(NodeWrite::Kind::kDiscard, 0, 512) != 0) failing += 'd';
    if (Await(world, edge->Flush()) != 0) failing += 'f';
    if (!StatusOk()) failing += 's';
    return failing;
  }

  TestWorld& world;
  const std::shared_ptr<LoggingNode> image;
  const std::shared_ptr<FaultNode> node;
  const std::unique_ptr<NodeEdge> edge;
};

TEST(FaultNode, PassesEverythingOnWithoutRules) {
  TestWorld world;
  Fixture f(world, {});
  EXPECT_STREQ(f.node->driver(), "blkdebug");
  EXPECT_EQ(f.node->size(), 8192u);
  EXPECT_EQ(f.Failing(), "");
  EXPECT_THAT(f.image->log(),
              ElementsAre("read 0+512", "write 0+512", "zeroes 0+512", "discard 0+512", "flush", "status 0+512"));
}

TEST(FaultNode, NobodyElseWritesToItsImage) {
  TestWorld world;
  Fixture f(world, {});
  EXPECT_THAT(NodeEdge::Attach(f.image, {.user = "writer", .writes = true}).status(),
              Refused(absl::StatusCode::kFailedPrecondition, "meanwhile writer cannot write to it"));
}

TEST(FaultNode, RuleIsForItsOperationOnly) {
  const std::pair<Operation, const char*> cases[] = {
      {Operation::kRead, "r"},    {Operation::kWrite, "w"}, {Operation::kWriteZeroes, "z"},
      {Operation::kDiscard, "d"}, {Operation::kFlush, "f"}, {Operation::kBlockStatus, "s"},
      {Operation::kAny, "rwzdf"},  // as QEMU's: a block status has to be asked for
  };
  for (const auto& [operation, failing] : cases) {
    TestWorld world;
    Fixture f(world, {{.operation = operation}});
    EXPECT_EQ(f.Failing(), failing);
    EXPECT_EQ(f.image->log().size(), 6 - std::string(failing).size());  // what fails does not get through
  }
}

TEST(FaultNode, ErrorIsTheRules) {
  TestWorld world;
  Fixture f(world, {{.operation = Operation::kRead, .error = ENOSPC}, {.operation = Operation::kBlockStatus}});
  EXPECT_EQ(f.Read(0, 512), ENOSPC);
  const absl::Status status = Await(world, f.edge->Status(0, 512)).status();
  EXPECT_EQ(status.code(), absl::ErrnoToStatusCode(EIO));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("'fault'"));
}

TEST(FaultNode, SectorIsTouchedByRequestsThatHaveAByteOfIt) {
  TestWorld world;
  Fixture f(world, {{.sector = 2}});
  EXPECT_EQ(f.Read(0, 1024), 0);
  EXPECT_EQ(f.Read(0, 1025), EIO);
  EXPECT_EQ(f.Read(1024, 1), EIO);
  EXPECT_EQ(f.Read(1535, 512), EIO);
  EXPECT_EQ(f.Read(1536, 512), 0);
  EXPECT_EQ(f.Read(1100, 0), 0);  // no byte at all
  EXPECT_EQ(f.Change(NodeWrite::Kind::kZeroes, 0, 8192), EIO);
  EXPECT_EQ(Await(world, f.edge->Flush()), 0);  // a flush touches none
}

TEST(FaultNode, FirstRuleThatFitsDecidesAndOnceMeansOnce) {
  TestWorld world;
  Fixture f(world, {{.operation = Operation::kRead, .error = ENOSPC, .once = true},
                    {.operation = Operation::kRead, .error = EIO, .once = true},
                    {.operation = Operation::kRead, .error = 0, .once = true},
                    {.operation = Operation::kRead, .error = EPERM}});
  EXPECT_EQ(f.Change(NodeWrite::Kind::kData, 0, 512), 0);  // uses none of them up
  EXPECT_EQ(f.Read(0, 512), ENOSPC);
  EXPECT_EQ(f.Read(0, 512), EIO);
  EXPECT_EQ(f.Read(0, 512), 0);
  EXPECT_EQ(f.Read(0, 512), EPERM);
  EXPECT_EQ(f.Read(0, 512), EPERM);
}

TEST(FaultNode, DelaysAndThenGoesOnOrFails) {
  TestWorld world({.virtual_time = true});
  Fixture f(world, {{.operation = Operation::kFlush, .error = 0, .once = true, .delay = 5s},
                    {.operation = Operation::kFlush, .error = EIO, .delay = 7s}});
  Started<int> late(f.edge->Flush());
  Started<int> later(f.edge->Flush());
  world.clock().Advance(4999ms);
  world.Settle();
  EXPECT_FALSE(late.done());
  EXPECT_THAT(f.image->log(), IsEmpty());
  world.clock().Advance(1ms);
  world.Settle();
  ASSERT_TRUE(late.done());
  EXPECT_EQ(*late, 0);
  EXPECT_THAT(f.image->log(), ElementsAre("flush"));
  EXPECT_FALSE(later.done());
  world.clock().Advance(2s);
  world.Settle();
  ASSERT_TRUE(later.done());
  EXPECT_EQ(*later, EIO);
}

TEST(FaultNode, NewRulesReplaceTheOldOnesButNotForWhatHasBegun) {
  TestWorld world({.virtual_time = true});
  Fixture f(world, {{.operation = Operation::kFlush, .error = EIO, .delay = 5s}});
  Started<int> begun(f.edge->Flush());
  f.node->SetRules({{.operation = Operation::kRead}});
  EXPECT_EQ(Await(world, f.edge->Flush()), 0);
  EXPECT_EQ(f.Read(0, 512), EIO);
  f.node->SetRules({});
  EXPECT_EQ(f.Read(0, 512), 0);
  world.clock().Advance(5s);
  world.Settle();
  ASSERT_TRUE(begun.done());
  EXPECT_EQ(*begun, EIO);
}

TEST(FaultNode, NeedsAnImageAndResizesIt) {
  TestWorld world;
  EXPECT_THAT(MakeFaultNode(world.core(), {.node = {.name = "fault"}}).status(),
              Refused(absl::StatusCode::kInvalidArgument, "Node 'fault' was given no node to stand upon"));
  Fixture f(world, {});
  ASSERT_TRUE(Await(world, f.edge->Resize(4096)).ok());
  EXPECT_EQ(f.image->size(), 4096u);
  EXPECT_EQ(f.node->size(), 4096u);
}

}  // namespace
}  // namespace jobcore::block
