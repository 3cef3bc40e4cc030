// SPDX-License-Identifier: Apache-2.0
//
// File nodes over every engine: contents, holes, sizes, direct I/O.

#include "job-driver/block/file_node.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "block/manual_engine.h"
#include "block/test_files.h"
#include "block/test_nodes.h"
#include "job-common/io_engine.h"

namespace jobcore::block {
namespace {

using namespace jobcore_test;
using ::testing::HasSubstr;
using Kind = NodeWrite::Kind;

struct EngineKind {
  const char* name;
  std::unique_ptr<IoEngine> (*make)();
};

std::unique_ptr<IoEngine> MakeUring() {
  absl::StatusOr<std::unique_ptr<IoEngine>> engine = IoEngine::Uring(2);
  return engine.ok() ? *std::move(engine) : nullptr;
}

// A file of 64 KiB of a pattern in a directory of its own.
constexpr uint64_t kSize = 64 * 1024;

class FileNodeTest : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override {
    if (engine_ == nullptr) GTEST_SKIP() << "no such engine here";
    WriteFile(path_, Pattern(kSize));
  }
  std::shared_ptr<Node> Open(FileOptions options = {}) {
    options.node.name = "disk";
    options.filename = path_;
    options.engine = engine_.get();
    absl::StatusOr<std::shared_ptr<Node>> node = OpenFileNode(world_.core(), std::move(options));
    EXPECT_TRUE(node.ok()) << node.status();
    return *std::move(node);
  }
  // Null, and the test is to be skipped, if the file system does not want it.
  std::shared_ptr<Node> OpenDirect() {
    const int fd = open(path_.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0) return nullptr;
    close(fd);
    return Open({.direct = true});
  }
  std::string Read(NodeEdge& edge, uint64_t offset, size_t length) {
    std::string text(length, '?');
    EXPECT_EQ(Await(world_, edge.Read(offset, std::as_writable_bytes(std::span(text)))), 0);
    return text;
  }
  int Change(NodeEdge& edge, Kind kind, uint64_t offset, uint64_t length, bool may_unmap = false) {
    return Await(world_, edge.Change({.kind = kind, .offset = offset, .length = length, .may_unmap = may_unmap}));
  }
  BlockStatus StatusOf(NodeEdge& edge, uint64_t offset, uint64_t length) {
    const absl::StatusOr<BlockStatus> status = Await(world_, edge.Status(offset, length));
    EXPECT_TRUE(status.ok()) << status.status();
    return status.value_or(BlockStatus());
  }

