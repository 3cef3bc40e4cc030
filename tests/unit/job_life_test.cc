// SPDX-License-Identifier: Apache-2.0
//
// The lives of single jobs: the sequences of events on the wire, how jobs end, and where their
// hooks run.

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Every life is lived in the main context and in an I/O thread.
class JobLife : public testing::TestWithParam<bool> {
 protected:
  bool in_io() const { return GetParam(); }
  AioContext* context() { return in_io() ? &world.io() : nullptr; }
  std::string home() const { return in_io() ? "io0" : "main"; }

  TestWorld world{{.io_threads = 1}};
  std::shared_ptr<Remote> remote = std::make_shared<Remote>();
};

INSTANTIATE_TEST_SUITE_P(, JobLife, testing::Bool(), [](const auto& info) { return info.param ? "IOThread" : "Main"; });

TEST_P(JobLife, SuccessWithBothPoliciesAutomatic) {
  const JobRef job = world.Start({.id = "j", .context = context()}, {});
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running", "waiting", "pending", "concluded", "null"));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
  EXPECT_EQ(world.Outcome(job), "succeeded");
  EXPECT_FALSE(world.Findable("j"));
}

TEST_P(JobLife, SuccessWithBothPoliciesManual) {
  const JobRef job = world.Start({.id = "j", .context = context(), .auto_finalize = false, .auto_dismiss = false}, {});
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  world.Settle();
  EXPECT_THAT(world.NewEvents(), ElementsAre("j created", "j running", "j waiting", "j pending"));
  EXPECT_EQ(world.Outcome(job), "");
  Replies replies;
  ASSERT_TRUE(world.Finalize(job, replies.Make(world.main())).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  world.Settle();
  EXPECT_THAT(world.NewEvents(), ElementsAre("j concluded"));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
  EXPECT_TRUE(world.Findable("j"));
  ASSERT_TRUE(world.Dismiss(job).ok());
  EXPECT_THAT(world.NewEvents(), ElementsAre("j null"));
  EXPECT_FALSE(world.Findable("j"));
}

TEST_P(JobLife, BecomingReadyOnTheWay) {
  const JobRef job = world.Start({.id = "j", .context = context()}, Obedient(remote, ReadyCapabilities{}));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("j"),
              ElementsAre("created", "running", "ready", "waiting", "pending", "concluded", "null"));
}

TEST_P(JobLife, Failure) {
  const JobRef job = world.Start({.id = "j", .context = context(), .auto_dismiss = false},
                                 Returning(absl::DataLossError("sector 7 is gone")));
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  world.Settle();
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running", "aborting", "concluded"));
  EXPECT_EQ(world.EventOutcome("j"), "failed: sector 7 is gone");
  EXPECT_EQ(world.Outcome(job), "failed: sector 7 is gone");
  const monitor::JobInfo info = world.Query(job);
  ASSERT_TRUE(info.outcome.has_value());
  EXPECT_EQ(info.outcome->kind, JobOutcome::Kind::kFailed);
  EXPECT_EQ(info.outcome->code, absl::StatusCode::kDataLoss);
  EXPECT_EQ(info.outcome->ToStatus(), absl::DataLossError("sector 7 is gone"));
}

TEST_P(JobLife, ForceCancelWhileRunning) {
  const JobRef job = world.Start({.id = "j", .context = context()}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  EXPECT_TRUE(job->force_cancelled());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running", "aborting", "concluded", "null"));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
  world.Settle();
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run", "CancelForce", "Abort", "Clean"));
}

TEST_P(JobLife, ForceCancelOfAPausedJobShowsRunningFirst) {
  const JobRef job = world.Start({.id = "j", .context = context()}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("j"),
              ElementsAre("created", "running", "paused", "running", "aborting", "concluded", "null"));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_P(JobLife, ForceCancelOfAStandbyJobShowsReadyFirst) {
  const JobRef job =
      world.Start({.id = "j", .context = context()}, Obedient(remote, ReadyCapabilities{.soft_cancel = true}));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "standby"));
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("j"),
              ElementsAre("created", "running", "ready", "standby", "ready", "aborting", "concluded", "null"));
}

