// SPDX-License-Identifier: Apache-2.0
//
// Raw nodes: the arithmetic of the window, and drains of either node.

#include "job-driver/block/raw_node.h"

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "block/test_nodes.h"
#include "job-driver/block/null_node.h"

namespace jobcore::block {
namespace {

using namespace jobcore_test;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

absl::StatusOr<std::shared_ptr<Node>> Window(TestWorld& world, std::shared_ptr<Node> file, uint64_t offset,
                                             std::optional<uint64_t> size = {}, bool read_only = false) {
  RawOptions options{
      .node = {.name = "raw", .read_only = read_only}, .file = std::move(file), .offset = offset, .size = size};
  return MakeRawNode(world.core(), std::move(options));
}

TEST(RawNode, RequestsAreMovedByTheWindowsOffset) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  const auto raw = *Window(world, file, 1000, 500);
  EXPECT_STREQ(raw->driver(), "raw");
  EXPECT_EQ(raw->size(), 500u);
  const auto edge = Edge(raw, {.user = "client", .writes = true});
  const std::string data(500, 'x');
  std::string buffer(499, '\0');
  EXPECT_EQ(Await(world, edge->Write(0, Bytes(data))), 0);
  EXPECT_EQ(Await(world, edge->Read(1, std::as_writable_bytes(std::span(buffer)))), 0);
  EXPECT_EQ(Await(world, edge->Change({.kind = NodeWrite::Kind::kZeroes, .offset = 499, .length = 1})), 0);
  EXPECT_EQ(Await(world, edge->Change({.kind = NodeWrite::Kind::kDiscard, .offset = 0, .length = 9})), 0);
  EXPECT_EQ(Await(world, edge->Flush()), 0);
  const absl::StatusOr<BlockStatus> status = Await(world, edge->Status(10, 20));
  ASSERT_TRUE(status.ok());
  EXPECT_TRUE(status->zero);
  EXPECT_EQ(status->length, 20u);
  EXPECT_THAT(file->log(), ElementsAre("write 1000+500", "read 1001+499", "zeroes 1499+1", "discard 1000+9", "flush",
                                       "status 1010+20"));
  EXPECT_EQ(buffer, data.substr(1));
}

TEST(RawNode, NothingBeyondItsWindowIsReached) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  const auto edge = Edge(*Window(world, file, 1000, 500), {.user = "client", .writes = true});
  EXPECT_EQ(Await(world, edge->Change({.kind = NodeWrite::Kind::kZeroes, .offset = 500, .length = 1})), EINVAL);
  EXPECT_EQ(Await(world, edge->Change({.kind = NodeWrite::Kind::kZeroes, .offset = UINT64_MAX - 999, .length = 1})),
            EINVAL);
  EXPECT_THAT(file->log(), IsEmpty());
}

TEST(RawNode, WindowLiesWithinTheFile) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  EXPECT_EQ((*Window(world, file, 0))->size(), 4096u);
  EXPECT_EQ((*Window(world, file, 4096))->size(), 0u);
  EXPECT_EQ((*Window(world, file, 96, 4000))->size(), 4000u);
  EXPECT_THAT(Window(world, file, 4097).status(),
              Refused(absl::StatusCode::kInvalidArgument, "begins at 4097, but node 'file' has 4096 bytes"));
  EXPECT_THAT(Window(world, file, 97, 4000).status(), Refused(absl::StatusCode::kInvalidArgument, "goes beyond"));
  EXPECT_THAT(Window(world, file, 97, UINT64_MAX).status(), Refused(absl::StatusCode::kInvalidArgument, "goes beyond"));
  EXPECT_THAT(Window(world, nullptr, 0).status(), Refused(absl::StatusCode::kInvalidArgument, "no node to stand upon"));
  EXPECT_THAT(UsersOf(*file), IsEmpty());  // those that have failed have left nothing behind
}