  const TempDir dir_;
  const std::string path_ = dir_.Path("disk.img");
  const std::unique_ptr<IoEngine> engine_ = GetParam().make();
  TestWorld world_;
};

INSTANTIATE_TEST_SUITE_P(Engines, FileNodeTest,
                         testing::Values(EngineKind{"ThreadPool", [] { return IoEngine::ThreadPool(2); }},
                                         EngineKind{"Uring", &MakeUring}),
                         [](const auto& info) { return info.param.name; });

TEST_P(FileNodeTest, WhatIsWrittenIsReadAndIsInTheFile) {
  const auto node = Open();
  EXPECT_STREQ(node->driver(), "file");
  EXPECT_EQ(node->size(), kSize);
  const auto edge = Edge(node, {.user = "client", .writes = true});
  EXPECT_EQ(Read(*edge, 0, kSize), Pattern(kSize));
  const std::string data = Pattern(3000, 2);
  EXPECT_EQ(Await(world_, edge->Write(1234, Bytes(data))), 0);
  EXPECT_EQ(Await(world_, edge->Flush()), 0);
  EXPECT_EQ(Read(*edge, 1234, data.size()), data);
  EXPECT_EQ(ReadFile(path_), Pattern(kSize).replace(1234, data.size(), data));
}

TEST_P(FileNodeTest, HolesAreSeen) {
  WriteSparseFile(path_, kSize, {{16384, std::string(4096, 'x')}});
  const auto edge = Edge(Open(), {.user = "client"});
  BlockStatus status = StatusOf(*edge, 0, kSize);
  if (status.stored) GTEST_SKIP() << "a file system without holes";
  EXPECT_TRUE(status.zero);
  EXPECT_EQ(status.length, 16384u);
  EXPECT_EQ(StatusOf(*edge, 100, 50).length, 50u);
  status = StatusOf(*edge, 16384, kSize - 16384);
  EXPECT_TRUE(status.stored && !status.zero);
  EXPECT_EQ(status.length, 4096u);
  status = StatusOf(*edge, 20480, kSize - 20480);
  EXPECT_TRUE(!status.stored && status.zero);
  EXPECT_EQ(status.length, kSize - 20480);
}

TEST_P(FileNodeTest, ZeroesReadAsZerosAndAreAHoleOnlyIfTheyMayBe) {
  const auto edge = Edge(Open(), {.user = "client", .writes = true});
  EXPECT_EQ(Change(*edge, Kind::kZeroes, 4096, 8192, false), 0);
  EXPECT_EQ(Change(*edge, Kind::kZeroes, 32768, 8192, true), 0);
  EXPECT_EQ(Change(*edge, Kind::kZeroes, 20001, 3, true), 0);
  EXPECT_EQ(Change(*edge, Kind::kZeroes, 50000, 0, true), 0);
  std::string expected = Pattern(kSize);
  for (const auto& [offset, length] : {std::pair<size_t, size_t>{4096, 8192}, {32768, 8192}, {20001, 3}})
    expected.replace(offset, length, length, '\0');
  EXPECT_EQ(Read(*edge, 0, kSize), expected);
  EXPECT_EQ(ReadFile(path_).size(), kSize);
  const auto blocks = Stat(path_).st_blocks;
  EXPECT_EQ(Change(*edge, Kind::kZeroes, 8192, 4096, false), 0);
  EXPECT_EQ(Stat(path_).st_blocks, blocks);
  EXPECT_EQ(Change(*edge, Kind::kZeroes, 0, kSize, true), 0);
  EXPECT_LT(Stat(path_).st_blocks, blocks);
}

TEST_P(FileNodeTest, DiscardFreesRoomOnlyIfItIsToldTo) {
  {
    const auto edge = Edge(Open(), {.user = "client", .writes = true});
    EXPECT_EQ(Change(*edge, Kind::kDiscard, 0, kSize), 0);
    EXPECT_EQ(Read(*edge, 0, kSize), Pattern(kSize));
  }
  const auto edge = Edge(Open({.discard = true}), {.user = "client", .writes = true});
  const auto blocks = Stat(path_).st_blocks;
  EXPECT_EQ(Change(*edge, Kind::kDiscard, 8192, 8192), 0);
  EXPECT_LT(Stat(path_).st_blocks, blocks);
  EXPECT_EQ(Read(*edge, 0, kSize), Pattern(kSize).replace(8192, 8192, 8192, '\0'));
}

TEST_P(FileNodeTest, WhatIsBehindTheEndOfAFileThatHasShrunkCannotBeRead) {
  for (const bool read_only : {false, true}) {
    WriteFile(path_, Pattern(kSize));
    const std::shared_ptr<Node> node = Open({.node = {.name = "", .read_only = read_only}});
    const auto edge = Edge(node, {.user = "client"});
    EXPECT_TRUE(node->CheckIntact().ok());
    ASSERT_EQ(truncate(path_.c_str(), 5000), 0);
    EXPECT_EQ(Read(*edge, 0, 5000), Pattern(kSize).substr(0, 5000));
    std::string text(8192, '?');
    for (const uint64_t offset : {uint64_t{0}, uint64_t{8192}, uint64_t{kSize - 8192}}) {
      EXPECT_EQ(Await(world_, edge->Read(offset, std::as_writable_bytes(std::span(text)))), EIO) << offset;
      EXPECT_EQ(StatusOf(*edge, offset, 8192).zero, false) << "not a hole: it has no end to lie before";
    }
    const absl::Status status = node->CheckIntact();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_ + "' has shrunk since it was opened, by somebody who "
                                                                 "does not heed its lock: from 65536 to 5000 bytes"));
  }
}