TEST_P(JobLife, CancelBeforeStart) {
  for (CancelMode mode : {CancelMode::kForce, CancelMode::kSoft}) {
    const std::string id = mode == CancelMode::kForce ? "force" : "soft";
    const JobRef job = world.Create({.id = id, .context = context()}, {});
    ASSERT_TRUE(world.Cancel(job, mode).ok());
    EXPECT_EQ(world.Status(job), "aborting");
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_THAT(world.History(id), ElementsAre("created", "aborting", "concluded", "null"));
    EXPECT_EQ(world.EventOutcome(id), "cancelled");
    world.Settle();
    EXPECT_EQ(world.log().Count(id, "Run"), 0);
    EXPECT_EQ(world.log().Count(id, "Abort"), 1);
    EXPECT_EQ(world.log().Count(id, "Clean"), 1);
  }
}

TEST_P(JobLife, SoftCancelOfAReadyJobThatCanFinishConsistentlySucceeds) {
  const JobRef job =
      world.Start({.id = "j", .context = context()}, Obedient(remote, ReadyCapabilities{.soft_cancel = true}));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  world.Settle();  // it yields: one that still runs may see the cancel, and end, before its hook is called
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  EXPECT_FALSE(job->force_cancelled());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("j"),
              ElementsAre("created", "running", "ready", "waiting", "pending", "concluded", "null"));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
  world.Settle();
  EXPECT_EQ(world.log().Count("j", "CancelSoft"), 1);
  EXPECT_EQ(world.log().Count("j", "CancelForce"), 0);
}

TEST_P(JobLife, SoftCancelOfAReadyJobThatCannotIsAForceCancel) {
  const JobRef job =
      world.Start({.id = "j", .context = context()}, Obedient(remote, ReadyCapabilities{.soft_cancel = false}));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  EXPECT_TRUE(job->force_cancelled());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running", "ready", "aborting", "concluded", "null"));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_P(JobLife, SoftCancelBeforeReadyIsAForceCancel) {
  const JobRef job = world.Start({.id = "j", .context = context()}, Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  EXPECT_TRUE(job->force_cancelled());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_P(JobLife, ForceAfterSoftIsStronger) {
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j", .context = context()}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   self.Ready({.soft_cancel = true});
                                   co_await gate.Pass();
                                   co_return co_await self.PausePoint();
                                 }});
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() > 0; }, "the gate"));
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  EXPECT_FALSE(job->force_cancelled());
  ASSERT_TRUE(world.Cancel(job, CancelMode::kForce).ok());
  ASSERT_TRUE(world.Cancel(job, CancelMode::kForce).ok());
  EXPECT_TRUE(job->force_cancelled());
  EXPECT_TRUE(world.Query(job).cancelling);
  world.Settle();
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
  world.Settle();
  EXPECT_EQ(world.log().Count("j", "CancelSoft"), 1);
  EXPECT_EQ(world.log().Count("j", "CancelForce"), 1);
}

TEST_P(JobLife, ACancelledJobThatReturnsSuccessIsCancelledNevertheless) {
  const JobRef job = world.Start({.id = "j", .context = context()}, {.run = [](JobContext& self) -> Co<absl::Status> {
                                   (co_await self.Yield()).IgnoreError();
                                   co_return absl::OkStatus();
                                 }});
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
  EXPECT_EQ(world.log().Count("j", "Commit"), 0);
}

TEST_P(JobLife, EveryWaitOfACancelledJobSaysCancelledAtOnce) {
  std::vector<absl::StatusCode> codes;
  const JobRef job = world.Start({.id = "j", .context = context()}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   (co_await self.Yield()).IgnoreError();
                                   codes.push_back((co_await self.PausePoint()).code());
                                   codes.push_back((co_await self.Yield()).code());
                                   codes.push_back((co_await self.Sleep(std::chrono::hours(1))).code());
                                   codes.push_back((co_await self.Sleep(Nanoseconds(0))).code());
                                   codes.push_back((co_await self.SleepUntil(kNoDeadline)).code());
                                   co_return absl::CancelledError("as told");
                                 }});
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(codes, testing::AllOf(testing::SizeIs(5), testing::Each(absl::StatusCode::kCancelled)));
}

