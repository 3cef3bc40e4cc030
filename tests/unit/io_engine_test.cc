// SPDX-License-Identifier: Apache-2.0

#include "job-common/io_engine.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "aio/uring_engine.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/iothread.h"
#include "job-common/task_scope.h"

namespace jobcore {
namespace {

using internal::MakeUringEngine;

class File {
 public:
  File() : fd_(memfd_create("io_engine_test", MFD_CLOEXEC)) { EXPECT_GE(fd_, 0); }
  ~File() { close(fd_); }
  int fd() const { return fd_; }

 private:
  const int fd_;
};

std::span<const std::byte> Bytes(const std::string& s) { return std::as_bytes(std::span(s)); }
std::span<std::byte> Bytes(std::string& s) { return std::as_writable_bytes(std::span(s)); }

// What every engine does alike.
struct EngineCase {
  const char* name;
  absl::StatusOr<std::unique_ptr<IoEngine>> (*make)();
};

// Runs coroutines in a loop of this thread until `done`.
class IoEngineTest : public ::testing::TestWithParam<EngineCase> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<IoEngine>> engine = GetParam().make();
    if (!engine.ok()) GTEST_SKIP() << engine.status();
    engine_ = *std::move(engine);
  }
  static bool IsUring() { return std::string_view(GetParam().name).starts_with("Uring"); }
  void RunUntilDone() {
    while (!done_) context_->RunOnce(true);
  }

  std::unique_ptr<IoEngine> engine_;
  const std::shared_ptr<AioContext> context_ = AioContext::Create({});
  const AioHome home_{*context_};
  File file_;
  bool done_ = false;
};

INSTANTIATE_TEST_SUITE_P(
    Engines, IoEngineTest,
    ::testing::Values(EngineCase{"ThreadPool",
                                 [] { return absl::StatusOr<std::unique_ptr<IoEngine>>(IoEngine::ThreadPool(2)); }},
                      EngineCase{"Best", [] { return absl::StatusOr<std::unique_ptr<IoEngine>>(IoEngine::Best(2)); }},
                      EngineCase{"Uring", [] { return IoEngine::Uring(2); }},
                      EngineCase{"UringWithRoomForThree", [] { return MakeUringEngine({.entries = 4}); }},
                      EngineCase{"UringAllByKernelThreads", [] { return MakeUringEngine({.async_bytes = 0}); }}),
    [](const auto& info) { return info.param.name; });

TEST_P(IoEngineTest, WhatWasWrittenIsReadBack) {
  Spawn("io", [](IoEngine& engine, int fd, bool& done) -> Co<void> {
    const std::string out = "hello, disk";
    IoResult r = co_await Write(engine, fd, 3, Bytes(out));
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, out.size());
    r = co_await DataSync(engine, fd);
    EXPECT_EQ(r.error, 0);
    r = co_await FileSync(engine, fd);
    EXPECT_EQ(r.error, 0);
    std::string in(out.size(), '\0');
    r = co_await Read(engine, fd, 3, Bytes(in));
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, in.size());
    EXPECT_EQ(in, out);
    done = true;
  }(*engine_, file_.fd(), done_));
  RunUntilDone();
}

TEST_P(IoEngineTest, AReadAcrossTheEndOfTheFileIsShortAndNoError) {
  ASSERT_EQ(pwrite(file_.fd(), "12345", 5, 0), 5);
  Spawn("io", [](IoEngine& engine, int fd, bool& done) -> Co<void> {
    std::string in(100, '\0');
    IoResult r = co_await Read(engine, fd, 2, Bytes(in));
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, 3u);
    EXPECT_EQ(in.substr(0, 3), "345");
    r = co_await Read(engine, fd, 500, Bytes(in));
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, 0u);
    r = co_await Read(engine, -1, 0, {});  // nothing to do: not even looked at
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, 0u);
    done = true;
  }(*engine_, file_.fd(), done_));
  RunUntilDone();
}

