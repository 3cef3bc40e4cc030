// SPDX-License-Identifier: Apache-2.0

#include "job-common/io_engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/iothread.h"
#include "job-common/task_scope.h"

namespace jobcore {
namespace {

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

// Runs coroutines in a loop of this thread until `done`.
class IoEngineTest : public ::testing::Test {
 protected:
  void RunUntilDone() {
    while (!done_) context_->RunOnce(true);
  }

  const std::unique_ptr<IoEngine> engine_ = IoEngine::ThreadPool(2);
  const std::shared_ptr<AioContext> context_ = AioContext::Create({});
  const AioHome home_{*context_};
  File file_;
  bool done_ = false;
};

TEST_F(IoEngineTest, WhatWasWrittenIsReadBack) {
  Spawn("io", [](IoEngine& engine, int fd, bool& done) -> Co<void> {
    const std::string out = "hello, disk";
    IoResult r = co_await Write(engine, fd, 3, Bytes(out));
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(r.bytes, out.size());
    r = co_await DataSync(engine, fd);
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

TEST_F(IoEngineTest, AReadAcrossTheEndOfTheFileIsShortAndNoError) {
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
    done = true;
  }(*engine_, file_.fd(), done_));
  RunUntilDone();
}

TEST_F(IoEngineTest, ErrorsComeAsErrno) {
  Spawn("io", [](IoEngine& engine, bool& done) -> Co<void> {
    std::string buffer(10, 'x');
    EXPECT_EQ((co_await Read(engine, -1, 0, Bytes(buffer))).error, EBADF);
    EXPECT_EQ((co_await Write(engine, -1, 0, Bytes(buffer))).error, EBADF);
    EXPECT_EQ((co_await DataSync(engine, -1)).error, EBADF);
    done = true;
  }(*engine_, done_));
  RunUntilDone();
}

TEST_F(IoEngineTest, ManyRequestsInFlightAllComplete) {
  ASSERT_EQ(ftruncate(file_.fd(), 1 << 20), 0);
  struct Run {
    static Co<void> One(IoEngine& engine, int fd, int i, int& completed) {
      std::array<std::byte, 512> buffer{};
      const IoResult r = co_await Read(engine, fd, 512u * static_cast<unsigned>(i), buffer);
      EXPECT_EQ(r.bytes, buffer.size());
      ++completed;
    }
    static Co<void> All(IoEngine& engine, int fd, int& completed, bool& done) {
      TaskScope tasks;
      for (int i = 0; i < 2000; ++i) {
        tasks.Spawn(One(engine, fd, i, completed));
        co_await tasks.AtMost(31);
      }
      co_await tasks.AtMost(0);
      done = true;
    }
  };
  int completed = 0;
  Spawn("all", Run::All(*engine_, file_.fd(), completed, done_));
  RunUntilDone();
  EXPECT_EQ(completed, 2000);
}

TEST_F(IoEngineTest, ACoroutineGoesOnInTheThreadWhereItAwaited) {
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

TEST(IoEngineDeathTest, DestroyingAnEngineWithRequestsInFlightDies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto context = AioContext::Create({});
        const AioHome home(*context);
        auto engine = IoEngine::ThreadPool(1);
        File file;
        // One worker, many requests: some are still queued.
        TaskScope tasks;
        for (int i = 0; i < 1000; ++i) {
          tasks.Spawn([](IoEngine& e, int fd) -> Co<void> { co_await DataSync(e, fd); }(*engine, file.fd()));
        }
        engine.reset();
      },
      "IoEngine: destroyed with requests in flight");
}

}  // namespace
}  // namespace jobcore