TEST_P(JobLife, ReadyASecondTimeChangesTheCapabilitiesOnly) {
  const JobRef job = world.Start({.id = "j", .context = context()}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   self.Ready({.complete = false});
                                   self.Ready({.complete = true, .soft_cancel = true});
                                   co_return co_await Obey(self, *remote);
                                 }});
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  world.Settle();
  EXPECT_TRUE(world.Query(job).capabilities.complete);
  EXPECT_TRUE(world.Query(job).capabilities.soft_cancel);
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running", "ready"));
}

TEST_P(JobLife, ACancelledJobMayStillSayReady) {
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j", .context = context()}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   co_await gate.Pass();
                                   self.Ready();
                                   co_return co_await self.PausePoint();
                                 }});
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() > 0; }, "the gate"));
  ASSERT_TRUE(world.Cancel(job).ok());
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_P(JobLife, EachHookRunsInItsContext) {
  const JobRef job =
      world.Start({.id = "good", .context = context(), .auto_finalize = false}, Obedient(remote, ReadyCapabilities{}));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "standby"));
  ASSERT_TRUE(world.Resume(job).ok());
  world.Settle();
  ASSERT_TRUE(world.Complete(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  ASSERT_TRUE(world.Finalize(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  {
    JobRef bad = world.Start({.id = "bad", .context = context()}, Obedient(remote));
    ASSERT_TRUE(world.RunUntilNull(bad));
  }
  JobRef cancelled = world.Start({.id = "cancelled", .context = context()}, Obedient(std::make_shared<Remote>()));
  world.Settle();
  ASSERT_TRUE(world.Cancel(cancelled).ok());
  ASSERT_TRUE(world.RunUntilNull(cancelled));
  cancelled = JobRef();
  world.Settle();
  for (const char* hook : {"Run", "Pause", "Resume", "Complete"})
    EXPECT_EQ(world.log().Where("good", hook), home()) << hook;
  for (const char* hook : {"Prepare", "Commit", "Clean"}) EXPECT_EQ(world.log().Where("good", hook), "main") << hook;
  EXPECT_EQ(world.log().Where("cancelled", "CancelForce"), home());
  for (const char* hook : {"Abort", "Clean", "~"}) EXPECT_EQ(world.log().Where("cancelled", hook), "main") << hook;
}

TEST_P(JobLife, AnExceptionThatLeavesRunFailsTheJob) {
  const JobRef job = world.Start({.id = "j", .context = context()}, {.run = [](JobContext& self) -> Co<absl::Status> {
                                   (co_await self.Sleep(Nanoseconds(0))).IgnoreError();
                                   throw std::runtime_error("out of tape");
                                 }});
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.EventOutcome("j"), testing::StartsWith("failed: "));
  EXPECT_THAT(world.EventOutcome("j"), HasSubstr("out of tape"));
  EXPECT_EQ(world.log().Count("j", "Abort"), 1);
}

TEST_P(JobLife, AnExceptionThatIsNoStdExceptionFailsTheJobToo) {
  const JobRef job = world.Start({.id = "j", .context = context()}, {.run = [](JobContext&) -> Co<absl::Status> {
                                   throw 42;
                                   co_return absl::OkStatus();
                                 }});
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.EventOutcome("j"), testing::StartsWith("failed: "));
}

// Run as a plain function that throws before there is a coroutine.
class ThrowsAtOnce final : public JobDriver {
 public:
  Co<absl::Status> Run(JobContext&) override { throw std::runtime_error("no coroutine"); }
};

TEST_P(JobLife, AnExceptionBeforeThereIsACoroutineFailsTheJobToo) {
  const absl::StatusOr<JobRef> job =
      CreateJob(world.core(), {.id = "j", .context = context()}, std::make_unique<ThrowsAtOnce>());
  ASSERT_TRUE(job.ok());
  ASSERT_TRUE(StartJob(**job).ok());
  ASSERT_TRUE(world.RunUntilNull(*job));
  EXPECT_THAT(world.EventOutcome("j"), HasSubstr("no coroutine"));
}

// Run that needs no coroutine at all.
class TrivialDriver final : public JobDriver {
 public:
  Co<absl::Status> Run(JobContext&) override { return {}; }
};

TEST_P(JobLife, ADriverThatOverridesNothingSucceeds) {
  const absl::StatusOr<JobRef> job =
      CreateJob(world.core(), {.id = "j", .context = context()}, std::make_unique<TrivialDriver>());
  ASSERT_TRUE(job.ok());
  EXPECT_EQ((*job)->type(), "job");
  ASSERT_TRUE(StartJob(**job).ok());
  ASSERT_TRUE(world.RunUntilNull(*job));
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running", "waiting", "pending", "concluded", "null"));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

TEST_P(JobLife, TheFrameOfRunIsDestroyedBeforeAnybodySeesThatRunHasEnded) {
  std::atomic<bool> destroyed{false};
  struct Local {
    explicit Local(std::atomic<bool>& flag) : flag(flag) {}
    ~Local() { flag.store(true); }
    Local(const Local&) = delete;
    Local& operator=(const Local&) = delete;
    std::atomic<bool>& flag;
  };
  const JobRef job = world.Start({.id = "j", .context = context(), .auto_finalize = false},
                                 {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   Local local(destroyed);
                                   co_return co_await Obey(self, *remote);
                                 }});
  world.Settle();
  EXPECT_FALSE(destroyed.load());
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntil(
      [&] {
        const bool before = destroyed.load();
        const std::string status = world.Status(job);
        EXPECT_TRUE(status == "running" || before || destroyed.load());
        return status == "pending";
      },
      "pending"));
}

