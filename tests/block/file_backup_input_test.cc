// SPDX-License-Identifier: Apache-2.0
//
// What MakeFileBackup refuses, before anything is written.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "block/child_process.h"
#include "block/test_files.h"
#include "job-common/io_engine.h"
#include "job-driver/block/file_backup.h"
#include "job-driver/job_driver.h"

namespace jobcore {
namespace {

using jobcore_test::InChild;
using jobcore_test::Pattern;
using jobcore_test::ReadFile;
using jobcore_test::TempDir;
using jobcore_test::WriteFile;
using jobcore_test::WriteSparseFile;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FileBackupInputTest : public ::testing::Test {
 protected:
  FileBackupInputTest() { WriteFile(source_, "content"); }

  absl::Status Check(FileBackupOptions options) {
    options.engine = engine_.get();
    return MakeFileBackup(std::move(options)).status();
  }
  absl::Status CheckTarget(const std::string& target, bool force = false) {
    return Check({.source = source_, .target = target, .force = force});
  }

  const TempDir dir_;
  const std::string source_ = dir_.Path("source");
  const std::string target_ = dir_.Path("target");
  const std::unique_ptr<IoEngine> engine_ = IoEngine::ThreadPool(1);
};

#define EXPECT_REFUSED(status, expected_code, ...)                         \
  do {                                                                     \
    const absl::Status refused = (status);                                 \
    EXPECT_EQ(refused.code(), absl::StatusCode::expected_code) << refused; \
    EXPECT_THAT(std::string(refused.message()), AllOf(__VA_ARGS__));       \
  } while (false)

TEST_F(FileBackupInputTest, GoodInputIsAcceptedAndNothingIsWrittenYet) {
  EXPECT_TRUE(CheckTarget(target_).ok());
  EXPECT_THAT(dir_.Names(), ElementsAre("source"));
}

TEST_F(FileBackupInputTest, MissingSourceIsNamed) {
  EXPECT_REFUSED(Check({.source = dir_.Path("nope"), .target = target_}), kNotFound, HasSubstr("nope'"),
                 HasSubstr("No such file or directory"));
  EXPECT_REFUSED(Check({.source = "", .target = target_}), kInvalidArgument, HasSubstr("source: empty"));
}

TEST_F(FileBackupInputTest, SourceMustBeARegularFile) {
  EXPECT_REFUSED(Check({.source = dir_.path(), .target = target_}), kInvalidArgument, HasSubstr(dir_.path()),
                 HasSubstr("is a directory"));
  EXPECT_REFUSED(Check({.source = "/dev/null", .target = target_}), kInvalidArgument, HasSubstr("character device"));
  const std::string fifo = dir_.Path("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_REFUSED(Check({.source = fifo, .target = target_}), kInvalidArgument, HasSubstr("is a pipe"));
}

TEST_F(FileBackupInputTest, UnreadableSourceAndUnwritableDirectoryAreNamed) {
  ASSERT_EQ(chmod(dir_.path().c_str(), 0755), 0);
  ASSERT_EQ(chmod(source_.c_str(), 0), 0);
  WriteFile(dir_.Path("readable"), "x");
  ASSERT_EQ(mkdir(dir_.Path("open").c_str(), 0777), 0);
  ASSERT_EQ(chmod(dir_.Path("open").c_str(), 0777), 0);
  ASSERT_EQ(mkdir(dir_.Path("closed").c_str(), 0555), 0);
  InChild([&] {
    if (geteuid() == 0 && seteuid(65534) != 0) return false;
    EXPECT_REFUSED(Check({.source = source_, .target = dir_.Path("open/target")}), kPermissionDenied,
                   HasSubstr("source'"), HasSubstr("Permission denied"));
    EXPECT_REFUSED(Check({.source = dir_.Path("readable"), .target = dir_.Path("closed/target")}), kPermissionDenied,
                   HasSubstr("closed'"), HasSubstr("Permission denied"));
    EXPECT_TRUE(Check({.source = dir_.Path("readable"), .target = dir_.Path("open/target")}).ok());
    return true;
  });
}

TEST_F(FileBackupInputTest, SourceAndTargetMustNotBeTheSameFileUnderAnyName) {
  const std::string hard = dir_.Path("hard");
  const std::string soft = dir_.Path("soft");
  ASSERT_EQ(link(source_.c_str(), hard.c_str()), 0);
  ASSERT_EQ(symlink("source", soft.c_str()), 0);
  for (const std::string& same : {source_, dir_.path() + "/./source", hard, soft}) {
    EXPECT_REFUSED(CheckTarget(same, /*force=*/true), kInvalidArgument, HasSubstr(same),
                   HasSubstr("is the same file as the source"));
    EXPECT_REFUSED(CheckTarget(same), kInvalidArgument, HasSubstr("is the same file as the source"));
  }
  EXPECT_REFUSED(Check({.source = soft, .target = hard, .force = true}), kInvalidArgument,
                 HasSubstr("is the same file as the source"));
  EXPECT_EQ(ReadFile(source_), "content");
}

TEST_F(FileBackupInputTest, ExistingTargetNeedsForce) {
  WriteFile(target_, "old");
  EXPECT_REFUSED(CheckTarget(target_), kAlreadyExists, HasSubstr("target'"), HasSubstr("exists"));
  EXPECT_TRUE(CheckTarget(target_, /*force=*/true).ok());
  EXPECT_EQ(ReadFile(target_), "old");
}

TEST_F(FileBackupInputTest, DanglingLinkCountsAsExisting) {
  ASSERT_EQ(symlink("nowhere", target_.c_str()), 0);
  EXPECT_REFUSED(CheckTarget(target_), kAlreadyExists, HasSubstr("exists"));
  EXPECT_TRUE(CheckTarget(target_, /*force=*/true).ok());
}

TEST_F(FileBackupInputTest, TargetMustNotBeADirectoryOrASpecialFile) {
  ASSERT_EQ(mkdir(target_.c_str(), 0755), 0);
  const std::string link = dir_.Path("link");
  ASSERT_EQ(symlink("target", link.c_str()), 0);
  for (const bool force : {false, true}) {
    EXPECT_REFUSED(CheckTarget(target_, force), kInvalidArgument, HasSubstr("is a directory"));
    EXPECT_REFUSED(CheckTarget(link, force), kInvalidArgument, HasSubstr("is a directory"));
    EXPECT_REFUSED(CheckTarget("/dev/null", force), kInvalidArgument, HasSubstr("character device"));
    EXPECT_REFUSED(CheckTarget(target_ + "/", force), kInvalidArgument, HasSubstr("name of a directory"));
    EXPECT_REFUSED(CheckTarget("..", force), kInvalidArgument, HasSubstr("name of a directory"));
    EXPECT_REFUSED(CheckTarget("", force), kInvalidArgument, HasSubstr("target: empty"));
  }
}

TEST_F(FileBackupInputTest, TargetsDirectoryMustBeThere) {
  EXPECT_REFUSED(CheckTarget(dir_.Path("nope/target")), kNotFound, HasSubstr("nope'"),
                 HasSubstr("No such file or directory"));
  EXPECT_REFUSED(CheckTarget(source_ + "/target"), kFailedPrecondition, HasSubstr("source'"),
                 HasSubstr("Not a directory"));
}

TEST_F(FileBackupInputTest, TooLongNameIsRefused) {
  EXPECT_REFUSED(CheckTarget(dir_.Path(std::string(300, 'x'))), kInvalidArgument, HasSubstr("File name too long"));
}

TEST_F(FileBackupInputTest, NamesAreShownHarmlessly) {
  EXPECT_REFUSED(Check({.source = dir_.Path("a\n\x1b[2Jb"), .target = target_}), kNotFound, HasSubstr("a\\n\\033[2Jb"));
}

TEST_F(FileBackupInputTest, NumbersMustMakeSense) {
  const auto check = [&](int in_flight, size_t chunk_bytes) {
    return Check({.source = source_, .target = target_, .in_flight = in_flight, .chunk_bytes = chunk_bytes});
  };
  for (const int in_flight : {0, -1, FileBackupOptions::kMaxInFlight + 1}) {
    EXPECT_REFUSED(check(in_flight, 65536), kInvalidArgument, HasSubstr("in flight"));
  }
  for (const size_t chunk_bytes :
       {size_t{0}, FileBackupOptions::kMinChunkBytes - 1, FileBackupOptions::kMaxChunkBytes + 1}) {
    EXPECT_REFUSED(check(1, chunk_bytes), kInvalidArgument, HasSubstr("chunks of"));
  }
  EXPECT_TRUE(check(1, FileBackupOptions::kMinChunkBytes).ok());
  EXPECT_TRUE(check(FileBackupOptions::kMaxInFlight, FileBackupOptions::kMaxChunkBytes).ok());
  EXPECT_REFUSED(MakeFileBackup({.source = source_, .target = target_}).status(), kInvalidArgument,
                 HasSubstr("no I/O engine"));
}

TEST_F(FileBackupInputTest, FileSystemMustHaveRoomForTheDataButNotForTheHoles) {
  WriteFile(dir_.Path("big"), Pattern(size_t{2} << 20));
  WriteSparseFile(dir_.Path("sparse"), uint64_t{1} << 30, {{0, "x"}});
  const std::string small = dir_.Path("small");
  ASSERT_EQ(mkdir(small.c_str(), 0755), 0);
  const bool ran = InChild([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", small.c_str(), "tmpfs", 0, "size=1m") != 0) {
      return false;
    }
    EXPECT_REFUSED(Check({.source = dir_.Path("big"), .target = small + "/target"}), kResourceExhausted,
                   HasSubstr("small/target'"), HasSubstr("2097152 bytes are needed, 1048576 are available"));
    EXPECT_TRUE(Check({.source = dir_.Path("sparse"), .target = small + "/target"}).ok());
    return true;
  });
  if (!ran && !HasFailure()) GTEST_SKIP() << "may not mount";
}

}  // namespace
}  // namespace jobcore