TEST_P(IoEngineTest, ErrorsComeAsErrno) {
  Spawn("io", [](IoEngine& engine, int fd, bool& done) -> Co<void> {
    std::string buffer(10, 'x');
    EXPECT_EQ((co_await Read(engine, -1, 0, Bytes(buffer))).error, EBADF);
    EXPECT_EQ((co_await Write(engine, -1, 0, Bytes(buffer))).error, EBADF);
    EXPECT_EQ((co_await DataSync(engine, -1)).error, EBADF);
    EXPECT_EQ((co_await FileSync(engine, -1)).error, EBADF);
    EXPECT_EQ((co_await CopyRange(engine, -1, 0, fd, 0, 10)).error, EBADF);
    EXPECT_EQ((co_await CopyRange(engine, fd, 0, -1, 0, 10)).error, EBADF);
    EXPECT_EQ((co_await StartWriteback(engine, -1, 0, 10)).error, EBADF);
    EXPECT_EQ((co_await Evict(engine, -1, 0, 10)).error, EBADF);
    // Nothing, not all up to the end.
    EXPECT_EQ((co_await StartWriteback(engine, -1, 0, 0)).error, 0);
    EXPECT_EQ((co_await Evict(engine, -1, 0, 0)).error, 0);
    // Not at the file position, which -1 means to io_uring.
    EXPECT_EQ((co_await Read(engine, fd, UINT64_MAX, Bytes(buffer))).error, EINVAL);
    EXPECT_EQ((co_await Write(engine, fd, UINT64_MAX, Bytes(buffer))).error, EINVAL);
    done = true;
  }(*engine_, file_.fd(), done_));
  RunUntilDone();
}

TEST_P(IoEngineTest, ADirectoryCanBeSynced) {
  const int directory = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_GE(directory, 0);
  Spawn("io", [](IoEngine& engine, int fd, bool& done) -> Co<void> {
    EXPECT_EQ((co_await FileSync(engine, fd)).error, 0);
    done = true;
  }(*engine_, directory, done_));
  RunUntilDone();
  close(directory);
}

TEST_P(IoEngineTest, ARangeIsCopiedUpToTheEndOfItsFile) {
  ASSERT_EQ(pwrite(file_.fd(), "0123456789", 10, 0), 10);
  File to;
  Spawn("io", [](IoEngine& engine, int from, int to_fd, bool& done) -> Co<void> {
    IoResult r = co_await CopyRange(engine, from, 2, to_fd, 1, 5);
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, 5u);
    r = co_await CopyRange(engine, from, 7, to_fd, 6, 100);
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, 3u);
    r = co_await CopyRange(engine, from, 200, to_fd, 0, 100);
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, 0u);
    done = true;
  }(*engine_, file_.fd(), to.fd(), done_));
  RunUntilDone();
  std::string in(20, '\0');
  EXPECT_EQ(pread(to.fd(), in.data(), in.size(), 0), 9);
  EXPECT_EQ(in.substr(0, 9), std::string("\0"
                                         "23456789",
                                         9));
}

// Which of the first `pages` pages of `fd` are in the page cache.
std::vector<bool> ResidentPages(int fd, size_t pages) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> found(pages);
  void* const map = mmap(nullptr, pages * page, PROT_READ, MAP_SHARED, fd, 0);
  EXPECT_NE(map, MAP_FAILED);
  EXPECT_EQ(mincore(map, pages * page, found.data()), 0);
  munmap(map, pages * page);
  std::vector<bool> resident;
  for (const unsigned char byte : found) resident.push_back((byte & 1) != 0);
  return resident;
}

