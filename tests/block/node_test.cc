// SPDX-License-Identifier: Apache-2.0
//
// Node: what every node checks before its driver is asked, and the filters that writes pass.

#include "job-driver/block/node.h"

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "block/test_nodes.h"
#include "job-driver/block/write_filter.h"

namespace jobcore::block {
namespace {

using namespace jobcore_test;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = NodeWrite::Kind;

int ReadAt(TestWorld& world, Node& node, uint64_t offset, size_t length) {
  std::vector<std::byte> buffer(length);
  return Await(world, Admitted(node, [&](const Admission& in) { return node.Read(in, offset, buffer); }));
}
int ChangeAt(TestWorld& world, Node& node, NodeWrite write) {
  return Await(world, Admitted(node, [&](const Admission& in) { return node.Change(in, write); }));
}

// --- Checks ---

TEST(Node, RequestsUpToItsEndReachTheDriverAndThoseBeyondDoNot) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk", 1000);
  EXPECT_EQ(ReadAt(world, *node, 0, 1000), 0);
  EXPECT_EQ(ReadAt(world, *node, 1000, 0), 0);
  EXPECT_EQ(node->log().size(), 2u);
  EXPECT_EQ(ReadAt(world, *node, 1, 1000), EINVAL);
  EXPECT_EQ(ReadAt(world, *node, 1001, 0), EINVAL);
  EXPECT_EQ(ReadAt(world, *node, UINT64_MAX, 2), EINVAL);
  EXPECT_EQ(node->log().size(), 2u);
}

TEST(Node, WritesOfEveryKindAreCheckedEvenIfOffsetAndLengthOverflow) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk", 1000);
  for (const Kind kind : {Kind::kZeroes, Kind::kDiscard}) {
    EXPECT_EQ(ChangeAt(world, *node, {.kind = kind, .offset = 500, .length = 500}), 0);
    EXPECT_EQ(ChangeAt(world, *node, {.kind = kind, .offset = 500, .length = 501}), EINVAL);
    EXPECT_EQ(ChangeAt(world, *node, {.kind = kind, .offset = 500, .length = UINT64_MAX - 499}), EINVAL);
    EXPECT_EQ(ChangeAt(world, *node, {.kind = kind, .offset = UINT64_MAX, .length = 1}), EINVAL);
  }
  EXPECT_THAT(node->log(), ElementsAre("zeroes 500+500", "discard 500+500"));
}

TEST(Node, ReadOnlyOneRefusesWritesOfEveryKindAndReads) {
  TestWorld world;
  const auto node =
      std::make_shared<LoggingNode>(world.core(), Node::Options{.name = "disk", .read_only = true}, uint64_t{1000});
  EXPECT_TRUE(node->read_only());
  const std::string data(10, 'x');
  EXPECT_EQ(ChangeAt(world, *node, {.length = 10, .data = Bytes(data)}), EROFS);
  EXPECT_EQ(ChangeAt(world, *node, {.kind = Kind::kZeroes, .length = 10}), EROFS);
  EXPECT_EQ(ChangeAt(world, *node, {.kind = Kind::kDiscard, .length = 10}), EROFS);
  EXPECT_EQ(ReadAt(world, *node, 0, 10), 0);
  EXPECT_THAT(node->log(), ElementsAre("read 0+10"));
}

TEST(Node, LivesInTheMainContextUnlessItIsToldOtherwise) {
  TestWorld world({.io_threads = 1});
  EXPECT_EQ(LoggingNode::Make(world, "a")->context().get(), &world.main());
  const LoggingNode node(world.core(), {.name = "b", .context = world.io().shared_from_this()}, 512);
  EXPECT_EQ(node.context().get(), &world.io());
}

TEST(NodeDeathTest, RequestWithAnAdmissionToAnotherNodeOrToNoneAborts) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk");
  const auto other = LoggingNode::Make(world, "other");
  const auto with = [&](const Admission& in) { (void)node->Flush(in); };
  EXPECT_DEATH(with(Admission()), "node 'disk': a request without an admission");
  const DrainedSection section = Drained({other.get()});
  EXPECT_DEATH(with(section.Admit(other->resource())), "node 'disk': a request without an admission");
  EXPECT_DEATH((void)node->Change(section.Admit(other->resource()), {}), "without an admission");
  EXPECT_DEATH((void)node->Status(section.Admit(other->resource()), 0, 1), "without an admission");
  EXPECT_DEATH((void)node->Read(section.Admit(other->resource()), 0, {}), "without an admission");
}

TEST(NodeDeathTest, WriteWhoseLengthIsNotThatOfItsDataAborts) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk", 1000);
  const std::string data(20, 'x');
  const DrainedSection section = Drained({node.get()});
  const Admission in = section.Admit(node->resource());
  EXPECT_DEATH((void)node->Change(in, {.offset = 990, .length = 10, .data = Bytes(data)}), "of 20 bytes .* 10");
}

// --- Filters ---

