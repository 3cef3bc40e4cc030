// SPDX-License-Identifier: Apache-2.0
//
// I/O errors of a job: what each policy makes of them, the event that tells of them, and the pause of a job that an
// error has stopped.

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ErrorPolicy, WireNames) {
  EXPECT_EQ(ParseOnError("enospc"), OnError::kEnospc);
  EXPECT_EQ(ParseOnError("auto"), OnError::kAuto);
  EXPECT_EQ(ParseOnError("Stop"), std::nullopt);
  EXPECT_EQ(ErrorActionName(ErrorAction::kIgnore), "ignore");
  EXPECT_EQ(IoOperationName(IoOperation::kWrite), "write");
  EXPECT_EQ(IoStatusName(IoStatus::kNoSpace), "nospace");
}

class JobErrors : public testing::Test {
 protected:
  // Fails so many requests at once, each time that it goes round, then reaches a pause point.
  JobRef StartFailing(OnError policy, std::vector<int> errors, bool internal = false) {
    return world.Start({.id = internal ? "" : "j", .internal = internal},
                       {.run = [=, this](JobContext& job) -> Co<absl::Status> {
                         while (!remote->finishing()) {
                           for (int e : errors) actions.push_back(job.HandleError(IoOperation::kWrite, policy, e));
                           if (absl::Status s = co_await job.PausePoint(); !s.ok()) co_return s;
                           ++rounds;
                           if (absl::Status s = co_await job.Yield(); !s.ok()) co_return s;
                         }
                         co_return absl::OkStatus();
                       }});
  }
  std::optional<IoError> LastError() {
    std::optional<IoError> last;
    EventCursor cursor;
    JobLock lock(world.core());
    for (const JobEvent& event : world.core().ReadEvents(cursor).events)
      if (event.kind == JobEvent::Kind::kIoError) last = event.io_error;
    return last;
  }

  TestWorld world{{.virtual_time = true}};
  std::shared_ptr<Remote> remote = std::make_shared<Remote>();
  std::vector<ErrorAction> actions;
  int rounds = 0;
};

TEST_F(JobErrors, ReportedOnesAreToldOfAndDoNotPause) {
  const JobRef job = StartFailing(OnError::kReport, {EIO});
  world.Settle();
  EXPECT_THAT(world.NewEvents(), ElementsAre("j created", "j running", "j error write report"));
  EXPECT_THAT(actions, ElementsAre(ErrorAction::kReport));
  EXPECT_EQ(world.Query(job).io_status, IoStatus::kOk);
  EXPECT_EQ(rounds, 1);
  EXPECT_EQ(LastError(), (IoError{IoOperation::kWrite, ErrorAction::kReport, EIO, "Input/output error"}));
}

TEST_F(JobErrors, IgnoredOnesAreToldOfAndDoNotPause) {
  const JobRef job = StartFailing(OnError::kIgnore, {ENOSPC});
  world.Settle();
  EXPECT_THAT(world.NewEvents(), ElementsAre("j created", "j running", "j error write ignore"));
  EXPECT_EQ(rounds, 1);
  EXPECT_THAT(world.Query(job).pause_reasons, IsEmpty());
}

TEST_F(JobErrors, StopPausesAtTheNextPausePointAfterTheEvent) {
  const JobRef job = StartFailing(OnError::kStop, {EIO});
  world.Settle();
  EXPECT_THAT(world.NewEvents(), ElementsAre("j created", "j running", "j error write stop", "j paused"));
  EXPECT_EQ(rounds, 0);
  EXPECT_THAT(world.Query(job).pause_reasons, ElementsAre("error"));
  EXPECT_EQ(world.Query(job).io_status, IoStatus::kFailed);
  EXPECT_EQ(world.log().Count("j", "Pause"), 1);
  remote->Finish(*job);
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_F(JobErrors, EnospcAndAutoStopOnlyForLackOfSpace) {
  for (const OnError policy : {OnError::kEnospc, OnError::kAuto}) {
    actions.clear();
    const JobRef job = StartFailing(policy, {EIO, ENOSPC});
    world.Settle();
    EXPECT_THAT(actions, ElementsAre(ErrorAction::kReport, ErrorAction::kStop));
    EXPECT_EQ(world.Query(job).io_status, IoStatus::kNoSpace);
    ASSERT_TRUE(world.Cancel(job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
  }
}

TEST_F(JobErrors, SixteenFailuresAreOneReasonAndOneResume) {
  std::vector<int> errors(16, EIO);
  errors[0] = ENOSPC;
  const JobRef job = StartFailing(OnError::kStop, errors);
  world.Settle();
  EXPECT_EQ(actions.size(), 16u);
  EXPECT_THAT(world.Query(job).pause_reasons, ElementsAre("error"));
  EXPECT_EQ(world.Query(job).io_status, IoStatus::kNoSpace) << "the first failure wins";
  ASSERT_TRUE(world.Resume(job).ok());
  EXPECT_EQ(world.Query(job).io_status, IoStatus::kOk);
  EXPECT_EQ(world.Status(job), "running");
  world.Settle();
  EXPECT_EQ(rounds, 1);
}

TEST_F(JobErrors, AResumeByAPersonTakesBothReasonsBack) {
  const JobRef job = StartFailing(OnError::kStop, {EIO});
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.Pause(job, "maintenance").ok());
  EXPECT_THAT(world.Query(job).pause_reasons, ElementsAre("error", "user", "maintenance"));
  ASSERT_TRUE(world.Resume(job).ok());
  EXPECT_THAT(world.Query(job).pause_reasons, ElementsAre("maintenance"));
  EXPECT_EQ(world.Query(job).io_status, IoStatus::kOk);
  EXPECT_EQ(world.Status(job), "paused");
  ExpectRefused(world.Resume(job), "Can't resume a job that was not paused", "j");
  ASSERT_TRUE(world.Resume(job, "maintenance").ok());
  EXPECT_EQ(world.Status(job), "running");
}

TEST_F(JobErrors, AResumeOfTheErrorLeavesThePauseOfAPerson) {
  const JobRef job = StartFailing(OnError::kStop, {EIO});
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.Resume(job, monitor::kErrorPause).ok());
  EXPECT_THAT(world.Query(job).pause_reasons, ElementsAre("user"));
  EXPECT_EQ(world.Query(job).io_status, IoStatus::kOk);
  EXPECT_EQ(world.Status(job), "paused");
  ExpectRefused(world.Resume(job, monitor::kErrorPause), "Can't resume a job that was not paused", "j");
  ASSERT_TRUE(world.Resume(job).ok());
  EXPECT_EQ(world.Status(job), "running");
}

TEST_F(JobErrors, AnotherResumeKeepsTheIoStatus) {
  const JobRef job = StartFailing(OnError::kStop, {EIO});
  world.Settle();
  ASSERT_TRUE(world.Pause(job, "maintenance").ok());
  ASSERT_TRUE(world.Resume(job, "maintenance").ok());
  EXPECT_EQ(world.Query(job).io_status, IoStatus::kFailed);
  EXPECT_EQ(world.Status(job), "paused");
}

TEST_F(JobErrors, AForceCancelClearsTheReasonAndTheStatus) {
  const JobRef job = StartFailing(OnError::kStop, {EIO});
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  EXPECT_EQ(world.Query(job).io_status, IoStatus::kOk);
  EXPECT_THAT(world.Query(job).pause_reasons, IsEmpty());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_F(JobErrors, AForceCancelledJobIsNotStoppedAnyMore) {
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   co_await gate.Pass();
                                   actions.push_back(self.HandleError(IoOperation::kRead, OnError::kStop, EIO));
                                   const monitor::JobInfo info = world.Query(JobRef(self.job()));
                                   EXPECT_THAT(info.pause_reasons, IsEmpty());
                                   EXPECT_EQ(info.io_status, IoStatus::kOk);
                                   co_return absl::CancelledError();
                                 }});
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.NewEvents(),
              ElementsAre("j created", "j running", "j error read stop", "j aborting", "j concluded", "j null"));
}

