// SPDX-License-Identifier: Apache-2.0
//
// The end of a mirror, for which clients have to wait: as little as possible, and not for ever.

#include <chrono>
#include <string>
#include <vector>

#include "block/test_nodes.h"
#include "job-driver/block/mirror.h"

namespace jobcore::block {
namespace {

using namespace jobcore_test;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr uint64_t kSize = uint64_t{4} << 20;

class MirrorEnd : public ::testing::Test {
 protected:
  // A mirror that waits for its group's finalize; it has been told to switch over.
  JobRef Pending() {
    JobSpec spec = {.id = "m", .auto_finalize = false};
    spec.drain_timeout = std::chrono::seconds(10);
    const MirrorOptions options = {.source = source_, .target = target_};
    absl::StatusOr<JobRef> job = Await(world_, CreateMirror(world_.core(), spec, options));
    EXPECT_TRUE(job.ok()) << job.status();
    EXPECT_TRUE(StartJob(**job).ok());
    EXPECT_TRUE(world_.RunUntilStatus(*job, "ready"));
    EXPECT_TRUE(world_.Complete(*job).ok());
    EXPECT_TRUE(world_.RunUntilStatus(*job, "pending"));
    return *std::move(job);
  }
  void Write(uint64_t offset, uint64_t length) {
    const std::string text(length, 'x');
    EXPECT_EQ(Await(world_, client_->Write(offset, Bytes(text))), 0);
  }

  TestWorld world_{{.virtual_time = true}};
  std::shared_ptr<MemoryNode> source_ = MemoryNode::Make(world_, "disk", kSize);
  std::shared_ptr<MemoryNode> target_ = MemoryNode::Make(world_, "copy", kSize);
  std::unique_ptr<NodeEdge> client_ = Edge(source_, {.user = "client", .writes = true});
};

TEST_F(MirrorEnd, WhatIsThereIsFlushedBeforeClientsHaveToWait) {
  const JobRef job = Pending();
  EXPECT_THAT(target_->log(), Contains("flush"));
  const size_t before = target_->log().size();
  Write(0, 512);
  ASSERT_TRUE(world_.Finalize(job).ok());
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_EQ(world_.Outcome(job), "succeeded");
  // And what has been written since: copied, and flushed again.
  const std::vector<std::string> log = target_->log();
  EXPECT_EQ(log.back(), "flush");
  EXPECT_EQ(log.size(), before + 2);
  EXPECT_EQ(client_->node(), target_);
}

TEST_F(MirrorEnd, ClientsDoNotWaitLongerThanTheTimeoutForTheRest) {
  const JobRef job = Pending();
  for (uint64_t offset = 0; offset < kSize; offset += kSize / 4) Write(offset, kSize / 4);
  target_->before = [this] {
    world_.clock().Advance(std::chrono::seconds(6));
    return Co<void>();
  };
  ASSERT_TRUE(world_.Finalize(job).ok());
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_THAT(world_.Outcome(job), HasSubstr("users of node 'disk' have waited for the end of the mirror for 10 s, and "
                                             "2097152 bytes are still to be copied; they stay there"));
  EXPECT_EQ(client_->node(), source_);
  target_->before = nullptr;
  Write(0, 512);
  EXPECT_EQ(source_->content(0, 512), std::string(512, 'x'));
}

}  // namespace
}  // namespace jobcore::block
