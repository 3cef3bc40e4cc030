// SPDX-License-Identifier: Apache-2.0
//
// Jobs on file nodes: the engine copies from file to file, what jobs do is in the background, and what cannot be copied
// so is read and written.

#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "block/manual_engine.h"
#include "block/node_world.h"
#include "block/test_files.h"
#include "block/test_nodes.h"
#include "job-common/io_engine.h"
#include "job-driver/block/file_node.h"
#include "job-driver/block/raw_node.h"
#include "job-driver/block/write_filter.h"

namespace jobcore::block {
namespace {

using namespace jobcore_test;
using Op = IoRequest::Op;

constexpr uint64_t kSize = 4 << 20;

// Two files with their nodes, and what the engine was asked for.
class FileCopyTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteFile(dir_.Path("disk"), Pattern(kSize));
    WriteFile(dir_.Path("copy"), std::string(kSize, '?'));
  }
  std::shared_ptr<Node> Open(const std::string& name, IoEngine& engine) {
    absl::StatusOr<std::shared_ptr<Node>> node =
        OpenFileNode(world_.core(), {.node = {.name = name}, .filename = dir_.Path(name), .engine = &engine});
    EXPECT_TRUE(node.ok()) << node.status();
    return *std::move(node);
  }
  // A mirror of the one to the other, until it has come to its end.
  std::string Mirror(const std::shared_ptr<Node>& source, const std::shared_ptr<Node>& target,
                     MirrorOptions::CopyMode mode = MirrorOptions::CopyMode::kBackground) {
    const JobRef job = world_.Mirror({.id = "m"}, {.source = source, .target = target, .copy_mode = mode});
    EXPECT_TRUE(world_.RunUntilStatus(job, "ready"));
    EXPECT_TRUE(world_.Cancel(job, CancelMode::kSoft).ok());
    EXPECT_TRUE(world_.RunUntilNull(job));
    return world_.Outcome(job);
  }
  std::string Copy() { return ReadFile(dir_.Path("copy")); }
  int Count(Op op) const {
    int n = 0;
    for (const auto& [what, count] : asked_)
      if (what.first == op) n += count;
    return n;
  }
  int CountInForeground() const {
    int n = 0;
    for (const auto& [what, count] : asked_)
      if (what.second == IoUrgency::kForeground) n += count;
    return n;
  }

  const TempDir dir_;
  std::map<std::pair<Op, IoUrgency>, int> asked_;  // of engine_
  int copies_fail_with_ = 0;
  ManualEngine engine_{[this](const IoRequest& request) {
    ++asked_[{request.op, request.urgency}];
    return request.op == Op::kCopyData ? copies_fail_with_ : 0;
  }};
  NodeWorld world_;
};

TEST_F(FileCopyTest, TheEngineCopiesInTheBackground) {
  EXPECT_EQ(Mirror(Open("disk", engine_), Open("copy", engine_)), "succeeded");
  EXPECT_EQ(Copy(), Pattern(kSize));
  EXPECT_EQ(Count(Op::kCopyData), 4);
  EXPECT_EQ(Count(Op::kRead) + Count(Op::kWrite), 0);
  EXPECT_EQ((asked_[{Op::kCopyData, IoUrgency::kForeground}]), 0);
}

TEST_F(FileCopyTest, WhatTheEngineCannotCopyIsReadAndWritten) {
  const auto source = Open("disk", engine_);
  const auto target = Open("copy", engine_);
  for (const int error : {EOPNOTSUPP, EIO}) {
    asked_.clear();
    copies_fail_with_ = error;
    WriteFile(dir_.Path("copy"), std::string(kSize, '?'));
    EXPECT_EQ(Mirror(source, target), "succeeded");
    EXPECT_EQ(Copy(), Pattern(kSize));
    EXPECT_EQ(Count(Op::kRead), 4);
    EXPECT_EQ(Count(Op::kWrite), 4);
    EXPECT_EQ((asked_[{Op::kRead, IoUrgency::kForeground}]) + (asked_[{Op::kWrite, IoUrgency::kForeground}]), 0);
  }
}

TEST_F(FileCopyTest, FilesOfTwoEnginesAreReadAndWritten) {
  ManualEngine other;
  EXPECT_EQ(Mirror(Open("disk", engine_), Open("copy", other)), "succeeded");
  EXPECT_EQ(Copy(), Pattern(kSize));
  EXPECT_EQ(Count(Op::kCopyData), 0);
}

TEST_F(FileCopyTest, ANodeUponAFileIsReadAndWrittenInTheBackground) {
  absl::StatusOr<std::shared_ptr<Node>> raw =
      MakeRawNode(world_.core(), {.node = {.name = "raw"}, .file = Open("disk", engine_)});
  ASSERT_TRUE(raw.ok()) << raw.status();
  EXPECT_EQ(Mirror(*raw, Open("copy", engine_)), "succeeded");
  EXPECT_EQ(Copy(), Pattern(kSize));
  EXPECT_GT((asked_[{Op::kRead, IoUrgency::kBackground}]), 0);
  EXPECT_EQ((asked_[{Op::kRead, IoUrgency::kForeground}]), 0);
}

TEST_F(FileCopyTest, WhatAWriteBlockingMirrorsClientsMayHaveToWaitForIsCopiedInTheForeground) {
  using enum MirrorOptions::CopyMode;
  EXPECT_EQ(Mirror(Open("disk", engine_), Open("copy", engine_), kWriteBlocking), "succeeded");
  EXPECT_EQ(Copy(), Pattern(kSize));
  EXPECT_EQ((asked_[{Op::kCopyData, IoUrgency::kForeground}]), 4);
  EXPECT_EQ((asked_[{Op::kCopyData, IoUrgency::kBackground}]), 0);
}

TEST_F(FileCopyTest, WhatAClientIsAboutToOverwriteIsCopiedInTheForeground) {
  const auto source = Open("disk", engine_);
  const auto target = Open("copy", engine_);
  const JobRef job =
      world_.Backup({.id = "b"}, {.source = source, .target = target, .sync = BackupOptions::Sync::kNone});
  {
    const auto client = Edge(source, {.user = "client", .writes = true});
    const std::string text = "new";
    EXPECT_EQ(world_.Await(client->Write(100'000, Bytes(text))), 0);
  }
  EXPECT_EQ((asked_[{Op::kCopyData, IoUrgency::kForeground}]), 1);
  EXPECT_EQ((asked_[{Op::kWrite, IoUrgency::kForeground}]), 1);
  EXPECT_TRUE(world_.Cancel(job).ok());
  EXPECT_TRUE(world_.RunUntilNull(job));
  EXPECT_EQ(Copy().substr(65536, 65536), Pattern(kSize).substr(65536, 65536));
}

// What passes a filter of the target is seen by it: data and all.
class SeeingFilter final : public WriteFilter {
 public:
  Co<int> Write(const Admission& in, NodeWrite write, Below& below) override {
    seen += write.data.size();
    return below.Write(in, write);
  }
  size_t seen = 0;
};

TEST_F(FileCopyTest, FiltersOfTheTargetSeeWhatIsWritten) {
  const auto target = Open("copy", engine_);
  const auto filter = std::make_shared<SeeingFilter>();
  {
    const DrainedSection section = world_.Drain({&target->resource()});
    target->AddFilter(section, filter);
  }
  EXPECT_EQ(Mirror(Open("disk", engine_), target), "succeeded");
  EXPECT_EQ(filter->seen, kSize);
  target->RemoveFilter(*filter);
}

}  // namespace
}  // namespace jobcore::block