TEST_P(JobLife, AManuallyDismissedJobThatFailedStaysQueryable) {
  const JobRef job =
      world.Start({.id = "j", .context = context(), .auto_dismiss = false}, Returning(absl::InternalError("bad")));
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  world.Settle();
  EXPECT_TRUE(world.Findable("j"));
  EXPECT_EQ(world.Query(job).outcome, JobOutcome::Failed(absl::InternalError("bad")));
  ASSERT_TRUE(world.Dismiss(job).ok());
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running", "aborting", "concluded", "null"));
}

TEST_P(JobLife, TheOutcomeInQueriesIsThatInTheEvents) {
  for (const absl::Status& status : {absl::OkStatus(), absl::AbortedError("enough")}) {
    const JobRef job = world.Start({.id = "j", .context = context(), .auto_dismiss = false}, Returning(status));
    ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
    EXPECT_EQ(world.Query(job).outcome->ToString(), world.EventOutcome("j"));
    EXPECT_EQ(world.Query(job).outcome->ToStatus(), status);
    ASSERT_TRUE(world.Dismiss(job).ok());
  }
}

TEST(JobOutcomeText, IsForPeople) {
  EXPECT_EQ(JobOutcome::Succeeded().ToString(), "succeeded");
  EXPECT_EQ(JobOutcome::Cancelled("by the user").ToString(), "cancelled");
  EXPECT_EQ(JobOutcome::Failed(absl::DataLossError("gone")).ToString(), "failed: gone");
  EXPECT_TRUE(JobOutcome::Succeeded().ToStatus().ok());
  EXPECT_EQ(JobOutcome::Cancelled("by the user").ToStatus().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(JobOutcome::Failed(absl::DataLossError("gone")).ToStatus(), absl::DataLossError("gone"));
}

TEST(JobLifeVerbs, AReferenceToADeadJobStaysUsable) {
  TestWorld world;
  const JobRef job = world.Start({.id = "j"}, {});
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  Enter(*job);
  EXPECT_EQ(world.Status(job), "null");
  EXPECT_EQ(world.Query(job).id, "j");
  ExpectRefused(world.Cancel(job), "Job 'j' in state 'null' cannot accept", "j");
  EXPECT_THAT(world.NewEvents(), testing::Contains("j null").Times(1));
}

}  // namespace
}  // namespace jobcore
