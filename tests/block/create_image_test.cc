// SPDX-License-Identifier: Apache-2.0
//
// Create jobs: the image is there as it is to be, or not at all, and one that is in use is left alone.

#include "job-driver/block/create_image.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "block/manual_engine.h"
#include "block/test_files.h"
#include "gmock/gmock.h"
#include "job-common/io_engine.h"
#include "job-common/job_txn.h"
#include "job-driver/block/file_node.h"
#include "support/job_test_util.h"

namespace jobcore::block {
namespace {

using jobcore_test::Exists;
using jobcore_test::ManualEngine;
using jobcore_test::ReadFile;
using jobcore_test::Stat;
using jobcore_test::TempDir;
using jobcore_test::WriteFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Op = IoRequest::Op;
using Preallocation = CreateImageOptions::Preallocation;

constexpr uint64_t kMiB = uint64_t{1} << 20;

class CreateImageTest : public ::testing::Test {
 protected:
  JobRef Create(CreateImageOptions options, JobSpec spec = {.id = "create"}) {
    if (options.filename.empty()) options.filename = path_;
    if (options.engine == nullptr) options.engine = engine_.get();
    absl::StatusOr<std::unique_ptr<JobDriver>> driver = MakeCreateImage(std::move(options));
    EXPECT_TRUE(driver.ok()) << driver.status();
    absl::StatusOr<JobRef> job = CreateJob(world_.core(), spec, *std::move(driver));
    EXPECT_TRUE(job.ok()) << job.status();
    EXPECT_TRUE(StartJob(**job).ok());
    return *std::move(job);
  }
  std::string Run(CreateImageOptions options) {
    const JobRef job = Create(std::move(options));
    EXPECT_TRUE(world_.RunUntilNull(job));
    last_progress_ = job->progress().Get();
    return world_.Outcome(job);
  }

