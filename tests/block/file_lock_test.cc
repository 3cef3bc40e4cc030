// SPDX-License-Identifier: Apache-2.0
//
// The locks of file nodes: among themselves, against locks as QEMU sets them, and against QEMU's own tools.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "block/child_process.h"
#include "block/manual_engine.h"
#include "block/test_files.h"
#include "block/test_nodes.h"
#include "job-driver/block/file_node.h"

namespace jobcore::block {
namespace {

using namespace jobcore_test;
using Locking = FileOptions::Locking;

class FileLock : public testing::Test {
 protected:
  void SetUp() override { WriteFile(path_, Pattern(65536)); }
  absl::StatusOr<std::shared_ptr<Node>> Open(bool read_only, Locking locking = Locking::kAuto) {
    FileOptions options{
        .node = {.name = "disk", .read_only = read_only}, .filename = path_, .engine = &engine_, .locking = locking};
    return OpenFileNode(world_.core(), std::move(options));
  }
  auto IsLocked() { return Refused(absl::StatusCode::kFailedPrecondition, "another process, or another node, "); }

  const TempDir dir_;
  const std::string path_ = dir_.Path("disk.img");
  ManualEngine engine_;
  TestWorld world_;
};

// --- Among nodes ---

TEST_F(FileLock, AllMayRead) {
  const auto a = Open(true);
  const auto b = Open(true);
  EXPECT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
}

TEST_F(FileLock, WriterExcludesEverybodyElseUntilItIsGone) {
  auto writer = Open(false);
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_THAT(Open(true).status(), IsLocked());
  EXPECT_THAT(Open(false).status(), Refused(absl::StatusCode::kFailedPrecondition, "for writing: another process"));
  EXPECT_THAT(Open(true, Locking::kOn).status(), IsLocked());
  EXPECT_TRUE(Open(false, Locking::kOff).ok());   // who does not ask is not told
  EXPECT_THAT(Open(false).status(), IsLocked());  // nor has that one's close let go of the writer's locks
  writer->reset();
  EXPECT_TRUE(Open(false).ok());
}

TEST_F(FileLock, ReaderExcludesWritersButOneThatWasRefusedLeavesNothingBehind) {
  auto reader = Open(true);
  ASSERT_TRUE(reader.ok());
  EXPECT_THAT(Open(false).status(), IsLocked());
  EXPECT_TRUE(Open(true).ok());
  reader->reset();
  EXPECT_TRUE(Open(false).ok());
}

// --- Other processes ---

// A process that locks bytes of the file, shared, as QEMU does: 100 + what it does, 200 + what it does not let others
// do. 0: read, 1: write, 3: resize.
class Locker {
 public:
  Locker(const std::string& path, const std::vector<off_t>& bytes) {
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
      char ok = fd >= 0 ? 'y' : 'n';
      for (const off_t byte : bytes) {
        struct flock lock = {};
        lock.l_type = F_RDLCK;
        lock.l_whence = SEEK_SET;
        lock.l_start = byte;
        lock.l_len = 1;
        if (fcntl(fd, F_OFD_SETLK, &lock) != 0) ok = 'n';
      }
      if (write(ready[1], &ok, 1) != 1) _exit(1);
      for (;;) pause();
    }
    char ok = 'n';
    EXPECT_EQ(read(ready[0], &ok, 1), 1);
    EXPECT_EQ(ok, 'y');
    close(ready[0]);
    close(ready[1]);
  }
  ~Locker() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Locker(const Locker&) = delete;
  Locker& operator=(const Locker&) = delete;

 private:
  pid_t pid_;
};

TEST_F(FileLock, LocksOfAnotherProcessSayWhatMayBeDoneHere) {
  struct Case {
    std::vector<off_t> bytes;
    bool reader;
    bool writer;
  };
  const Case cases[] = {
      {{}, true, true},
      {{100}, true, true},            // reads, and bears everything
      {{101}, false, false},          // writes
      {{103}, false, false},          // resizes
      {{200}, false, false},          // bears no readers
      {{201}, true, false},           // bears no writers
      {{203}, true, false},           // bears no one who resizes
      {{100, 201, 203}, true, false}  // a reader as ours
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(testing::PrintToString(c.bytes));
    const Locker locker(path_, c.bytes);
    EXPECT_EQ(Open(true).ok(), c.reader);
    EXPECT_EQ(Open(false).ok(), c.writer);
    EXPECT_TRUE(Open(false, Locking::kOff).ok());
  }
  EXPECT_TRUE(Open(false).ok());  // they are gone with their process
}

int RunTool(const std::vector<std::string>& command) {
  const pid_t pid = fork();
  if (pid == 0) {
    const int null = open("/dev/null", O_RDWR);
    for (const int fd : {0, 1, 2}) dup2(null, fd);
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

TEST_F(FileLock, ToolsOfQemuAreKeptOutByAWriterAndWritersByAReader) {
  if (RunTool({"qemu-io", "--version"}) != 0 || RunTool({"qemu-img", "--version"}) != 0)
    GTEST_SKIP() << "not installed";
  const std::vector<std::string> read = {"qemu-io", "-r", "-f", "raw", "-c", "read 0 512", path_};
  const std::vector<std::string> write = {"qemu-io", "-f", "raw", "-c", "write 0 512", path_};
  const std::vector<std::string> info = {"qemu-img", "info", "-f", "qcow2", path_};
  // A format whose readers bear no writers; those of raw images do, and are let in.
  ASSERT_EQ(RunTool({"qemu-img", "create", "-q", "-f", "qcow2", path_, "1M"}), 0);
  {
    const auto writer = Open(false);
    ASSERT_TRUE(writer.ok()) << writer.status();
    EXPECT_NE(RunTool(write), 0);
    EXPECT_NE(RunTool(info), 0);
  }
  {
    const auto reader = Open(true);
    ASSERT_TRUE(reader.ok()) << reader.status();
    EXPECT_EQ(RunTool(read), 0);
    EXPECT_NE(RunTool(write), 0);
    EXPECT_EQ(RunTool(info), 0);
  }
  EXPECT_EQ(RunTool(write), 0);
}

TEST_F(FileLock, NodesAreKeptOutByAToolOfQemuThatWrites) {
  if (RunTool({"qemu-io", "--version"}) != 0) GTEST_SKIP() << "not installed";
  ChildProcess tool({"qemu-io", "-f", "raw", path_});
  tool.Send("write 0 512\n");  // it has the file open from here on
  ASSERT_TRUE(tool.ReadLine().has_value());
  EXPECT_THAT(Open(true).status(), IsLocked());
  EXPECT_THAT(Open(false).status(), IsLocked());
}

}  // namespace
}  // namespace jobcore::block