TEST_P(FileNodeTest, AHoleAtTheEndOfAFileThatHasShrunkEndsThere) {
  WriteSparseFile(path_, kSize, {});
  const std::shared_ptr<Node> node = Open();
  const auto edge = Edge(node, {.user = "client"});
  if (StatusOf(*edge, 0, kSize).stored) GTEST_SKIP() << "a file system without holes";
  ASSERT_EQ(truncate(path_.c_str(), 8192), 0);
  const BlockStatus hole = StatusOf(*edge, 4096, 8192);
  EXPECT_TRUE(hole.zero);
  EXPECT_EQ(hole.length, 4096u);
  EXPECT_FALSE(StatusOf(*edge, 8192, 4096).zero);
}

TEST_P(FileNodeTest, ItIsToldWhatOthersHaveDoneToAFileAndItsOwnChangesAreNone) {
  {
    const std::shared_ptr<Node> node = Open();
    const auto edge = Edge(node, {.user = "client", .writes = true});
    EXPECT_EQ(Change(*edge, Kind::kZeroes, 0, 4096), 0);
    ASSERT_TRUE(Await(world_, edge->Resize(kSize * 2)).ok());
    EXPECT_TRUE(node->CheckIntact().ok()) << node->CheckIntact();
    ASSERT_EQ(truncate(path_.c_str(), kSize * 3), 0);
    EXPECT_THAT(std::string(node->CheckIntact().message()), HasSubstr("has grown since"));
  }
  const std::shared_ptr<Node> node = Open({.node = {.name = "", .read_only = true}});
  ASSERT_EQ(chmod(path_.c_str(), 0600), 0);
  ASSERT_EQ(rename(path_.c_str(), dir_.Path("elsewhere").c_str()), 0);
  EXPECT_TRUE(node->CheckIntact().ok()) << node->CheckIntact();
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = 1, .tv_nsec = 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, dir_.Path("elsewhere").c_str(), times, 0), 0);
  EXPECT_THAT(std::string(node->CheckIntact().message()), HasSubstr("has been modified since"));
}

TEST_P(FileNodeTest, ReadOnlyOneRefusesWritersAndDoesNotChangeTheFile) {
  ASSERT_EQ(chmod(path_.c_str(), 0400), 0);
  const auto node = Open({.node = {.name = "disk", .read_only = true}});
  EXPECT_EQ(NodeEdge::Attach(node, {.user = "c", .writes = true}).status().code(), absl::StatusCode::kPermissionDenied);
  const auto edge = Edge(node, {.user = "client"});
  EXPECT_EQ(Change(*edge, Kind::kZeroes, 0, kSize), EROFS);
  EXPECT_EQ(Read(*edge, 0, kSize), Pattern(kSize));
}

TEST_P(FileNodeTest, ResizeChangesTheFile) {
  const auto node = Open();
  const auto edge = Edge(node, {.user = "client", .writes = true});
  ASSERT_TRUE(Await(world_, edge->Resize(kSize + 1000)).ok());
  EXPECT_EQ(node->size(), kSize + 1000);
  EXPECT_EQ(Read(*edge, kSize, 1000), std::string(1000, '\0'));
  ASSERT_TRUE(Await(world_, edge->Resize(100)).ok());
  EXPECT_EQ(ReadFile(path_), Pattern(kSize).substr(0, 100));
  const absl::Status status = Await(world_, edge->Resize(UINT64_MAX));
  EXPECT_THAT(status, Refused(absl::StatusCode::kInvalidArgument, "cannot resize"));
  EXPECT_EQ(node->size(), 100u);
}

TEST_P(FileNodeTest, WriteThatDoesNotFitSaysSo) {
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  if (full < 0) GTEST_SKIP();
  close(full);
  const auto edge = Edge(Open(), {.user = "client", .writes = true});
  EXPECT_EQ(Change(*edge, Kind::kZeroes, kSize, 1), EINVAL);
}

// --- Direct I/O ---

