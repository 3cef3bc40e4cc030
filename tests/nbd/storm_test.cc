// SPDX-License-Identifier: Apache-2.0
//
// Nothing is lost: NBD clients write through two exports of a node, in their own threads, while the node is mirrored
// and switched over, moved between I/O threads, backed up. They vanish, stall and come again in the middle of it. What
// was acknowledged to them is where the users of the node are at the end.

#include <memory>
#include <string>
#include <vector>

#include "block/node_world.h"
#include "block/test_files.h"
#include "job-driver/nbd/server.h"
#include "nbd/nbd_writer.h"

namespace jobcore::nbd {
namespace {

using block::kKiB;
using block::MemoryNode;

class NbdStorm : public ::testing::TestWithParam<uint32_t> {
 protected:
  static constexpr uint64_t kSize = 256 * kKiB;
  static constexpr size_t kWriters = 4;

  void SetUp() override {
    auto started = Server::Start(world.core(), {.address = Address::Unix(dir.Path("nbd.sock"))});
    ASSERT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
    for (const char* name : {"a", "b"}) {
      ASSERT_TRUE(server->Add({.id = name, .node = disk, .name = name, .writable = true}).ok());
    }
  }
  void TearDown() override {
    writers.clear();
    server->Shutdown();
    EXPECT_TRUE(world.RunUntil([&] { return server->stopped(); }, "the end of the server"));
  }
  void StartWriters() {
    for (size_t i = 0; i < kWriters; ++i) {
      writers.push_back(
          std::make_unique<NbdWriter>(NbdWriter::Options{.socket = dir.Path("nbd.sock"),
                                                         .name = i % 2 == 0 ? "a" : "b",
                                                         .first = i,
                                                         .step = kWriters,
                                                         .blocks = kSize / NbdWriter::kBlock / kWriters,
                                                         .seed = GetParam() * 100 + static_cast<uint32_t>(i)}));
    }
  }
  uint64_t Acknowledged() const {
    uint64_t sum = 0;
    for (const auto& writer : writers) sum += writer->acknowledged();
    return sum;
  }
  // They go on.
  void LetWritersWork() {
    for (const auto& writer : writers) {
      const uint64_t enough = writer->acknowledged() + 5;
      ASSERT_TRUE(world.RunUntil([&] { return writer->acknowledged() >= enough || !writer->running(); }, "a writer"));
      ASSERT_EQ(writer->problem(), "");
    }
  }
  void StopWriters() {
    for (const auto& writer : writers) writer->Stop();
    for (const auto& writer : writers) {
      ASSERT_TRUE(world.RunUntil([&] { return !writer->running(); }, "the end of a writer"));
    }
    // What those who have vanished have asked for comes to its end, too.
    ASSERT_TRUE(world.RunUntil([&] { return server->connections() == 0; }, "the end of the connections"));
  }
  std::string Name(const char* what) { return what + std::to_string(number++); }

  // A copy of one moment; it cannot be compared with anything, but is in everybody's way.
  JobRef Backup() {
    return world.Backup({.id = Name("backup")}, {.source = disk, .target = world.Disk(Name("moment"), kSize)});
  }
  void Move(uint32_t to) {
    const absl::Status moved =
        world.Await(block::MoveNode(disk, to < 2 ? world.io(to).shared_from_this() : world.main().shared_from_this()));
    EXPECT_TRUE(moved.ok()) << moved;
  }
  // To a new disk, and mostly its users go there.
  void Mirror() {
    using CopyMode = block::MirrorOptions::CopyMode;
    auto target = world.Disk(Name("copy"), kSize, &world.io(world.Below(2)));
    const JobRef job =
        world.Mirror({.id = Name("mirror"), .auto_finalize = world.Below(2) == 0},
                     {.source = disk,
                      .target = target,
                      .copy_mode = world.Below(2) == 0 ? CopyMode::kBackground : CopyMode::kWriteBlocking,
                      .granularity = uint64_t{512} << world.Below(5)});
    if (world.Below(2) == 0) Move(world.Below(3));
    const JobRef backup = world.Below(3) == 0 ? Backup() : JobRef();
    ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
    LetWritersWork();
    const uint32_t end = world.Below(4);
    ASSERT_TRUE(end == 0 ? world.Cancel(job, CancelMode::kSoft).ok() : world.Complete(job).ok());
    ASSERT_TRUE(world.RunUntil(
        [&] {
          (void)world.Finalize(job);
          return world.Status(job) == "null";
        },
        "the end of the mirror"));
    EXPECT_EQ(world.Outcome(job), "succeeded");
    if (end != 0) disk = target;
    if (backup) {
      ASSERT_TRUE(world.RunUntilNull(backup));
    }
  }

  jobcore_test::TempDir dir;
  block::NodeWorld world{2, GetParam()};
  std::shared_ptr<MemoryNode> disk = world.Disk("disk", kSize, &world.io());
  std::unique_ptr<Server> server;
  std::vector<std::unique_ptr<NbdWriter>> writers;
  int number = 0;
};

TEST_P(NbdStorm, LosesNothing) {
  StartWriters();
  int rounds = 0;
  uint64_t vanished = 0;
  const TimePoint end = Clock::System().Now() + std::chrono::milliseconds(600);
  while ((Clock::System().Now() < end || rounds < 3) && !HasFatalFailure()) {
    Mirror();
    LetWritersWork();
    if (world.Below(2) == 0) Move(world.Below(3));
    ++rounds;
  }
  StopWriters();
  const std::vector<std::byte> image = disk->Snapshot();
  for (const auto& writer : writers) {
    EXPECT_EQ(writer->Check(image), "");
    vanished += writer->vanished();
  }
  for (const ExportInfo& info : server->Exports()) EXPECT_EQ(info.node, disk->name());
  RecordProperty("rounds", rounds);
  RecordProperty("acknowledged", static_cast<int>(Acknowledged()));
  RecordProperty("vanished", static_cast<int>(vanished));
}

INSTANTIATE_TEST_SUITE_P(, NbdStorm, ::testing::Range(uint32_t{1}, uint32_t{5}));

}  // namespace
}  // namespace jobcore::nbd
