// SPDX-License-Identifier: Apache-2.0
//
// A source that somebody changes who does not heed its lock: no job calls the copy whole.

#include <sys/stat.h>

#include <memory>
#include <string>
#include <utility>

#include "block/node_world.h"
#include "block/test_files.h"
#include "gmock/gmock.h"
#include "job-common/io_engine.h"
#include "job-driver/block/fault_node.h"
#include "job-driver/block/file_node.h"
#include "job-driver/block/raw_node.h"

namespace jobcore::block {
namespace {

using jobcore_test::Pattern;
using jobcore_test::TempDir;
using jobcore_test::WriteFile;
using ::testing::HasSubstr;

class ChangedSource : public ::testing::Test {
 protected:
  static constexpr uint64_t kSize = 256 * kKiB;

  // Upon two others, which ask the file.
  std::shared_ptr<Node> OpenSource() {
    WriteFile(path_, Pattern(kSize));
    const FileOptions file = {.node = {.name = "file", .read_only = true}, .filename = path_, .engine = engine_.get()};
    const std::shared_ptr<Node> image = *OpenFileNode(world_.core(), file);
    const RawOptions raw = {.node = {.name = "raw", .read_only = true}, .file = image};
    const FaultOptions faulty = {.node = {.name = "disk", .read_only = true},
                                 .image = *MakeRawNode(world_.core(), raw)};
    return *MakeFaultNode(world_.core(), faulty);
  }
  void Modify() {
    const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = 1, .tv_nsec = 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, path_.c_str(), times, 0), 0);
  }

  const TempDir dir_;
  const std::string path_ = dir_.Path("disk.img");
  const std::unique_ptr<IoEngine> engine_ = IoEngine::ThreadPool(1);
  NodeWorld world_{0};
};

TEST_F(ChangedSource, FailsABackupAndAMirror) {
  {
    const auto target = world_.Disk("copy", kSize);
    const std::shared_ptr<Node> source = OpenSource();
    absl::StatusOr<JobRef> backup =
        world_.Await(CreateBackup(world_.core(), {.id = "b"}, {.source = source, .target = target}));
    ASSERT_TRUE(backup.ok()) << backup.status();
    Modify();
    ASSERT_TRUE(StartJob(**backup).ok());
    ASSERT_TRUE(world_.RunUntilNull(*backup));
    EXPECT_THAT(world_.Outcome(*backup), HasSubstr("disk.img' has been modified since it was opened"));
  }
  const auto target = world_.Disk("copy", kSize);
  const std::shared_ptr<Node> source = OpenSource();
  const JobRef mirror = world_.Mirror({.id = "m"}, {.source = source, .target = target});
  ASSERT_TRUE(world_.RunUntilStatus(mirror, "ready"));
  Modify();
  ASSERT_TRUE(world_.Complete(mirror).ok());
  ASSERT_TRUE(world_.RunUntilNull(mirror));
  EXPECT_THAT(world_.Outcome(mirror), HasSubstr("disk.img' has been modified since it was opened"));
}

TEST_F(ChangedSource, ErrorOfReadingWhatHasBeenCutOffNamesTheFileAndItsSizes) {
  const auto target = world_.Disk("copy", kSize);
  const std::shared_ptr<Node> source = OpenSource();
  ASSERT_EQ(truncate(path_.c_str(), 4096), 0);
  const JobRef mirror = world_.Mirror({.id = "m"}, {.source = source, .target = target});
  ASSERT_TRUE(world_.RunUntilNull(mirror));
  EXPECT_THAT(world_.Outcome(mirror), HasSubstr("disk.img' has shrunk since it was opened, by somebody who does not "
                                                "heed its lock: from 262144 to 4096 bytes"));
}

}  // namespace
}  // namespace jobcore::block