TEST_P(IoEngineTest, AnEvictedRangeHasLeftThePageCacheAndKeepsItsContent) {
  std::string path = (std::filesystem::temp_directory_path() / "io_engine_test-XXXXXX").string();
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  ASSERT_GE(fd, 0);
  unlink(path.c_str());
  struct statfs system;
  ASSERT_EQ(fstatfs(fd, &system), 0);
  if (system.f_type != EXT4_SUPER_MAGIC && system.f_type != XFS_SUPER_MAGIC) {
    close(fd);
    GTEST_SKIP() << "no file system of which it is known";
  }
  constexpr size_t kPages = 8;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  // One at a time: the kernel may keep what was written together in one piece, which leaves as a whole or not at all.
  for (size_t i = 0; i < kPages; ++i) {
    const std::string text(page, static_cast<char>('a' + i));
    ASSERT_EQ(pwrite(fd, text.data(), page, static_cast<off_t>(i * page)), static_cast<ssize_t>(page));
  }
  EXPECT_THAT(ResidentPages(fd, kPages), ::testing::Each(true));
  Spawn("io", [](IoEngine& engine, int file, size_t size, bool& done) -> Co<void> {
    EXPECT_EQ((co_await Evict(engine, file, 2 * size, 3 * size)).error, 0);
    done = true;
  }(*engine_, fd, page, done_));
  RunUntilDone();
  EXPECT_THAT(ResidentPages(fd, kPages), ::testing::ElementsAre(true, true, false, false, false, true, true, true));
  for (size_t i = 0; i < kPages; ++i) {
    std::string text(page, '\0');
    EXPECT_EQ(pread(fd, text.data(), page, static_cast<off_t>(i * page)), static_cast<ssize_t>(page));
    EXPECT_EQ(text, std::string(page, static_cast<char>('a' + i)));
  }
  close(fd);
}