TEST(RawNode, UsesTheFileAsAWriterUnlessItIsReadOnly) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  const auto shy = Edge(file, {.user = "shy", .lets_write = false});
  EXPECT_THAT(Window(world, file, 0).status(), Refused(absl::StatusCode::kFailedPrecondition, "shy"));
  const auto raw = Window(world, file, 0, {}, true);
  ASSERT_TRUE(raw.ok()) << raw.status();
  EXPECT_THAT(UsersOf(*file), ElementsAre("shy", "node 'raw'"));
}

// Who copies this node, or has it drained, need not expect that it changes under its hands.
TEST(RawNode, NobodyElseWritesToItsPartOfTheFile) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  const EdgeOptions writer = {.user = "writer", .writes = true};
  for (const bool read_only : {false, true}) {
    std::shared_ptr<Node> raw = *Window(world, file, 1000, 500, read_only);
    EXPECT_THAT(NodeEdge::Attach(file, writer).status(),
                Refused(absl::StatusCode::kFailedPrecondition, "in use by node 'raw', meanwhile writer cannot write"));
    const auto reader = Edge(file, {.user = "reader"});
    raw.reset();
    const auto edge = Edge(file, writer);
    EXPECT_THAT(Window(world, file, 1000, 500, read_only).status(),
                Refused(absl::StatusCode::kFailedPrecondition, "written to by writer, which node 'raw' cannot bear"));
  }
}

TEST(RawNode, WindowsOfOneFileMustNotOverlapIfOneOfThemIsWrittenTo) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  const auto raw = *Window(world, file, 1000, 500);
  const auto fits = [&](uint64_t offset, std::optional<uint64_t> size, bool read_only = false) {
    return Window(world, file, offset, size, read_only).ok();
  };
  EXPECT_TRUE(fits(0, 1000));
  EXPECT_TRUE(fits(1500, 100));
  EXPECT_TRUE(fits(1500, std::nullopt));
  EXPECT_FALSE(fits(0, 1001));
  EXPECT_FALSE(fits(1499, std::nullopt));
  EXPECT_FALSE(fits(1100, 10));
  EXPECT_FALSE(fits(1100, 10, /*read_only=*/true));
  const auto reads = *Window(world, file, 2000, 500, /*read_only=*/true);
  EXPECT_FALSE(fits(2100, 10));
  EXPECT_TRUE(fits(2100, 10, /*read_only=*/true));
}

TEST(RawNode, ResizeGoesThroughAndKeepsTheOffset) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  const auto raw = *Window(world, file, 1000);
  const auto edge = Edge(raw, {.user = "client", .writes = true});
  ASSERT_TRUE(Await(world, edge->Resize(5000)).ok());
  EXPECT_EQ(raw->size(), 5000u);
  EXPECT_EQ(file->size(), 6000u);
  EXPECT_THAT(Await(world, edge->Resize(UINT64_MAX - 500)), Refused(absl::StatusCode::kInvalidArgument, ""));
  EXPECT_EQ(file->size(), 6000u);
  const auto other = Edge(file, {.user = "other"});
  EXPECT_THAT(Await(world, edge->Resize(4000)), Refused(absl::StatusCode::kFailedPrecondition, "other"));
  EXPECT_EQ(raw->size(), 5000u);
}

TEST(RawNode, OneWithASizeOfItsOwnKeepsItAndTheFilesToo) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  const auto edge = Edge(*Window(world, file, 1000, 500), {.user = "client", .writes = true});
  EXPECT_THAT(Await(world, edge->Resize(501)), Refused(absl::StatusCode::kInvalidArgument, "a size of its own"));
  EXPECT_TRUE(Await(world, edge->Resize(500)).ok());
  EXPECT_EQ(file->size(), 4096u);
}

// --- Drains ---

TEST(RawNode, RequestInFlightWaitsWhileTheFileIsDrainedAndThenGoesOn) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  const auto raw = *Window(world, file, 1000);
  const auto edge = Edge(raw, {.user = "client"});
  DrainedSection section = Drained({file.get()});
  Started<int> flush(edge->Flush());
  world.Settle();
  EXPECT_FALSE(flush.done());
  EXPECT_EQ(raw->resource().in_flight(), 1u);
  EXPECT_EQ(Parked(world, *file), 1u);
  section.End();
  ASSERT_TRUE(world.RunUntil([&] { return flush.done(); }));
  EXPECT_EQ(*flush, 0);
}