class NotingFilter final : public WriteFilter {
 public:
  NotingFilter(std::string name, std::vector<std::string>& log) : name_(std::move(name)), log_(log) {}
  Co<int> Write(const Admission& in, NodeWrite write, Below& below) override {
    log_.push_back(name_ + " before " + std::to_string(static_cast<int>(write.kind)));
    if (gate != nullptr) co_await gate->Pass();
    const int error = co_await below.Write(in, write);
    log_.push_back(name_ + " after");
    co_return result != 0 ? result : error;
  }
  Gate* gate = nullptr;
  int result = 0;

 private:
  const std::string name_;
  std::vector<std::string>& log_;
};

TEST(NodeFilter, NewestComesFirstAndTheDriverLast) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk");
  std::vector<std::string> log;
  {
    const DrainedSection section = Drained({node.get()});
    node->AddFilter(section, std::make_shared<NotingFilter>("old", log));
    node->AddFilter(section, std::make_shared<NotingFilter>("new", log));
  }
  EXPECT_EQ(ChangeAt(world, *node, {.kind = Kind::kZeroes, .length = 10}), 0);
  EXPECT_THAT(log, ElementsAre("new before 1", "old before 1", "old after", "new after"));
  EXPECT_THAT(node->log(), ElementsAre("zeroes 0+10"));
}

TEST(NodeFilter, SeesWritesOfEveryKindButNoReadsAndNoneThatIsRefused) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk", 1000);
  std::vector<std::string> log;
  node->AddFilter(Drained({node.get()}), std::make_shared<NotingFilter>("f", log));
  const std::string data(10, 'x');
  EXPECT_EQ(ChangeAt(world, *node, {.length = 10, .data = Bytes(data)}), 0);
  EXPECT_EQ(ChangeAt(world, *node, {.kind = Kind::kZeroes, .length = 10}), 0);
  EXPECT_EQ(ChangeAt(world, *node, {.kind = Kind::kDiscard, .length = 10}), 0);
  EXPECT_EQ(ChangeAt(world, *node, {.kind = Kind::kDiscard, .offset = 1000, .length = 10}), EINVAL);
  EXPECT_EQ(ReadAt(world, *node, 0, 10), 0);
  EXPECT_THAT(log, ElementsAre("f before 0", "f after", "f before 1", "f after", "f before 2", "f after"));
}

TEST(NodeFilter, ResultIsWhatTheClientIsTold) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk");
  std::vector<std::string> log;
  const auto filter = std::make_shared<NotingFilter>("f", log);
  filter->result = EIO;
  node->AddFilter(Drained({node.get()}), filter);
  EXPECT_EQ(ChangeAt(world, *node, {.kind = Kind::kZeroes, .length = 10}), EIO);
}

TEST(NodeFilter, RemovedOneLetsTheWriteInsideOfItFinishAndLaterOnesPassBy) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk");
  Gate& gate = world.NewGate();
  std::vector<std::string> log;
  auto filter = std::make_shared<NotingFilter>("f", log);
  const std::weak_ptr<NotingFilter> alive = filter;
  filter->gate = &gate;
  node->AddFilter(Drained({node.get()}), filter);
  Started<int> inside(Admitted(*node, [&](const Admission& in) {
    return node->Change(in, {.kind = Kind::kZeroes, .offset = 0, .length = 10});
  }));
  world.Settle();
  EXPECT_THAT(log, ElementsAre("f before 1"));
  node->RemoveFilter(*filter);
  filter.reset();
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ(ChangeAt(world, *node, {.kind = Kind::kDiscard, .offset = 20, .length = 10}), 0);
  EXPECT_THAT(log, ElementsAre("f before 1"));
  gate.Open();
  ASSERT_TRUE(world.RunUntil([&] { return inside.done(); }));
  EXPECT_EQ(*inside, 0);
  EXPECT_THAT(log, ElementsAre("f before 1", "f after"));
  EXPECT_TRUE(alive.expired());
  EXPECT_THAT(node->log(), ElementsAre("discard 20+10", "zeroes 0+10"));
}

TEST(NodeFilter, RemovingOneLeavesTheOthersAndRemovingAStrangerDoesNothing) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk");
  std::vector<std::string> log;
  const auto a = std::make_shared<NotingFilter>("a", log);
  const auto b = std::make_shared<NotingFilter>("b", log);
  const NotingFilter stranger("s", log);
  node->RemoveFilter(stranger);
  {
    const DrainedSection section = Drained({node.get()});
    node->AddFilter(section, a);
    node->AddFilter(section, b);
  }
  node->RemoveFilter(stranger);
  node->RemoveFilter(*b);
  EXPECT_EQ(ChangeAt(world, *node, {.kind = Kind::kZeroes, .length = 10}), 0);
  EXPECT_THAT(log, ElementsAre("a before 1", "a after"));
}

TEST(NodeFilterDeathTest, AddingOneNeedsASectionThatCoversTheNode) {
  TestWorld world;
  const auto node = LoggingNode::Make(world, "disk");
  const auto other = LoggingNode::Make(world, "other");
  std::vector<std::string> log;
  const auto filter = std::make_shared<NotingFilter>("f", log);
  EXPECT_DEATH(node->AddFilter(DrainedSection(), filter), "node 'disk' gets a filter without being drained");
  const DrainedSection section = Drained({other.get()});
  EXPECT_DEATH(node->AddFilter(section, filter), "without being drained");
}

}  // namespace
}  // namespace jobcore::block
