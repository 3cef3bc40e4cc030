// SPDX-License-Identifier: Apache-2.0
//
// Entries of the race catalogue (docs/testing.md) that concern jobs and their resources, each made to happen on
// purpose. job_races_test.cc and resource_races_test.cc have those that take threads or many steps.

#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-common/wait_domain.h"
#include "job-driver/resource.h"
#include "support/event.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using namespace std::chrono_literals;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::Not;

// A wake-up belongs to one kind of suspension: a job that waits for its own I/O is left there, and the wake-up is kept
// for the next yield.
TEST(JobRace, R26AWakeUpDoesNotEndAWaitForSomethingElse) {
  TestWorld world;
  support::Event io;
  bool io_done = false;
  bool yielded = false;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   co_await io;
                                   io_done = true;
                                   absl::Status status = co_await self.Yield();
                                   yielded = true;
                                   co_return status;
                                 }});
  world.Settle();
  ASSERT_TRUE(io.awaited());
  for (int i = 0; i < 3; ++i) Enter(*job);
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_FALSE(io_done);
  io.Set();
  EXPECT_TRUE(io_done && yielded);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

// An error that is ignored, and met again at once, for ever: whichever suspension there is in the loop says that the
// job has been cancelled.
TEST(JobRace, R28ADriverThatTriesForEverCanBeCancelled) {
  TestWorld world({.io_threads = 1});
  for (int kind = 0; kind < 3; ++kind) {
    std::atomic<int> tries{0};
    const JobRef job =
        world.Start({.id = "j", .context = &world.io()}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                      for (;; ++tries) {
                        EXPECT_EQ(self.HandleError(IoOperation::kWrite, OnError::kIgnore, EIO), ErrorAction::kIgnore);
                        absl::Status status;
                        if (kind == 0) status = co_await self.PausePoint();
                        if (kind == 1) status = co_await self.Sleep(0ns);
                        if (kind == 2) status = co_await self.Throttle(1);
                        if (!status.ok()) co_return status;
                      }
                    }});
    ASSERT_TRUE(world.RunUntil([&] { return tries > 10; }, "some tries"));
    ASSERT_TRUE(world.Cancel(job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(world.Outcome(job), "cancelled");
  }
}

// A job whose Run has ended is out of the drains of its resources: no section gives it a reason to pause, waits for it,
// or looks for it once it has gone.
TEST(JobRace, R48AJobThatHasFinishedIsNoPartOfASection) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  JobRef job = world.Start({.id = "j", .auto_finalize = false, .resources = {&disk}}, {});
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking({&disk}, {.deadline = Patience()});
  ASSERT_TRUE(section.ok()) << section.status();
  EXPECT_EQ(world.Status(job), "pending");
  EXPECT_THAT(world.Query(job).pause_reasons, IsEmpty());
  ASSERT_TRUE(world.Finalize(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  job = JobRef();
  world.Settle();
  EXPECT_EQ(world.log().Count("j", "~"), 1);
  section->End();
}

// What the wait domain is kicked for must be visible by then.
class InFlightAtKick final : public WaitDomain::Waiter {
 public:
  explicit InFlightAtKick(const Resource& resource) : Waiter({}), resource_(resource) {
    resource_.core().main_context().wait_domain().Add(*this);
  }
  ~InFlightAtKick() { resource_.core().main_context().wait_domain().Remove(*this); }
  InFlightAtKick(const InFlightAtKick&) = delete;
  InFlightAtKick& operator=(const InFlightAtKick&) = delete;
  void OnKick() override { seen.push_back(resource_.in_flight()); }

  std::vector<size_t> seen;

 private:
  const Resource& resource_;
};

Co<void> MakeRequest(Resource& resource, support::Event& end) {
  const Admission in = co_await resource.Admit();
  co_await end;
}

Co<void> OpenAndEnd(Resource& resource, bool& opened) {
  Resource* const list[] = {&resource};
  const absl::StatusOr<DrainedSection> section = co_await DrainedSection::Open(list);
  opened = section.ok();
}

TEST(JobRace, R55TheLastRequestIsCountedOffBeforeTheKick) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  support::Event end;
  bool opened = false;
  Spawn("request", MakeRequest(disk, end));
  Spawn("drain", OpenAndEnd(disk, opened));
  {
    InFlightAtKick kicks(disk);
    end.Set();
    EXPECT_THAT(kicks.seen, Not(IsEmpty()));
    EXPECT_THAT(kicks.seen, Each(0u));
  }
  ASSERT_TRUE(world.RunUntil([&] { return opened; }, "the section"));
}

// Where a job lives is read by any thread, at any time; what is read is one of the places, and it is still there.
TEST(JobRace, R89AnyThreadMayAskWhereAJobLivesWhileItMoves) {
  TestWorld world({.io_threads = 2});
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "j", .context = &world.io(0)}, Obedient(remote));
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      EXPECT_THAT(job->context().name(), AnyOf("io0", "io1"));
      Enter(*job);
    }
  });
  for (size_t i = 1; i <= 500 && !testing::Test::HasFailure(); ++i) {
    Replies replies;
    {
      JobLock lock(world.core());
      EXPECT_TRUE(monitor::Move(*job, world.io(i % 2), replies.Make(world.main())).ok());
    }
    EXPECT_TRUE(world.RunUntil([&] { return replies.count() == 1; }, "the move"));
    EXPECT_EQ(&job->context(), &world.io(i % 2));
  }
  stop = true;
  reader.join();
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

}  // namespace
}  // namespace jobcore
