// SPDX-License-Identifier: Apache-2.0
//
// Nothing is lost, as programs see it that other people have written: fio writes and verifies through NBD, and nbdcopy
// copies to and fro, while the images behind both exports, each in its I/O thread, are mirrored and switched over,
// cancelled, backed up, and moved to the other thread.

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "block/child_process.h"
#include "block/node_world.h"
#include "block/seeds.h"
#include "block/test_files.h"
#include "job-common/io_engine.h"
#include "job-driver/block/file_node.h"
#include "job-driver/nbd/server.h"

namespace jobcore::nbd {
namespace {

using block::kKiB;
using block::Node;
using jobcore_test::ChildProcess;
using jobcore_test::ReadFile;

bool Finds(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

class RealStorm {
 public:
  static constexpr uint64_t kSize = 4096 * kKiB;

  explicit RealStorm(uint32_t seed) : world_(2, seed) {
    auto started = Server::Start(world_.core(), {.address = Address::Unix(socket_)});
    EXPECT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    for (size_t i = 0; i < images_.size(); ++i) {
      Image& image = images_[i];
      image = Open(i);
      const std::string name(1, static_cast<char>('a' + i));
      EXPECT_TRUE(server_->Add({.id = name, .node = image.node, .name = name, .writable = true}).ok());
    }
  }
  ~RealStorm() {
    server_->Shutdown();
    EXPECT_TRUE(world_.RunUntil([&] { return server_->stopped(); }, "the end of the server"));
  }

  // Clients come and go, for about so many rounds.
  void Run(int rounds) {
    // fio reads what it has written after each pass.
    std::vector<std::unique_ptr<ChildProcess>> writers;
    for (const char* name : {"a", "b"}) writers.push_back(Fio(name));
    for (int round = 0; !testing::Test::HasFailure(); ++round) {
      const bool all_ended = writers[0]->Ended() && writers[1]->Ended();
      if (all_ended && round >= rounds) break;
      const size_t which = world_.Below(2);
      ChildProcess reader({"nbdcopy", Uri(which == 0 ? "a" : "b"), dir_.Path("read")});
      Mirror(which);
      Move(1 - which);
      ASSERT_TRUE(world_.RunUntil([&] { return reader.Ended(); }, "nbdcopy"));
      EXPECT_EQ(reader.Wait(), 0) << reader.err();
    }
    for (const auto& writer : writers) {
      EXPECT_EQ(writer->Wait(), 0) << writer->out() << writer->err();
      EXPECT_NE(writer->out().find("err= 0"), std::string::npos) << writer->out();
    }
    // And what a copy is told is what is in the images that the exports lead to in the end.
    for (size_t i = 0; i < images_.size(); ++i) {
      const std::string name(1, static_cast<char>('a' + i));
      ChildProcess copy({"nbdcopy", Uri(name), dir_.Path("last")});
      ASSERT_TRUE(world_.RunUntil([&] { return copy.Ended(); }, "nbdcopy"));
      EXPECT_EQ(copy.Wait(), 0) << copy.err();
      EXPECT_TRUE(ReadFile(dir_.Path("last")) == ReadFile(images_[i].path)) << name;
    }
  }

 private:
  struct Image {
    std::string path;
    std::shared_ptr<Node> node;
  };

  std::string Uri(const std::string& name) const { return "nbd+unix:///" + name + "?socket=" + socket_; }
  std::unique_ptr<ChildProcess> Fio(const std::string& name) {
    return std::make_unique<ChildProcess>(std::vector<std::string>{
        "fio", "--ioengine=nbd", "--uri=" + Uri(name), "--rw=randrw", "--bsrange=512-32k", "--blockalign=512",
        "--size=1m", "--offset_increment=1m", "--numjobs=4", "--thread", "--iodepth=4", "--loops=4", "--verify=crc32c",
        "--fsync=16", "--name=verify", "--directory=" + dir_.path(), "--verify_state_save=0"});
  }
  Image Open(size_t context) {
    Image image{.path = dir_.Path("image" + std::to_string(number_++)), .node = nullptr};
    jobcore_test::WriteSparseFile(image.path, kSize, {});
    auto opened = block::OpenFileNode(world_.core(), {.node = {.name = image.path.substr(image.path.rfind('/') + 1),
                                                               .context = world_.io(context).shared_from_this()},
                                                      .filename = image.path,
                                                      .engine = engine_.get(),
                                                      .no_flush = true,
                                                      .discard = true});
    EXPECT_TRUE(opened.ok()) << opened.status();
    image.node = *std::move(opened);
    return image;
  }
  void Move(size_t which) {
    const absl::Status moved =
        world_.Await(block::MoveNode(images_[which].node, world_.io(world_.Below(2)).shared_from_this()));
    EXPECT_TRUE(moved.ok()) << moved;
  }
  void Mirror(size_t which) {
    using CopyMode = block::MirrorOptions::CopyMode;
    Image& source = images_[which];
    Image target = Open(world_.Below(2));
    const std::string id = "mirror" + std::to_string(number_);
    const JobRef job =
        world_.Mirror({.id = id}, {.source = source.node,
                                   .target = target.node,
                                   .copy_mode = world_.Below(2) == 0 ? CopyMode::kBackground : CopyMode::kWriteBlocking,
                                   .granularity = uint64_t{4096} << world_.Below(5)});
    if (world_.Below(2) == 0) Move(which);
    ASSERT_TRUE(world_.RunUntilStatus(job, "ready"));
    const uint32_t end = world_.Below(4);
    ASSERT_TRUE(end == 0   ? world_.Cancel(job, CancelMode::kForce).ok()
                : end == 1 ? world_.Cancel(job, CancelMode::kSoft).ok()
                           : world_.Complete(job).ok());
    ASSERT_TRUE(world_.RunUntilNull(job));
    EXPECT_EQ(world_.Outcome(job), end == 0 ? "cancelled" : "succeeded");
    if (end > 1) std::swap(source, target);
    target.node.reset();
    unlink(target.path.c_str());  // who still used it now would be found out
  }

  jobcore_test::TempDir dir_;
  const std::string socket_ = dir_.Path("nbd.sock");
  const std::unique_ptr<IoEngine> engine_ = IoEngine::ThreadPool(2);
  block::NodeWorld world_;
  std::vector<Image> images_{2};
  std::unique_ptr<Server> server_;
  int number_ = 0;
};

TEST(NbdRealStorm, ProgramsFindWhatTheyHaveWritten) {
  if (!Finds("command -v nbdcopy") || !Finds("fio --enghelp 2>&1 | grep -qw nbd")) {
    GTEST_SKIP() << "needs nbdcopy, and fio with its nbd engine";
  }
  jobcore_test::ForEachSeed(2, [](uint32_t seed) { RealStorm(seed).Run(4); });
}

}  // namespace
}  // namespace jobcore::nbd
