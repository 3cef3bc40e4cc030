// SPDX-License-Identifier: Apache-2.0

#include "job-common/iothread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "job-common/aio_context.h"
#include "support/virtual_time.h"

namespace jobcore {
namespace {

TEST(IOThread, RunsPostedWorkInItsOwnThread) {
  IOThread io("io0");
  std::promise<void> done;
  std::thread::id id;
  AioContext* current = nullptr;
  io.context().Post("where", [&] {
    id = std::this_thread::get_id();
    current = AioContext::Current();
    done.set_value();
  });
  done.get_future().wait();
  EXPECT_NE(id, std::this_thread::get_id());
  EXPECT_EQ(current, &io.context());
  EXPECT_EQ(io.name(), "io0");
  EXPECT_EQ(io.context().kind(), AioContext::Kind::kIOThread);
}

TEST(IOThread, CanBeCreatedAndStopped2000Times) {
  for (int i = 0; i < 2'000; ++i) {
    IOThread io("io");
    if (i % 2 == 0) {
      ASSERT_TRUE(io.Stop().ok());
    }
  }
}

TEST(IOThread, StopFinishesWhatWasPostedBefore) {
  for (int i = 0; i < 200; ++i) {
    std::atomic<int> ran{0};
    IOThread io("io");
    for (int j = 0; j < 10; ++j) io.context().Post("work", [&] { ran.fetch_add(1); });
    EXPECT_FALSE(io.context().closed());
    ASSERT_TRUE(io.Stop().ok());
    EXPECT_TRUE(io.context().closed());
    EXPECT_EQ(ran.load(), 10);
  }
}

TEST(IOThread, StoppingTwiceIsHarmless) {
  IOThread io("io");
  EXPECT_TRUE(io.Stop().ok());
  EXPECT_TRUE(io.Stop().ok());
}

TEST(IOThread, StopIsRefusedWhileJobsLiveThere) {
  IOThread io("io7");
  ASSERT_TRUE(io.context().TryAddUser());
  ASSERT_TRUE(io.context().TryAddUser());
  const absl::Status status = io.Stop();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "I/O thread 'io7' is in use by 2 job(s), export(s) or move(s)");
  EXPECT_FALSE(io.context().closed());
  io.context().RemoveUser();
  io.context().RemoveUser();
  EXPECT_TRUE(io.Stop().ok());
}

TEST(IOThread, StopIsRefusedOnTheThreadItself) {
  IOThread io("io");
  std::promise<std::string> message;
  io.context().Post("suicide", [&] { message.set_value(std::string(io.Stop().message())); });
  EXPECT_NE(message.get_future().get().find("cannot stop itself"), std::string::npos);
}

TEST(IOThread, WorkPostedAfterTheStopIsDroppedAtOnce) {
  auto witness = std::make_shared<int>(0);
  {
    IOThread io("io");
    ASSERT_TRUE(io.Stop().ok());
    io.context().Post("late", [witness] { FAIL(); });
    EXPECT_EQ(witness.use_count(), 1);
  }
  EXPECT_EQ(witness.use_count(), 1);
}

TEST(IOThread, WithoutAThreadTheOwnerRunsIt) {
  support::ManualClock clock;
  IOThread io("sim",
              {.clock = &clock, .poller = std::make_unique<support::AutoAdvancePoller>(clock), .start_thread = false});
  int runs = 0;
  {
    const AioHome home(io.context());
    io.context().Post("work", [&] { ++runs; });
    io.context().RunOnce(true);
  }
  EXPECT_EQ(runs, 1);
  EXPECT_TRUE(io.Stop().ok());
  EXPECT_TRUE(io.context().closed());
}

class IOThreadDeathTest : public ::testing::Test {
 protected:
  IOThreadDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(IOThreadDeathTest, DestroyingOneWhereJobsLiveDiesNamingIt) {
  EXPECT_DEATH(
      {
        IOThread io("io7");
        (void)io.context().TryAddUser();
      },
      "~IOThread: I/O thread 'io7' is in use by 1 job");
}

TEST_F(IOThreadDeathTest, RunningAClosedContextDies) {
  EXPECT_DEATH(
      {
        IOThread io("io7");
        (void)io.Stop();
        const AioHome home(io.context());
        io.context().RunOnce(false);
      },
      "RunOnce: context 'io7' is closed");
}

}  // namespace
}  // namespace jobcore