TEST_P(FileNodeTest, DirectRequestsOfAnyAlignmentAreTaken) {
  const auto node = OpenDirect();
  if (node == nullptr) GTEST_SKIP() << "no direct I/O here";
  const auto edge = Edge(node, {.user = "client", .writes = true});
  const std::string data = Pattern(3001, 2);
  EXPECT_EQ(Await(world_, edge->Write(4095, Bytes(data))), 0);
  alignas(4096) static char aligned[8192];
  EXPECT_EQ(Await(world_, edge->Read(4096, std::as_writable_bytes(std::span(aligned)))), 0);
  EXPECT_EQ(std::string(aligned, 3000), data.substr(1));
  std::fill_n(aligned, sizeof(aligned), 'y');
  EXPECT_EQ(Await(world_, edge->Write(4096, std::as_bytes(std::span(aligned)))), 0);
  EXPECT_EQ(Read(*edge, 4097, 100), std::string(100, 'y'));
  ASSERT_EQ(truncate(path_.c_str(), 5000), 0);
  EXPECT_EQ(Await(world_, edge->Read(4096, std::as_writable_bytes(std::span(aligned)))), EIO);
  EXPECT_EQ(Read(*edge, 4096, 904), std::string(904, 'y'));
}

// Each of several writers has the bytes of its own in every page: neighbours share pages and must not lose any.
struct Mixed {
  NodeEdge& edge;
  std::string content;  // each byte is written by one writer only
  int finished = 0;
};

Co<void> WriteMixed(Mixed& mixed, unsigned seed, uint64_t begin, uint64_t end) {
  std::mt19937 random(seed);
  char* const page = static_cast<char*>(std::aligned_alloc(4096, 8192));
  for (int i = 0; i < 60; ++i) {
    const uint64_t offset = begin + random() % (end - begin);
    const uint64_t length = std::min<uint64_t>(1 + random() % 3000, end - offset);
    uint64_t from = offset, bytes = length;
    if (random() % 2 == 0) {  // whole pages, if there are any of our own
      const uint64_t first = (begin + 4095) / 4096 * 4096;
      if (first + 4096 <= end) from = first, bytes = 4096;
    }
    std::fill_n(page, bytes, static_cast<char>(random()));
    mixed.content.replace(from, bytes, page, bytes);
    EXPECT_EQ(co_await mixed.edge.Write(from, std::as_bytes(std::span(page, bytes))), 0);
    std::string text(bytes, '?');
    EXPECT_EQ(co_await mixed.edge.Read(from, std::as_writable_bytes(std::span(text))), 0);
    EXPECT_EQ(text, std::string(page, bytes));
  }
  std::free(page);
  ++mixed.finished;
}

TEST_P(FileNodeTest, DirectAndBufferedWritesOfNeighboursLoseNothing) {
  const auto node = OpenDirect();
  if (node == nullptr) GTEST_SKIP() << "no direct I/O here";
  const auto edge = Edge(node, {.user = "client", .writes = true});
  Mixed mixed{.edge = *edge, .content = Pattern(kSize)};
  constexpr uint64_t kPart = 5500;  // a whole page each, and parts of those of the neighbours
  constexpr int kWriters = 8;
  for (unsigned i = 0; i < kWriters; ++i) Spawn("writer", WriteMixed(mixed, i, i * kPart, (i + 1) * kPart));
  ASSERT_TRUE(world_.RunUntil([&] { return mixed.finished == kWriters; }));
  EXPECT_EQ(Read(*edge, 0, kSize), mixed.content);
  EXPECT_EQ(ReadFile(path_), mixed.content);
}

TEST(FileNode, DirectWritesOfAdjacentPagesAreInFlightTogether) {
  TestWorld world;
  const TempDir dir;
  WriteFile(dir.Path("disk"), Pattern(kSize));
  ManualEngine engine;
  const auto node = OpenFileNode(
      world.core(), {.node = {.name = "disk"}, .filename = dir.Path("disk"), .engine = &engine, .direct = true});
  if (!node.ok()) GTEST_SKIP() << node.status();
  const auto edge = Edge(*node, {.user = "client", .writes = true});
  alignas(4096) static char pages[8192];
  const std::span<const std::byte> bytes = std::as_bytes(std::span(pages));
  engine.Hold();
  Started<int> a(edge->Write(0, bytes.first(4096)));
  Started<int> b(edge->Write(4096, bytes.last(4096)));
  EXPECT_EQ(engine.queued(), 2u);
  Started<int> c(edge->Write(8000, bytes.first(10)));  // shares the second page
  EXPECT_EQ(engine.queued(), 2u);
  engine.Release();
  ASSERT_TRUE(world.RunUntil([&] { return a.done() && b.done() && c.done(); }));
  EXPECT_EQ(*a + *b + *c, 0);
}