Co<void> DrainBoth(Node& raw, Node& file, bool& drained) {
  Resource* const both[] = {&raw.resource(), &file.resource()};
  absl::StatusOr<DrainedSection> section = co_await DrainedSection::Open(both, {.name = "both"});
  EXPECT_TRUE(section.ok()) << section.status();
  EXPECT_EQ(raw.resource().in_flight() + file.resource().in_flight(), 0u);
  drained = true;
}

TEST(RawNode, BothDrainedTogetherWaitForARequestThatIsJustBetweenThem) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  const auto raw = *Window(world, file, 1000);
  const auto edge = Edge(raw, {.user = "client"});
  std::optional<DrainedSection> first(Drained({file.get()}));
  Started<int> inside(edge->Flush());  // in the raw node, and parked in front of the file
  bool drained = false;
  Spawn("drain", DrainBoth(*raw, *file, drained));
  Started<int> late(edge->Flush());
  world.Settle();
  EXPECT_FALSE(inside.done());
  first.reset();
  ASSERT_TRUE(world.RunUntil([&] { return drained && inside.done() && late.done(); }));
}

TEST(RawNode, WhoHasBothDrainedReachesTheFileThroughIt) {
  TestWorld world;
  const auto file = LoggingNode::Make(world, "file", 4096);
  const auto raw = *Window(world, file, 1000);
  const DrainedSection both = Drained({raw.get(), file.get()});
  const Admission in = both.Admit(raw->resource());
  EXPECT_EQ(Await(world, raw->Flush(in)), 0);
  // But not behind the back of somebody else, who has only the file.
  std::optional<DrainedSection> other(Drained({file.get()}));
  Started<int> flush(raw->Flush(in));
  world.Settle();
  EXPECT_FALSE(flush.done());
  other.reset();
  ASSERT_TRUE(world.RunUntil([&] { return flush.done(); }));
}

// --- The null node ---

TEST(NullNode, ForgetsEverything) {
  TestWorld world;
  const auto node = *MakeNullNode(world.core(), {.node = {.name = "null"}, .size = 4096, .read_zeroes = true});
  EXPECT_STREQ(node->driver(), "null-co");
  const auto edge = Edge(node, {.user = "client", .writes = true});
  std::string text(4096, 'x');
  EXPECT_EQ(Await(world, edge->Write(0, Bytes(text))), 0);
  EXPECT_EQ(Await(world, edge->Read(0, std::as_writable_bytes(std::span(text)))), 0);
  EXPECT_EQ(text, std::string(4096, '\0'));
  const absl::StatusOr<BlockStatus> status = Await(world, edge->Status(1, 100));
  EXPECT_TRUE(status.ok() && status->zero && !status->stored && status->length == 100);
  EXPECT_EQ(Await(world, edge->Read(4000, std::as_writable_bytes(std::span(text).first(97)))), EINVAL);
}

TEST(NullNode, TakesItsTimeAndLeavesBuffersAloneIfAskedTo) {
  TestWorld world({.virtual_time = true});
  const auto node =
      *MakeNullNode(world.core(), {.node = {.name = "null"}, .size = 4096, .latency = std::chrono::seconds(5)});
  const auto edge = Edge(node, {.user = "client"});
  std::string text(10, 'x');
  Started<int> read(edge->Read(0, std::as_writable_bytes(std::span(text))));
  world.clock().Advance(std::chrono::seconds(4));
  world.Settle();
  EXPECT_FALSE(read.done());
  world.clock().Advance(std::chrono::seconds(1));
  world.Settle();
  ASSERT_TRUE(read.done());
  EXPECT_EQ(text, std::string(10, 'x'));
}

}  // namespace
}  // namespace jobcore::block