TEST_F(JobErrors, ACoroutineBesideRunStopsAJobThatYields) {
  JobContext* face = nullptr;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) {
                                   face = &self;
                                   return Obey(self, *remote);
                                 }});
  world.Settle();
  world.main().Post("request", [&] {
    for (int i = 0; i < 3; ++i) (void)face->HandleError(IoOperation::kRead, OnError::kStop, EIO);
  });
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_THAT(world.NewEvents(), ElementsAre("j created", "j running", "j error read stop", "j error read stop",
                                             "j error read stop", "j paused"));
  ASSERT_TRUE(world.Resume(job).ok());
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

// What Run has left behind, here its Prepare hook, has nothing any more that could be paused.
TEST_F(JobErrors, AJobWhoseRunHasEndedIsNotStoppedAnyMore) {
  JobContext* face = nullptr;
  const JobRef job = world.Start({.id = "j", .auto_dismiss = false},
                                 {.run = [&](JobContext& self) -> Co<absl::Status> {
                                    face = &self;
                                    co_return absl::OkStatus();
                                  },
                                  .prepare = [&]() -> Co<absl::Status> {
                                    actions.push_back(face->HandleError(IoOperation::kWrite, OnError::kStop, EIO));
                                    co_return absl::OkStatus();
                                  }});
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  EXPECT_THAT(actions, ElementsAre(ErrorAction::kStop));
  EXPECT_THAT(world.Query(job).pause_reasons, IsEmpty());
  EXPECT_EQ(world.Query(job).io_status, IoStatus::kOk);
  ASSERT_TRUE(world.Dismiss(job).ok());
}

TEST_F(JobErrors, AnInternalJobPausesWithoutAnEvent) {
  const JobRef job = StartFailing(OnError::kStop, {EIO}, /*internal=*/true);
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_THAT(world.NewEvents(), IsEmpty());
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(JobErrorEvents, ASlotOfTheRingForgetsWhatItHeld) {
  TestWorld world({.virtual_time = true, .event_capacity = 1});
  const JobRef job = world.Start({.id = "j"}, {.run = [](JobContext& self) -> Co<absl::Status> {
                                   (void)self.HandleError(IoOperation::kRead, OnError::kStop, EIO);
                                   co_return co_await self.PausePoint();
                                 }});
  world.Settle();
  ASSERT_EQ(world.Status(job), "paused");
  EventCursor cursor;
  JobLock lock(world.core());
  const EventPage page = world.core().ReadEvents(cursor);
  ASSERT_EQ(page.events.size(), 1u);
  EXPECT_EQ(page.events[0].kind, JobEvent::Kind::kStatus);
  EXPECT_FALSE(page.events[0].io_error.has_value());
  EXPECT_EQ(ToString(page.events[0]), "paused");
}

TEST(JobErrorEvents, TextIsForPeople) {
  JobEvent event;
  event.kind = JobEvent::Kind::kIoError;
  event.status = JobStatus::kRunning;
  event.io_error = IoError{IoOperation::kWrite, ErrorAction::kStop, ENOSPC, "No space left on device"};
  EXPECT_EQ(ToString(event), "error write stop (No space left on device)");
  event.kind = JobEvent::Kind::kUnresponsive;
  event.waits_for = "idle";
  EXPECT_EQ(ToString(event), "unresponsive: idle");
}

}  // namespace
}  // namespace jobcore