// --- Opening ---

absl::Status Opening(TestWorld& world, IoEngine& engine, const std::string& path, bool read_only) {
  FileOptions options{.node = {.name = "disk", .read_only = read_only}, .filename = path, .engine = &engine};
  return OpenFileNode(world.core(), std::move(options)).status();
}

TEST(FileNode, WhatIsNoImageIsRefusedWithItsNameAndKind) {
  TestWorld world;
  const TempDir dir;
  ManualEngine engine;
  ASSERT_EQ(mkfifo(dir.Path("pipe").c_str(), 0600), 0);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  dir.Path("socket").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  close(listener);
  for (const bool read_only : {false, true}) {
    EXPECT_THAT(Opening(world, engine, dir.Path("missing"), read_only),
                Refused(absl::StatusCode::kNotFound, "missing'"));
    EXPECT_THAT(Opening(world, engine, dir.path(), read_only),
                Refused(absl::StatusCode::kInvalidArgument, "a directory"));
    EXPECT_THAT(Opening(world, engine, dir.Path("pipe"), read_only),
                Refused(absl::StatusCode::kInvalidArgument, "a pipe"));
    EXPECT_THAT(Opening(world, engine, dir.Path("socket"), read_only),
                Refused(absl::StatusCode::kInvalidArgument, "a socket"));
    EXPECT_THAT(Opening(world, engine, "/dev/null", read_only),
                Refused(absl::StatusCode::kInvalidArgument, "a character device"));
  }
}

TEST(FileNode, NeedsAnEngine) {
  TestWorld world;
  const TempDir dir;
  WriteFile(dir.Path("disk"), "x");
  EXPECT_THAT(OpenFileNode(world.core(), {.node = {.name = "disk"}, .filename = dir.Path("disk")}).status(),
              Refused(absl::StatusCode::kInvalidArgument, "Node 'disk' was given no engine"));
}

TEST(FileNode, FlushDoesNothingIfItNeedNot) {
  TestWorld world;
  const TempDir dir;
  WriteFile(dir.Path("disk"), Pattern(512));
  ManualEngine engine;
  for (const bool no_flush : {true, false}) {
    const auto node =
        OpenFileNode(world.core(),
                     {.node = {.name = "disk"}, .filename = dir.Path("disk"), .engine = &engine, .no_flush = no_flush});
    ASSERT_TRUE(node.ok()) << node.status();
    EXPECT_EQ(Await(world, Edge(*node, {.user = "client"})->Flush()), 0);
    EXPECT_EQ(engine.submitted(), no_flush ? 0u : 1u);
  }
}

TEST(FileNode, WritesZerosWhereTheFileSystemHasNoCallForThat) {
  TestWorld world;
  const TempDir dir;
  const uint64_t size = (uint64_t{2} << 20) + 5000;
  WriteFile(dir.Path("disk"), std::string(size, 'x'));
  ManualEngine engine;  // knows neither holes nor zero ranges
  const auto node = OpenFileNode(
      world.core(), {.node = {.name = "disk"}, .filename = dir.Path("disk"), .engine = &engine, .discard = true});
  ASSERT_TRUE(node.ok()) << node.status();
  const auto edge = Edge(*node, {.user = "client", .writes = true});
  for (const bool may_unmap : {false, true}) {
    EXPECT_EQ(
        Await(world, edge->Change({.kind = Kind::kZeroes, .offset = 7, .length = size - 9, .may_unmap = may_unmap})),
        0);
    EXPECT_EQ(ReadFile(dir.Path("disk")), std::string(7, 'x') + std::string(size - 9, '\0') + "xx");
  }
  EXPECT_EQ(Await(world, edge->Change({.kind = Kind::kDiscard, .offset = 0, .length = 7})), 0);
  EXPECT_EQ(ReadFile(dir.Path("disk")).substr(0, 7), std::string(7, 'x'));  // need not free anything
}

}  // namespace
}  // namespace jobcore::block
