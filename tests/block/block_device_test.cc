// SPDX-License-Identifier: Apache-2.0
//
// Block devices as nodes, and as targets of `jobctl mirror`: overwritten in place, and only if nobody else has them.
// Skipped where no loop device is to be had.

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/child_process.h"
#include "block/jobctl_path.h"
#include "block/test_files.h"
#include "block/test_nodes.h"
#include "block/unique_fd.h"
#include "gmock/gmock.h"
#include "job-common/io_engine.h"
#include "job-driver/block/file_node.h"

namespace jobcore::block {
namespace {

using internal::UniqueFd;
using jobcore_test::ChildProcess;
using jobcore_test::JobctlPath;
using jobcore_test::Pattern;
using jobcore_test::ReadFile;
using jobcore_test::TempDir;
using jobcore_test::WriteFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr size_t kSize = size_t{1} << 20;

// A file as a block device.
class LoopDevice {
 public:
  explicit LoopDevice(const std::string& filename) {
    const UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    const UniqueFd file(open(filename.c_str(), O_RDWR | O_CLOEXEC));
    constexpr int kAttempts = 10;  // somebody else may take it first
    for (int i = 0; i < kAttempts && control && file; ++i) {
      const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
      if (number < 0) return;
      path_ = absl::StrCat("/dev/loop", number);
      device_ = UniqueFd(open(path_.c_str(), O_RDWR | O_CLOEXEC));
      if (device_ && ioctl(device_.get(), LOOP_SET_FD, file.get()) == 0) return;
      device_ = UniqueFd();
    }
  }
  ~LoopDevice() {
    if (device_) ioctl(device_.get(), LOOP_CLR_FD);
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;

  explicit operator bool() const { return static_cast<bool>(device_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  UniqueFd device_;
};

class BlockDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteFile(file_, Pattern(kSize, 1));
    device_ = std::make_unique<LoopDevice>(file_);
    if (!*device_) GTEST_SKIP() << "no loop device here";
  }
  absl::Status OpenNode(bool read_only) {
    return OpenFileNode(
               world_.core(),
               {.node = {.name = "disk", .read_only = read_only}, .filename = device_->path(), .engine = engine_.get()})
        .status();
  }
  // As a mount has it.
  UniqueFd Mounted() const { return UniqueFd(open(device_->path().c_str(), O_RDWR | O_EXCL | O_CLOEXEC)); }

  const TempDir dir_;
  const std::string file_ = dir_.Path("behind");
  std::unique_ptr<LoopDevice> device_;
  const std::unique_ptr<IoEngine> engine_ = IoEngine::ThreadPool(1);
  jobcore::TestWorld world_;
};

TEST_F(BlockDeviceTest, ADeviceThatIsMountedCanBeReadAndNotBeWritten) {
  EXPECT_TRUE(OpenNode(/*read_only=*/false).ok());
  const UniqueFd mounted = Mounted();
  ASSERT_TRUE(mounted);
  EXPECT_TRUE(OpenNode(/*read_only=*/true).ok());
  const absl::Status refused = OpenNode(/*read_only=*/false);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("for writing: it is mounted"));
}

TEST_F(BlockDeviceTest, JobctlOverwritesADeviceInPlaceOnlyWithForceAndIfItIsNotMounted) {
  if (JobctlPath().empty()) GTEST_SKIP() << "JOBCTL_PATH is not set";
  const std::string source = dir_.Path("source");
  const std::string link = dir_.Path("link");
  WriteFile(source, Pattern(kSize, 2));
  ASSERT_EQ(symlink(device_->path().c_str(), link.c_str()), 0);
  const auto mirror = [&](const std::vector<std::string>& arguments) {
    std::vector<std::string> command = {JobctlPath(), "mirror", source};
    command.insert(command.end(), arguments.begin(), arguments.end());
    ChildProcess child(command);
    const int exit_status = child.Wait();
    return absl::StrCat(exit_status, " ", child.err());
  };
  EXPECT_THAT(mirror({device_->path()}), HasSubstr("is a block device; --force overwrites its content"));
  {
    const UniqueFd mounted = Mounted();
    EXPECT_THAT(mirror({"--force", device_->path()}), HasSubstr("it is mounted"));
  }
  EXPECT_TRUE(ReadFile(file_) == Pattern(kSize, 1));
  EXPECT_EQ(mirror({"--force", link}), "0 ") << "a link to a device is none that could be replaced by a file";
  EXPECT_TRUE(ReadFile(device_->path()) == Pattern(kSize, 2));
  EXPECT_THAT(dir_.Names(), ElementsAre("behind", "link", "source"));
  WriteFile(source, "short");
  EXPECT_THAT(mirror({"--force", link}), HasSubstr("has 1048576 bytes, but its source"));
}

}  // namespace
}  // namespace jobcore::block