// Long enough for several turns of any loop, and no multiple of anything.
std::string LongText() {
  std::string text((3 << 20) + 12'345, '\0');
  uint32_t state = 1;
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

void ExpectCopied(AioContext& context, IoEngine& engine, int from, int to) {
  const std::string text = LongText();
  ASSERT_EQ(pwrite(from, text.data(), text.size(), 7), static_cast<ssize_t>(text.size()));
  ASSERT_EQ(ftruncate(from, static_cast<off_t>(7 + text.size())), 0);
  bool done = false;
  Spawn("io", [](IoEngine& engine, int from, int to, size_t size, bool& done) -> Co<void> {
    const IoResult r = co_await CopyRange(engine, from, 7, to, 11, size + 1000);
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, size);
    EXPECT_EQ((co_await StartWriteback(engine, to, 11, size)).error, 0);
    EXPECT_EQ((co_await Evict(engine, to, 11, size)).error, 0);
    done = true;
  }(engine, from, to, text.size(), done));
  while (!done) context.RunOnce(true);
  std::string in(text.size() + 100, '\0');
  EXPECT_EQ(pread(to, in.data(), in.size(), 11), static_cast<ssize_t>(text.size()));
  in.resize(text.size());
  EXPECT_TRUE(in == text);
}

TEST_P(IoEngineTest, ALongRangeIsCopied) {
  const File to;
  ExpectCopied(*context_, *engine_, file_.fd(), to.fd());
}

TEST_P(IoEngineTest, ARangeIsCopiedBetweenFileSystemsOfTwoKindsAndWithinOneOfAThird) {
  // ramfs, of which the engine knows nothing: in a mount name space of its own.
  std::array<int, 2> fds{-1, -1};
  std::thread([&] {
    std::string directory = "/tmp/io_engine_test-XXXXXX";
    if (mkdtemp(directory.data()) == nullptr) return;
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
        mount("none", directory.c_str(), "ramfs", 0, nullptr) == 0) {
      for (int& fd : fds) fd = open(directory.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
      umount2(directory.c_str(), MNT_DETACH);
    }
    rmdir(directory.c_str());
  }).join();
  if (fds[0] < 0) GTEST_SKIP() << "may not mount";
  ExpectCopied(*context_, *engine_, file_.fd(), fds[0]);
  ExpectCopied(*context_, *engine_, fds[0], fds[1]);
  for (const int fd : fds) close(fd);
}

TEST_P(IoEngineTest, DataIsCopiedAsFarAsTheFileGoes) {
  const std::string text = LongText();
  ASSERT_EQ(pwrite(file_.fd(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  const File to;
  Spawn("io", [](IoEngine& engine, int from, int to, size_t size, bool& done) -> Co<void> {
    IoResult r = co_await CopyData(engine, from, 5, to, 2, 1000, IoUrgency::kBackground);
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, 1000u);
    r = co_await CopyData(engine, from, 1005, to, 1002, size);
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, size - 1005);
    EXPECT_EQ((co_await CopyData(engine, -1, 0, to, 0, 10)).error, EBADF);
    done = true;
  }(*engine_, file_.fd(), to.fd(), text.size(), done_));
  RunUntilDone();
  std::string in(text.size(), '?');
  EXPECT_EQ(pread(to.fd(), in.data(), in.size(), 2), static_cast<ssize_t>(text.size() - 5));
  EXPECT_TRUE(in.substr(0, text.size() - 5) == text.substr(5));
}

TEST_P(IoEngineTest, ACopyToAFileThatIsOnlyAppendedToIsRefused) {
  ASSERT_EQ(pwrite(file_.fd(), "0123456789", 10, 0), 10);
  const File to;
  ASSERT_EQ(fcntl(to.fd(), F_SETFL, O_APPEND), 0);
  Spawn("io", [](IoEngine& engine, int from, int to, bool& done) -> Co<void> {
    const IoResult r = co_await CopyRange(engine, from, 0, to, 5, 10);
    EXPECT_EQ(r.error, EBADF);
    EXPECT_EQ(r.bytes, 0u);
    done = true;
  }(*engine_, file_.fd(), to.fd(), done_));
  RunUntilDone();
  EXPECT_EQ(lseek(to.fd(), 0, SEEK_END), 0);
}

TEST_P(IoEngineTest, ACopyThatMayNotGrowItsFileSaysHowFarItCame) {
  const std::string text = LongText();
  ASSERT_EQ(pwrite(file_.fd(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  const File to;
  static constexpr size_t kLimit = (1 << 20) + 77;
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction signal_before = {};
  rlimit before{};
  ASSERT_EQ(sigaction(SIGXFSZ, &ignore, &signal_before), 0);
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit limit{kLimit, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  Spawn("io", [](IoEngine& engine, int from, int to, size_t size, bool& done) -> Co<void> {
    const IoResult r = co_await CopyRange(engine, from, 0, to, 0, size);
    EXPECT_EQ(r.error, EFBIG);
    EXPECT_EQ(r.bytes, kLimit);
    done = true;
  }(*engine_, file_.fd(), to.fd(), text.size(), done_));
  RunUntilDone();
  EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(sigaction(SIGXFSZ, &signal_before, nullptr), 0);
}

TEST_P(IoEngineTest, WhatCannotBeCopiedSaysWhy) {
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  Spawn("io", [](IoEngine& engine, int from, int to, bool& done) -> Co<void> {
    EXPECT_EQ((co_await CopyRange(engine, from, 0, to, 0, 10)).error, EINVAL);
    done = true;
  }(*engine_, file_.fd(), pipe_fds[1], done_));
  RunUntilDone();
  close(pipe_fds[0]);
  close(pipe_fds[1]);
}

TEST_P(IoEngineTest, APipeIsReadUntilTheBufferIsFullOrItEnds) {
  // Short reads in the middle, which files rarely show.
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  ASSERT_EQ(write(pipe_fds[1], "abc", 3), 3);
  bool refused = false;
  Spawn("io", [](IoEngine& engine, int fd, bool& no, bool& done) -> Co<void> {
    std::string in(10, '\0');
    const IoResult r = co_await Read(engine, fd, 0, Bytes(in));
    no = r.error == ESPIPE;
    if (!no) {
      EXPECT_EQ(r.error, 0);
      EXPECT_EQ(r.bytes, 7u);
      EXPECT_EQ(in.substr(0, 7), "abcdefg");
    }
    done = true;
  }(*engine_, pipe_fds[0], refused, done_));
  for (const char* part : {"de", "fg"}) {
    // Until the first part has been read.
    for (int unread = 1; unread > 0 && !done_;) {
      ASSERT_EQ(ioctl(pipe_fds[0], FIONREAD, &unread), 0);
      context_->RunOnce(false);
    }
    if (!done_) {
      ASSERT_EQ(write(pipe_fds[1], part, 2), 2);
    }
  }
  close(pipe_fds[1]);
  RunUntilDone();
  close(pipe_fds[0]);
  EXPECT_TRUE(!refused || !IsUring()) << "pread refuses pipes, io_uring does not";
}

// Each of `tasks` at a time writes, copies, reads and compares a block of its own.
Co<void> WriteCopyRead(IoEngine& engine, int fd, int to_fd, int i, int& completed) {
  const uint64_t offset = 512u * static_cast<unsigned>(i);
  std::array<std::byte, 512> out{};
  out.fill(static_cast<std::byte>(i * 7 + 1));
  IoResult r = co_await Write(engine, fd, offset, out);
  EXPECT_EQ(r.bytes, out.size());
  r = co_await CopyRange(engine, fd, offset, to_fd, offset, out.size());
  EXPECT_EQ(r.bytes, out.size());
  std::array<std::byte, 512> in{};
  r = co_await Read(engine, to_fd, offset, in);
  EXPECT_EQ(r.bytes, in.size());
  EXPECT_TRUE(in == out) << i;
  ++completed;
}

Co<void> ManyInFlight(IoEngine& engine, int fd, int to_fd, int first, int count, size_t in_flight, int& completed) {
  TaskScope tasks;
  for (int i = first; i < first + count; ++i) {
    tasks.Spawn(WriteCopyRead(engine, fd, to_fd, i, completed));
    co_await tasks.AtMost(in_flight - 1);
  }
  co_await tasks.AtMost(0);
}

TEST_P(IoEngineTest, ManyRequestsInFlightAllComplete) {
  File to;
  int completed = 0;
  Spawn("all", [](IoEngine& engine, int fd, int to_fd, int& n, bool& done) -> Co<void> {
    co_await ManyInFlight(engine, fd, to_fd, 0, 2000, 700, n);  // more than any ring has room for
    done = true;
  }(*engine_, file_.fd(), to.fd(), completed, done_));
  RunUntilDone();
  EXPECT_EQ(completed, 2000);
}

TEST_P(IoEngineTest, SeveralThreadsUseItAtOnce) {
  File to;
  std::array<int, 2> completed{};
  std::array<std::promise<AioContext*>, 2> ended;
  IOThread io0("io0");
  IOThread io1("io1");
  const std::array<IOThread*, 2> threads{&io0, &io1};
  for (size_t t = 0; t < threads.size(); ++t) {
    threads[t]->context().Post("start", [&, t] {
      Spawn("all",
            [](IoEngine& engine, int fd, int to_fd, int first, int& n, std::promise<AioContext*>& p) -> Co<void> {
              co_await ManyInFlight(engine, fd, to_fd, first, 1000, 20, n);
              p.set_value(AioContext::Current());
            }(*engine_, file_.fd(), to.fd(), static_cast<int>(t) * 1000, completed[t], ended[t]));
    });
  }
  for (size_t t = 0; t < threads.size(); ++t) {
    EXPECT_EQ(ended[t].get_future().get(), &threads[t]->context());
    EXPECT_EQ(completed[t], 1000);
  }
}

TEST_P(IoEngineTest, ARequestAfterAPauseIsNotForgotten) {
  // Every time the engine has gone to sleep, or is about to.
  Spawn("io", [](IoEngine& engine, int fd, bool& done) -> Co<void> {
    std::string in(1, '\0');
    for (int i = 0; i < 3000; ++i) {
      const IoResult r = co_await Read(engine, fd, 0, Bytes(in));
      EXPECT_EQ(r.error, 0);
      for (int spin = 0; spin < i % 64 * 16; ++spin) std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    done = true;
  }(*engine_, file_.fd(), done_));
  RunUntilDone();
}

TEST_P(IoEngineTest, AnEngineMayBeDestroyedOnceTheLastRequestHasCompleted) {
  for (int i = 0; i < 50; ++i) {
    std::unique_ptr<IoEngine> engine = *GetParam().make();
    bool done = false;
    Spawn("io", [](std::unique_ptr<IoEngine>& e, int fd, bool& d) -> Co<void> {
      std::string in(1, '\0');
      co_await Read(*e, fd, 0, Bytes(in));
      e.reset();
      d = true;
    }(engine, file_.fd(), done));
    while (!done) context_->RunOnce(true);
  }
}

TEST_P(IoEngineTest, ACoroutineGoesOnInTheThreadWhereItAwaited) {
  IOThread io("io");
  std::promise<AioContext*> resumed_in;
  io.context().Post("start", [&] {
    Spawn("io", [](IoEngine& engine, int fd, std::promise<AioContext*>& p) -> Co<void> {
      std::string in(1, '\0');
      co_await Read(engine, fd, 0, Bytes(in));
      p.set_value(AioContext::Current());
    }(*engine_, file_.fd(), resumed_in));
  });
  EXPECT_EQ(resumed_in.get_future().get(), &io.context());
}

// R-67..R-69: what the kernel has of a request outlives the thread that made it.
TEST_P(IoEngineTest, ARequestOutlivesTheThreadThatMadeIt) {
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  IoResult result{.error = -1};
  Co<void> co = [](IoEngine& engine, int fd, IoResult& r, bool& done) -> Co<void> {
    std::string in(3, '\0');
    r = co_await Read(engine, fd, 0, Bytes(in));
    done = true;
  }(*engine_, pipe_fds[0], result, done_);
  CoRoot root([](CoRoot&) {});
  const std::shared_ptr<AioContext> context = AioContext::Create({.name = "wandering"});
  std::thread([&] {
    const AioHome home(*context);
    root.Start(co);
  }).join();
  ASSERT_EQ(write(pipe_fds[1], "abc", 3), 3);
  std::thread([&] {
    const AioHome home(*context);
    while (!done_) context->RunOnce(true);
  }).join();
  if (IsUring()) {  // pread refuses pipes
    EXPECT_EQ(result.error, 0);
    EXPECT_EQ(result.bytes, 3u);
  } else {
    EXPECT_TRUE(result.error == 0 || result.error == ESPIPE) << result.error;
  }
  close(pipe_fds[0]);
  close(pipe_fds[1]);
}

// a signal that interrupts the sleep of the engine, or that of the loop, is no completion, and none is
// lost.
TEST_P(IoEngineTest, SignalsDisturbNoRequest) {
  IOThread io("io");  // like the engine's threads, and unlike the others, it takes the signals
  struct sigaction handler = {};
  handler.sa_handler = [](int) {};
  struct sigaction before = {};
  ASSERT_EQ(sigaction(SIGUSR1, &handler, &before), 0);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGUSR1);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &signals, nullptr), 0);
  std::atomic<bool> stop{false};
  std::thread storm([&] {
    while (!stop) {
      kill(getpid(), SIGUSR1);
      std::this_thread::yield();
    }
  });
  std::promise<void> done;
  io.context().Post("start", [&] {
    Spawn("io", [](IoEngine& engine, int fd, std::promise<void>& p) -> Co<void> {
      for (uint64_t i = 0; i < 1000; ++i) {
        std::string byte(1, static_cast<char>(i));
        const IoResult written = co_await Write(engine, fd, i, Bytes(std::as_const(byte)));
        EXPECT_EQ(written.error, 0);
        EXPECT_EQ(written.bytes, 1u);
        std::string in(1, '\0');
        const IoResult read = co_await Read(engine, fd, i, Bytes(in));
        EXPECT_EQ(read.error, 0);
        EXPECT_EQ(read.bytes, 1u);
        EXPECT_EQ(in, byte);
      }
      p.set_value();
    }(*engine_, file_.fd(), done));
  });
  done.get_future().wait();
  stop = true;
  storm.join();
  handler.sa_handler = SIG_IGN;  // forgets what is pending
  EXPECT_EQ(sigaction(SIGUSR1, &handler, nullptr), 0);
  EXPECT_EQ(pthread_sigmask(SIG_UNBLOCK, &signals, nullptr), 0);
  EXPECT_EQ(sigaction(SIGUSR1, &before, nullptr), 0);
}

// From now on `syscall` fails with `error`, in this thread and in those that it starts.
bool Forbid(int syscall, int error) {
  const std::array<sock_filter, 4> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(syscall), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{program.size(), const_cast<sock_filter*>(program.data())};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(UringEngine, WhereTheKernelRefusesItTheThreadPoolTakesItsPlace) {
  const absl::StatusOr<std::unique_ptr<IoEngine>> here = IoEngine::Uring(1);
  if (!here.ok()) GTEST_SKIP() << here.status();
  const struct {
    int syscall;
    int error;
    absl::StatusCode code;
    const char* message;
  } kCases[] = {
      {SYS_io_uring_setup, EPERM, absl::StatusCode::kPermissionDenied, "io_uring_setup: Operation not permitted"},
      {SYS_io_uring_setup, ENOSYS, absl::StatusCode::kUnimplemented, "io_uring_setup: Function not implemented"},
      {SYS_io_uring_setup, ENOMEM, absl::StatusCode::kResourceExhausted, "io_uring_setup: Cannot allocate memory"},
      // An old kernel.
      {SYS_io_uring_register, EINVAL, absl::StatusCode::kUnimplemented, "io_uring_register"},
      {SYS_eventfd2, EMFILE, absl::StatusCode::kResourceExhausted, "eventfd: Too many open files"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.message);
    std::thread([&] {
      const auto context = AioContext::Create({});
      const AioHome home(*context);
      if (!Forbid(c.syscall, c.error)) GTEST_SKIP() << "no seccomp";
      const absl::StatusOr<std::unique_ptr<IoEngine>> uring = IoEngine::Uring(1);
      EXPECT_EQ(uring.status().code(), c.code) << uring.status();
      EXPECT_THAT(std::string(uring.status().message()), ::testing::HasSubstr(c.message));

      const std::unique_ptr<IoEngine> best = IoEngine::Best(1);
      const File file;
      bool done = false;
      Spawn("io", [](IoEngine& engine, int fd, bool& d) -> Co<void> {
        const std::string out = "hello";
        EXPECT_EQ((co_await Write(engine, fd, 0, Bytes(out))).bytes, out.size());
        d = true;
      }(*best, file.fd(), done));
      while (!done) context->RunOnce(true);
    }).join();
  }
}

TEST(UringEngine, AKernelShortOfMemoryIsAskedAgain) {
  // Not forever here: it only must neither spin nor die meanwhile.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        // The engine's thread must inherit the filter.
        if (!Forbid(SYS_io_uring_enter, EAGAIN)) _exit(7);
        auto engine = IoEngine::Uring(1);
        if (!engine.ok()) _exit(7);
        const auto context = AioContext::Create({});
        const AioHome home(*context);
        const File file;
        std::string in(1, '\0');
        Spawn("io", [](IoEngine& e, int fd, std::string& s) -> Co<void> {
          co_await Read(e, fd, 0, Bytes(s));
        }(**engine, file.fd(), in));
        rusage before{};
        rusage after{};
        getrusage(RUSAGE_SELF, &before);
        context->RunOnce(true, Clock::System().Now() + std::chrono::milliseconds(200));
        getrusage(RUSAGE_SELF, &after);
        const auto used = (after.ru_utime.tv_usec - before.ru_utime.tv_usec) +
                          (after.ru_stime.tv_usec - before.ru_stime.tv_usec) +
                          1000000 * (after.ru_utime.tv_sec - before.ru_utime.tv_sec) +
                          1000000 * (after.ru_stime.tv_sec - before.ru_stime.tv_sec);
        _exit(used < 100000 ? 7 : 1);
      },
      ::testing::ExitedWithCode(7), "");
}

// Completes when the test says so.
class ManualEngine final : public IoEngine {
 public:
  void Submit(IoRequest& request) override { requests.push_back(&request); }
  std::vector<IoRequest*> requests;
};

TEST(IoEngine, ACompletionForAContextThatIsGoneIsDropped) {
  ManualEngine engine;
  auto context = AioContext::Create({});
  const std::weak_ptr<AioContext> weak = context;
  bool resumed = false;
  Co<void> co = [](IoEngine& e, bool& r) -> Co<void> {
    std::string in(1, '\0');
    co_await Read(e, 0, 0, Bytes(in));
    r = true;
  }(engine, resumed);
  CoRoot root([](CoRoot&) {});
  {
    const AioHome home(*context);
    root.Start(co);
  }
  context.reset();
  EXPECT_FALSE(weak.expired()) << "a request in flight keeps its context";
  ASSERT_EQ(engine.requests.size(), 1u);
  std::thread([&] { engine.requests[0]->Complete({}); }).join();
  EXPECT_TRUE(weak.expired());
  EXPECT_FALSE(resumed);
}

// A read of a file that is large enough.
struct ReadKind {
  size_t bytes;
  IoUrgency urgency;
};

// Whether one read, which comes behind many long ones, has been done before most of them.
bool OvertakesMany(ReadKind many, ReadKind one) {
  const auto context = AioContext::Create({});
  const AioHome home(*context);
  const std::unique_ptr<IoEngine> engine = IoEngine::ThreadPool(1);
  const File file;
  EXPECT_EQ(ftruncate(file.fd(), 16 << 20), 0);
  std::string buffer(many.bytes, '\0');
  std::string ones_buffer(one.bytes, '\0');
  constexpr int kMany = 200;  // for one worker, the better part of a second
  int done = 0;
  int done_before = -1;
  TaskScope tasks;
  for (int i = 0; i < kMany; ++i) {
    tasks.Spawn([](IoEngine& e, int fd, std::string& to, IoUrgency urgency, int& done) -> Co<void> {
      co_await Read(e, fd, 0, Bytes(to), urgency);
      ++done;
    }(*engine, file.fd(), buffer, many.urgency, done));
  }
  tasks.Spawn([](IoEngine& e, int fd, std::string& to, IoUrgency urgency, int& done, int& before) -> Co<void> {
    co_await Read(e, fd, 0, Bytes(to), urgency);
    before = done;
  }(*engine, file.fd(), ones_buffer, one.urgency, done, done_before));
  while (tasks.size() > 0) context->RunOnce(true);
  EXPECT_EQ(done, kMany);
  return done_before < kMany / 2;
}

TEST(ThreadPoolEngine, NoKindOfRequestWaitsForAnother) {
  constexpr size_t kLarge = 16 << 20;
  constexpr ReadKind kLong = {.bytes = kLarge, .urgency = IoUrgency::kForeground};
  constexpr ReadKind kShort = {.bytes = 4096, .urgency = IoUrgency::kForeground};
  constexpr ReadKind kBackground = {.bytes = kLarge, .urgency = IoUrgency::kBackground};
  constexpr ReadKind kShortInBackground = {.bytes = 4096, .urgency = IoUrgency::kBackground};
  EXPECT_TRUE(OvertakesMany(kLong, kShort));
  EXPECT_TRUE(OvertakesMany(kBackground, kShort));
  EXPECT_TRUE(OvertakesMany(kBackground, {.bytes = 1 << 20, .urgency = IoUrgency::kForeground}));
  EXPECT_TRUE(OvertakesMany(kLong, kShortInBackground));
  EXPECT_FALSE(OvertakesMany(kBackground, kShortInBackground)) << "of one kind, in the order in which they came";
}

TEST(IoEngineDeathTest, DestroyingAThreadPoolWithRequestsInFlightDies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto context = AioContext::Create({});
        const AioHome home(*context);
        auto engine = IoEngine::ThreadPool(1);
        File file;
        if (ftruncate(file.fd(), 16 << 20) != 0) _exit(1);
        std::string in(16 << 20, '\0');
        // One worker and a second's work: it is not done when the engine goes.
        TaskScope tasks;
        for (int i = 0; i < 300; ++i) {
          tasks.Spawn([](IoEngine& e, int fd, std::string& buffer) -> Co<void> {
            co_await Read(e, fd, 0, Bytes(buffer));
          }(*engine, file.fd(), in));
        }
        engine.reset();
      },
      "IoEngine: destroyed with requests in flight");
}

TEST(IoEngineDeathTest, DestroyingAUringEngineWithARequestInFlightDies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  if (!IoEngine::Uring(1).ok()) GTEST_SKIP() << "no io_uring";
  EXPECT_DEATH(
      {
        auto context = AioContext::Create({});
        const AioHome home(*context);
        std::unique_ptr<IoEngine> engine = *IoEngine::Uring(1);
        int pipe_fds[2];
        if (pipe2(pipe_fds, O_CLOEXEC) != 0) _exit(1);
        TaskScope tasks;
        std::string in(1, '\0');
        tasks.Spawn([](IoEngine& e, int fd, std::string& buffer) -> Co<void> {
          co_await Read(e, fd, 0, Bytes(buffer));  // nobody writes
        }(*engine, pipe_fds[0], in));
        engine.reset();
      },
      "IoEngine: destroyed with requests in flight");
}

}  // namespace
}  // namespace jobcore
