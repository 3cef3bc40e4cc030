// SPDX-License-Identifier: Apache-2.0
//
// Orders of events that are rare where threads decide, and can be forced in virtual time: a second request between
// the first one and the job's turn, and in the middle of a hook.

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using std::chrono::milliseconds;

class JobOrder : public testing::Test {
 protected:
  TestWorld world{{.virtual_time = true}};
  std::shared_ptr<Remote> remote = std::make_shared<Remote>();
};

// woken, and paused before its turn: none of the driver's code runs before the resume, which keeps the wake-up.
TEST_F(JobOrder, APauseOvertakesAWakeUp) {
  const JobRef job = world.Start({.id = "j"}, Obedient(remote));
  world.Settle();
  const int before = remote->turns();
  Enter(*job);
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_EQ(remote->turns(), before);
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  EXPECT_EQ(remote->turns(), before + 1);
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

// a job that was woken early yields next; the time at which its sleep would have ended is nothing to that.
TEST_F(JobOrder, TheTimerOfASleepThatWasCutShortDoesNotEndTheNext) {
  int yields = 0;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   absl::Status status = co_await self.Sleep(milliseconds(10));
                                   if (!status.ok()) co_return status;
                                   status = co_await self.Yield();
                                   ++yields;
                                   co_return status;
                                 }});
  world.Settle();
  Enter(*job);
  world.Settle();
  world.clock().Advance(milliseconds(20));
  world.Settle();
  EXPECT_EQ(yields, 0);
  Enter(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(yields, 1);
}

// a request that comes while the Cancel hook runs, here from the hook itself.
TEST_F(JobOrder, ARequestDuringTheCancelHookIsServed) {
  Replies replies;
  bool finish = false;
  const JobRef job = world.Start(
      {.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                      self.Ready({.soft_cancel = true});
                      while (!finish) {
                        absl::Status status = co_await self.Yield();
                        if (!status.ok()) co_return status;
                      }
                      co_return absl::OkStatus();
                    },
                    .cancel =
                        [&](JobContext& self, CancelMode) {
                          JobLock lock(self.job().core());
                          EXPECT_TRUE(monitor::Change(self.job(), {}, replies.Make(world.main())).ok());
                        },
                    .change = [](JobContext&, const JobOptions&) -> Co<absl::Status> { co_return absl::OkStatus(); }});
  world.Settle();
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  world.Settle();
  EXPECT_THAT(replies.all(), testing::ElementsAre("OK"));
  finish = true;
  Enter(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

// More events than a page has, and none after them: the observer is called until it has had them all.
TEST_F(JobOrder, AnObserverThatIsPagesBehindCatchesUp) {
  constexpr int kJobs = 40;
  for (int i = 0; i < kJobs; ++i) {
    const JobRef job = world.Start({.id = "j" + std::to_string(i)}, Returning(absl::OkStatus()));
    ASSERT_TRUE(world.RunUntilNull(job));
  }
  const uint64_t last = world.LastEvent();
  ASSERT_GT(last, 2 * 64);
  uint64_t seen = 0;
  int pages = 0;
  monitor::EventObserver observer(
      world.core(), world.main(),
      [&](const EventPage& page) {
        EXPECT_EQ(page.lost, 0u);
        EXPECT_EQ(page.events.front().sequence, seen + 1);
        seen = page.events.back().sequence;
        ++pages;
      },
      EventCursor{1});
  world.Settle();
  EXPECT_EQ(seen, last);
  EXPECT_GE(pages, 3);
  observer.Close();
}

}  // namespace
}  // namespace jobcore