  const TempDir dir_;
  const std::string path_ = dir_.Path("new.img");
  const std::unique_ptr<IoEngine> engine_ = IoEngine::Best(2);
  TestWorld world_;
  ProgressSnapshot last_progress_;
};

TEST_F(CreateImageTest, AnImageIsAHoleOfItsSizeUnlessAskedForMore) {
  EXPECT_EQ(Run({.size = 3 * kMiB + 5}), "succeeded");
  EXPECT_EQ(Stat(path_).st_size, static_cast<off_t>(3 * kMiB + 5));
  EXPECT_EQ(Stat(path_).st_blocks, 0);
  EXPECT_THAT(dir_.Names(), ElementsAre("new.img"));
  EXPECT_EQ(last_progress_.total, 0u) << "nothing is preallocated";
  EXPECT_TRUE(last_progress_.total_known);
}

TEST_F(CreateImageTest, AnImageMayBeEmpty) {
  for (const Preallocation how : {Preallocation::kOff, Preallocation::kFalloc, Preallocation::kFull}) {
    EXPECT_EQ(Run({.preallocation = how, .replace = true}), "succeeded");
    EXPECT_EQ(Stat(path_).st_size, 0);
  }
}

TEST_F(CreateImageTest, AFullImageIsOfZerosThatTakeRoom) {
  EXPECT_EQ(Run({.size = 3 * kMiB + 5, .preallocation = Preallocation::kFull}), "succeeded");
  EXPECT_TRUE(ReadFile(path_) == std::string(3 * kMiB + 5, '\0'));
  EXPECT_GE(Stat(path_).st_blocks * 512, static_cast<off_t>(3 * kMiB));
  EXPECT_EQ(last_progress_.current, 3 * kMiB + 5);
  EXPECT_EQ(last_progress_.total, 3 * kMiB + 5);
}

TEST_F(CreateImageTest, RoomThatIsSetAsideIsTakenAndReadsAsZeros) {
  const std::string outcome = Run({.size = 130 * kMiB + 5, .preallocation = Preallocation::kFalloc});
  if (outcome != "succeeded") {
    EXPECT_THAT(outcome, HasSubstr("preallocation 'off' or 'full' would work"));
    EXPECT_THAT(dir_.Names(), IsEmpty());
    GTEST_SKIP() << "not on this file system";
  }
  EXPECT_EQ(Stat(path_).st_size, static_cast<off_t>(130 * kMiB + 5));
  EXPECT_GE(Stat(path_).st_blocks * 512, static_cast<off_t>(130 * kMiB));
  EXPECT_EQ(last_progress_.current, 130 * kMiB + 5);
}

TEST_F(CreateImageTest, WhatTheProcessDoesNotGrantIsNotGranted) {
  const mode_t before = umask(027);
  EXPECT_EQ(Run({.size = 512}), "succeeded");
  umask(before);
  EXPECT_EQ(Stat(path_).st_mode & 0777, 0640u);
}

TEST_F(CreateImageTest, AnImageIsNobodyElsesIfItIsToBe) {
  EXPECT_EQ(Run({.size = 512, .mode = 0600}), "succeeded");
  EXPECT_EQ(Stat(path_).st_mode & 0777, 0600u);
}

TEST_F(CreateImageTest, AnImageThatExistsStaysAsItIsUnlessItIsToBeReplaced) {
  WriteFile(path_, "precious");
  EXPECT_THAT(Run({.size = 512}), StartsWith("failed: target '" + path_ + "' exists"));
  EXPECT_EQ(ReadFile(path_), "precious");
  EXPECT_EQ(Run({.size = 4, .replace = true}), "succeeded");
  EXPECT_EQ(ReadFile(path_), std::string(4, '\0'));
  EXPECT_THAT(dir_.Names(), ElementsAre("new.img"));
}

TEST_F(CreateImageTest, AnImageInUseIsNotReplaced) {
  WriteFile(path_, "precious");
  FileOptions options = {.node = {.name = "disk", .read_only = true}, .filename = path_, .engine = engine_.get()};
  absl::StatusOr<std::shared_ptr<Node>> node = OpenFileNode(world_.core(), options);
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_THAT(Run({.size = 4, .replace = true}), HasSubstr("cannot use '" + path_ + "' for writing: another process"));
  EXPECT_EQ(ReadFile(path_), "precious");
  node->reset();
  EXPECT_EQ(Run({.size = 4, .replace = true}), "succeeded");
}

TEST_F(CreateImageTest, AnImageThatIsTakenIntoUseWhileTheJobWaitsForItsGroupIsNotReplaced) {
  WriteFile(path_, "old");
  const JobRef job = Create({.size = 4, .replace = true}, {.id = "create", .auto_finalize = false});
  ASSERT_TRUE(world_.RunUntilStatus(job, "pending"));
  // The one that the job has locked has gone; this is another one.
  ASSERT_EQ(unlink(path_.c_str()), 0);
  WriteFile(path_, "precious");
  FileOptions options = {.node = {.name = "disk"}, .filename = path_, .engine = engine_.get()};
  const absl::StatusOr<std::shared_ptr<Node>> node = OpenFileNode(world_.core(), options);
  ASSERT_TRUE(node.ok()) << node.status();
  ASSERT_TRUE(world_.Finalize(job).ok());
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_THAT(world_.Outcome(job), HasSubstr("another process, or another node, uses it"));
  EXPECT_EQ(ReadFile(path_), "precious");
  EXPECT_THAT(dir_.Names(), ElementsAre("new.img"));
}

TEST_F(CreateImageTest, NobodyBeginsToUseAnImageThatIsAboutToBeReplaced) {
  WriteFile(path_, "old");
  const JobRef job = Create({.size = 4, .replace = true}, {.id = "create", .auto_finalize = false});
  ASSERT_TRUE(world_.RunUntilStatus(job, "pending"));
  FileOptions options = {.node = {.name = "disk"}, .filename = path_, .engine = engine_.get()};
  EXPECT_EQ(OpenFileNode(world_.core(), options).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(world_.Finalize(job).ok());
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_EQ(world_.Outcome(job), "succeeded");
  EXPECT_TRUE(OpenFileNode(world_.core(), options).ok());
}

TEST_F(CreateImageTest, AMissingDirectoryFailsTheJob) {
  EXPECT_THAT(Run({.filename = dir_.Path("no/such/new.img"), .size = 512}), HasSubstr("No such file or directory"));
}

TEST_F(CreateImageTest, WhatIsNoFileIsLeftAlone) {
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
  EXPECT_THAT(Run({.size = 512, .replace = true}), HasSubstr("directory"));
  EXPECT_THAT(Run({.filename = "/dev/null", .size = 512, .replace = true}), StartsWith("failed"));
  EXPECT_TRUE(S_ISCHR(Stat("/dev/null").st_mode));
}

TEST_F(CreateImageTest, ACancelledJobLeavesNothing) {
  ManualEngine engine;
  engine.Hold();
  const JobRef job = Create({.size = 8 * kMiB, .preallocation = Preallocation::kFull, .engine = &engine});
  ASSERT_TRUE(world_.RunUntil([&] { return engine.queued() == 1; }, "a write"));
  EXPECT_EQ(dir_.Names().size(), 1u) << "the hidden file";
  ASSERT_TRUE(world_.Cancel(job).ok());
  engine.Release();
  ASSERT_TRUE(world_.RunUntilNull(job));
  EXPECT_EQ(world_.Outcome(job), "cancelled");
  EXPECT_EQ(engine.submitted(), 1u);
  EXPECT_THAT(dir_.Names(), IsEmpty());
}

TEST_F(CreateImageTest, AFullDiskFailsTheJobAndLeavesNothing) {
  ManualEngine engine([](const IoRequest& r) { return r.op == Op::kWrite && r.offset == 2 * kMiB ? ENOSPC : 0; });
  EXPECT_THAT(Run({.size = 8 * kMiB, .preallocation = Preallocation::kFull, .engine = &engine}),
              HasSubstr("cannot preallocate '" + path_ + "' at offset 2097152: No space left on device"));
  EXPECT_THAT(dir_.Names(), IsEmpty());
}

TEST_F(CreateImageTest, AFileSystemThatCannotSetRoomAsideIsNotGivenZerosInstead) {
  ManualEngine engine([](const IoRequest& r) { return r.op == Op::kAllocate ? EOPNOTSUPP : 0; });
  EXPECT_THAT(Run({.size = kMiB, .preallocation = Preallocation::kFalloc, .engine = &engine}),
              HasSubstr("preallocation 'off' or 'full' would work"));
  EXPECT_THAT(dir_.Names(), IsEmpty());
}

TEST_F(CreateImageTest, AnImageLeavesWithAGroupThatFails) {
  JobTxnBuilder group(world_.core());
  CreateImageOptions good = {.filename = path_, .size = 512, .engine = engine_.get()};
  CreateImageOptions bad = {.filename = dir_.Path("no/such"), .size = 512, .engine = engine_.get()};
  const absl::StatusOr<JobRef> a = CreateJob(world_.core(), {.id = "a", .group = &group}, *MakeCreateImage(good));
  const absl::StatusOr<JobRef> b = CreateJob(world_.core(), {.id = "b", .group = &group}, *MakeCreateImage(bad));
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(StartJob(**a).ok());
  ASSERT_TRUE(world_.RunUntilStatus(*a, "waiting"));
  ASSERT_TRUE(StartJob(**b).ok());
  ASSERT_TRUE(world_.RunUntilNull(*a));
  EXPECT_THAT(dir_.Names(), IsEmpty());
}

TEST_F(CreateImageTest, BadInputIsRefusedBeforeThereIsAJob) {
  const auto check = [&](CreateImageOptions options) { return MakeCreateImage(std::move(options)).status(); };
  EXPECT_EQ(check({.filename = "", .engine = engine_.get()}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(check({.filename = path_}).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status large = check({.filename = path_, .size = uint64_t{1} << 63, .engine = engine_.get()});
  EXPECT_EQ(large.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(large.message()), HasSubstr("at most 9223372036854775807"));
  EXPECT_FALSE(Exists(path_));
}

}  // namespace
}  // namespace jobcore::block
