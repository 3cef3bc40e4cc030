// SPDX-License-Identifier: Apache-2.0
//
// The finalisation hooks: each exactly once and in order, whatever happens; the cut between "may still abort"
// and "committing". (Every TestWorld also checks the protocol of all its drivers when it ends.)

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/event.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class JobHooks : public testing::Test {
 protected:
  // A group of members a, b, c, …, all started and pending.
  void MakePendingGroup(std::vector<Script> scripts) {
    JobTxnBuilder group(world.core());
    for (size_t i = 0; i < scripts.size(); ++i)
      jobs.push_back(world.Create({.id = std::string(1, static_cast<char>('a' + i)),
                                   .group = &group,
                                   .auto_finalize = false,
                                   .auto_dismiss = false},
                                  std::move(scripts[i])));
    ASSERT_TRUE(group.Seal().ok());
    for (const JobRef& job : jobs) ASSERT_TRUE(StartJob(*job).ok());
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  }
  void Concluded() {
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
    world.Settle();
  }
  VerbReply Reply() { return replies.Make(world.main()); }

  TestWorld world;
  Replies replies;
  std::vector<JobRef> jobs;  // destroyed before the world
};

TEST_F(JobHooks, OnSuccess) {
  {
    const JobRef job = world.Start({.id = "j"}, {});
    ASSERT_TRUE(world.RunUntilNull(job));
  }
  world.Settle();
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run", "Prepare", "Commit", "Clean", "~"));
}

TEST_F(JobHooks, OnFailure) {
  {
    const JobRef job = world.Start({.id = "j"}, Returning(absl::InternalError("bad")));
    ASSERT_TRUE(world.RunUntilNull(job));
  }
  world.Settle();
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run", "Abort", "Clean", "~"));
}

TEST_F(JobHooks, OnFailureToPrepare) {
  {
    const JobRef job = world.Start(
        {.id = "j"}, {.prepare = []() -> Co<absl::Status> { co_return absl::UnavailableError("no room"); }});
    ASSERT_TRUE(world.RunUntilNull(job));
  }
  world.Settle();
  EXPECT_THAT(world.log().Of("j"), ElementsAre("Run", "Prepare", "Abort", "Clean", "~"));
  EXPECT_EQ(world.EventOutcome("j"), "failed: no room");
  EXPECT_THAT(world.History("j"),
              ElementsAre("created", "running", "waiting", "pending", "aborting", "concluded", "null"));
}

TEST_F(JobHooks, OnCancelInEachState) {
  struct Case {
    std::string state;
    Strings hooks;
  };
  const Case cases[] = {
      {"created", {"Abort", "Clean", "~"}},
      {"running", {"Run", "CancelForce", "Abort", "Clean", "~"}},
      {"paused", {"Run", "Pause", "CancelForce", "Resume", "Abort", "Clean", "~"}},
      {"ready", {"Run", "CancelForce", "Abort", "Clean", "~"}},
      {"standby", {"Run", "Pause", "CancelForce", "Resume", "Abort", "Clean", "~"}},
      {"waiting", {"Run", "Abort", "Clean", "~"}},
      {"pending", {"Run", "Abort", "Clean", "~"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.state);
    const bool ready = c.state == "ready" || c.state == "standby";
    auto remote = std::make_shared<Remote>();
    {
      JobTxnBuilder group(world.core());
      const JobRef job =
          world.Create({.id = c.state, .group = &group, .auto_finalize = c.state != "pending"},
                       Obedient(remote, ready ? std::optional<ReadyCapabilities>(ReadyCapabilities{}) : std::nullopt));
      JobRef sibling;
      if (c.state == "waiting") sibling = world.Create({.id = "sibling", .group = &group}, Obedient(remote));
      ASSERT_TRUE(group.Seal().ok());
      if (c.state != "created") {
        ASSERT_TRUE(StartJob(*job).ok());
      }
      world.Settle();
      if (c.state == "paused" || c.state == "standby") {
        ASSERT_TRUE(world.Pause(job).ok());
      }
      if (c.state == "waiting" || c.state == "pending") remote->Finish(*job);
      world.Settle();
      ASSERT_EQ(world.Status(job), c.state);
      ASSERT_TRUE(world.Cancel(job).ok());
      ASSERT_TRUE(world.RunUntilNull(job));
      EXPECT_EQ(world.EventOutcome(c.state), "cancelled");
    }
    world.Settle();
    EXPECT_THAT(world.log().Of(c.state), testing::ElementsAreArray(c.hooks));
  }
}

TEST_F(JobHooks, OfAGroupRunPhaseByPhaseNewestFirst) {
  MakePendingGroup({{}, {}, {}});
  ASSERT_TRUE(world.Finalize(jobs[1], Reply()).ok());
  Concluded();
  EXPECT_THAT(world.log().All({"Prepare"}), ElementsAre("c.Prepare", "b.Prepare", "a.Prepare"));
  EXPECT_THAT(world.log().All({"Commit"}), ElementsAre("c.Commit", "b.Commit", "a.Commit"));
  EXPECT_THAT(world.log().All({"Clean"}), ElementsAre("c.Clean", "b.Clean", "a.Clean"));
  // All of one phase before any of the next.
  const Strings both = world.log().All({"Prepare", "Commit"});
  EXPECT_THAT(Strings(both.begin(), both.begin() + 3), testing::Each(HasSubstr("Prepare")));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
}

// R-83 = D2 in all its shapes: nobody commits, the culprit's event carries its own error.
TEST_F(JobHooks, AFailingPrepareAbortsAllWhicheverMemberFailsAndWhicheverIsFinalised) {
  for (size_t failing = 0; failing < 3; ++failing) {
    for (size_t via = 0; via < 3; ++via) {
      SCOPED_TRACE("fails " + std::to_string(failing) + ", finalised via " + std::to_string(via));
      TestWorld own;
      Replies answers;
      std::vector<JobRef> members;
      JobTxnBuilder group(own.core());
      for (size_t i = 0; i < 3; ++i) {
        Script script;
        if (i == failing) script.prepare = []() -> Co<absl::Status> { co_return absl::DataLossError("torn page"); };
        members.push_back(own.Create({.id = std::string(1, static_cast<char>('a' + i)),
                                      .group = &group,
                                      .auto_finalize = false,
                                      .auto_dismiss = false},
                                     std::move(script)));
      }
      ASSERT_TRUE(group.Seal().ok());
      for (const JobRef& job : members) ASSERT_TRUE(StartJob(*job).ok());
      for (const JobRef& job : members) ASSERT_TRUE(own.RunUntilStatus(job, "pending"));
      ASSERT_TRUE(own.Finalize(members[via], answers.Make(own.main())).ok());
      for (const JobRef& job : members) ASSERT_TRUE(own.RunUntilStatus(job, "concluded"));
      own.Settle();
      EXPECT_THAT(own.log().All({"Commit"}), IsEmpty());
      EXPECT_EQ(own.log().All({"Abort"}).size(), 3u);
      // Newest first, and none after the first failure.
      EXPECT_EQ(own.log().All({"Prepare"}).size(), 3 - failing);
      for (size_t i = 0; i < 3; ++i) {
        const std::string id(1, static_cast<char>('a' + i));
        EXPECT_EQ(own.EventOutcome(id), i == failing ? "failed: torn page" : "cancelled");
        EXPECT_THAT(own.History(id), ElementsAre("created", "running", "waiting", "pending", "aborting", "concluded"));
      }
      ASSERT_EQ(answers.count(), 1);
      EXPECT_THAT(answers.all().front(), StartsWith("ABORTED"));
      EXPECT_THAT(answers.all().front(), HasSubstr("torn page"));
    }
  }
}

TEST_F(JobHooks, AnExceptionThatLeavesPrepareIsAFailureToPrepare) {
  MakePendingGroup({{}, {.prepare = []() -> Co<absl::Status> {
                      throw std::runtime_error("unprepared");
                      co_return absl::OkStatus();
                    }}});
  ASSERT_TRUE(world.Finalize(jobs[0]).ok());
  Concluded();
  EXPECT_THAT(world.EventOutcome("b"), HasSubstr("unprepared"));
  EXPECT_EQ(world.EventOutcome("a"), "cancelled");
}

TEST_F(JobHooks, ACancelBeforeTheCutTurnsTheGroupToAbort) {
  Gate& gate = world.NewGate();
  MakePendingGroup({{.prepare = [&]() -> Co<absl::Status> {
                      co_await gate.Pass();
                      co_return absl::OkStatus();
                    }},
                    {}});
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "prepare"));
  ASSERT_TRUE(world.Cancel(jobs[1]).ok());
  world.Settle();
  EXPECT_THAT(world.log().All({"Abort", "Commit", "Clean"}), IsEmpty());  // prepare is awaited
  EXPECT_EQ(replies.count(), 0);
  gate.Open();
  Concluded();
  EXPECT_THAT(world.log().All({"Commit"}), IsEmpty());
  EXPECT_EQ(world.EventOutcome("a"), "cancelled");
  EXPECT_EQ(world.EventOutcome("b"), "cancelled");
  ASSERT_EQ(replies.count(), 1);
  EXPECT_THAT(replies.all().front(), StartsWith("ABORTED"));
}

TEST_F(JobHooks, ACancelOfTheVeryMemberThatPreparesTurnsTheGroupToAbort) {
  Gate& gate = world.NewGate();
  MakePendingGroup({{}, {.prepare = [&]() -> Co<absl::Status> {
                      co_await gate.Pass();
                      co_return absl::OkStatus();
                    }}});
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "prepare"));
  ASSERT_TRUE(world.Cancel(jobs[1]).ok());
  gate.Open();
  Concluded();
  EXPECT_THAT(world.log().All({"Prepare"}), ElementsAre("b.Prepare"));  // not started any more
  EXPECT_THAT(world.log().All({"Commit"}), IsEmpty());
  EXPECT_EQ(world.EventOutcome("b"), "cancelled");
}

TEST_F(JobHooks, ACancelAndThenAFailureToPrepareConcludeEveryoneOnce) {
  Gate& gate = world.NewGate();
  MakePendingGroup({{}, {.prepare = [&]() -> Co<absl::Status> {
                      co_await gate.Pass();
                      co_return absl::DataLossError("torn page");
                    }}});
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "prepare"));
  ASSERT_TRUE(world.Cancel(jobs[0]).ok());
  gate.Open();
  Concluded();
  EXPECT_EQ(world.EventOutcome("a"), "cancelled");
  EXPECT_EQ(replies.count(), 1);
}

TEST_F(JobHooks, ACancelAfterTheCutIsRefused) {
  Gate& gate = world.NewGate();
  MakePendingGroup({{}, {.commit = [&]() -> Co<absl::Status> {
                      co_await gate.Pass();
                      co_return absl::OkStatus();
                    }}});
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "commit"));
  for (CancelMode mode : {CancelMode::kForce, CancelMode::kSoft}) {
    ExpectRefused(world.Cancel(jobs[0], mode), "Job 'a' is committing", "a");
    ExpectRefused(world.Cancel(jobs[1], mode), "Job 'b' is committing", "b");
  }
  gate.Open();
  Concluded();
  EXPECT_EQ(world.EventOutcome("a"), "succeeded");
  EXPECT_EQ(world.EventOutcome("b"), "succeeded");
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
}

TEST_F(JobHooks, ASecondFinalizeBeforeTheCutJoinsTheFirst) {
  Gate& gate = world.NewGate();
  MakePendingGroup({{}, {.prepare = [&]() -> Co<absl::Status> {
                      co_await gate.Pass();
                      co_return absl::OkStatus();
                    }}});
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  ASSERT_TRUE(world.Finalize(jobs[1], Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "prepare"));
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  world.Settle();
  EXPECT_EQ(replies.count(), 0);
  gate.Open();
  Concluded();
  EXPECT_THAT(replies.all(), ElementsAre("OK", "OK", "OK"));
  EXPECT_EQ(world.log().All({"Prepare"}).size(), 2u);
}

TEST_F(JobHooks, ASecondFinalizeAfterTheCutJoinsTheFirst) {
  Gate& gate = world.NewGate();
  MakePendingGroup({{.commit = [&]() -> Co<absl::Status> {
    co_await gate.Pass();
    co_return absl::OkStatus();
  }}});
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "commit"));
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  gate.Open();
  Concluded();
  EXPECT_THAT(replies.all(), ElementsAre("OK", "OK"));
}

TEST_F(JobHooks, ASecondFinalizeGetsTheSameFailure) {
  Gate& gate = world.NewGate();
  MakePendingGroup({{.prepare = [&]() -> Co<absl::Status> {
    co_await gate.Pass();
    co_return absl::DataLossError("torn page");
  }}});
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "prepare"));
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  gate.Open();
  Concluded();
  ASSERT_EQ(replies.count(), 2);
  EXPECT_EQ(replies.all()[0], replies.all()[1]);
  EXPECT_THAT(replies.all()[0], HasSubstr("torn page"));
}

TEST_F(JobHooks, ACommitThatFailsIsThisJobsFailureAndTheOthersStayCommitted) {
  MakePendingGroup(
      {{}, {.commit = []() -> Co<absl::Status> { co_return absl::PermissionDeniedError("rename refused"); }}, {}});
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  Concluded();
  EXPECT_EQ(world.EventOutcome("a"), "succeeded");
  EXPECT_EQ(world.EventOutcome("b"), "failed: rename refused");
  EXPECT_EQ(world.EventOutcome("c"), "succeeded");
  EXPECT_EQ(world.log().All({"Commit"}).size(), 3u);
  EXPECT_THAT(world.log().All({"Abort"}), IsEmpty());
  EXPECT_EQ(world.log().All({"Clean"}).size(), 3u);
}

TEST_F(JobHooks, AJobConcludesOnlyWhenCleanHasFinished) {
  Gate& gate = world.NewGate();
  const JobRef job =
      world.Start({.id = "j", .auto_dismiss = false}, {.clean = [&]() -> Co<void> { co_await gate.Pass(); }});
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "clean"));
  world.Settle();
  EXPECT_EQ(world.Status(job), "pending");
  gate.Open();
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
}

TEST_F(JobHooks, CancelledIsSaidOnlyWhenTheDriverHasLetGo) {
  Gate& abort_gate = world.NewGate();
  const JobRef job = world.Start({.id = "j", .auto_dismiss = false},
                                 {.run = [](JobContext& self) -> Co<absl::Status> { co_return co_await self.Yield(); },
                                  .abort = [&]() -> Co<void> { co_await abort_gate.Pass(); }});
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntil([&] { return abort_gate.reached() == 1; }, "abort"));
  world.Settle();
  EXPECT_EQ(world.Status(job), "aborting");
  abort_gate.Open();
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  EXPECT_EQ(world.Outcome(job), "cancelled");
}

TEST_F(JobHooks, ProgressMayBeWrittenInTheFinalisationHooks) {
  Progress* progress = nullptr;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                                 progress = &self.progress();
                                                 progress->SetRemaining(10);
                                                 progress->Advance(5);
                                                 co_return absl::OkStatus();
                                               },
                                               .commit = [&]() -> Co<absl::Status> {
                                                 progress->Advance(5);
                                                 co_return absl::OkStatus();
                                               }});
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(job->progress().Get().current, 10u);
  EXPECT_EQ(job->progress().Get().total, 10u);
}

TEST_F(JobHooks, TheCancelHookComesBeforeTheJobIsWoken) {
  Strings order;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                                 absl::Status s = co_await self.Yield();
                                                 order.push_back("woken");
                                                 co_return s;
                                               },
                                               .cancel =
                                                   [&](JobContext& self, CancelMode mode) {
                                                     EXPECT_EQ(mode, CancelMode::kForce);
                                                     EXPECT_TRUE(self.force_cancelled());
                                                     order.push_back("hook");
                                                   }});
  world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(order, ElementsAre("hook", "woken"));
}

TEST_F(JobHooks, TheCancelHookComesBeforeAParkedJobGoesOn) {
  Strings order;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                                 absl::Status s = co_await self.Yield();
                                                 order.push_back("woken");
                                                 co_return s;
                                               },
                                               .cancel =
                                                   [&](JobContext& self, CancelMode mode) {
                                                     EXPECT_EQ(mode, CancelMode::kForce);
                                                     EXPECT_TRUE(self.force_cancelled());
                                                     order.push_back("hook");
                                                   }});
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_TRUE(job->parked());
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(order, ElementsAre("hook", "woken"));
}

// It stays parked, and its driver is told nevertheless.
TEST_F(JobHooks, AParkedJobIsToldOfASoftCancel) {
  std::vector<CancelMode> told;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                                 self.Ready({.soft_cancel = true});
                                                 co_return co_await self.Yield();
                                               },
                                               .cancel = [&](JobContext&, CancelMode mode) { told.push_back(mode); }});
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  world.Settle();
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  world.Settle();
  EXPECT_TRUE(job->parked());
  EXPECT_THAT(told, ElementsAre(CancelMode::kSoft));
  ASSERT_TRUE(world.Cancel(job, CancelMode::kForce).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(told, ElementsAre(CancelMode::kSoft, CancelMode::kForce));
}

TEST_F(JobHooks, TheCancelHookMayCompleteTheIoThatRunWaitsFor) {
  support::Event io;
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                                 co_await io;
                                                 co_return co_await self.PausePoint();
                                               },
                                               .cancel = [&](JobContext&, CancelMode) { io.Set(); }});
  world.Settle();
  ASSERT_TRUE(io.awaited());
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

TEST_F(JobHooks, AnExceptionThatLeavesCommitIsAFailureToCommit) {
  MakePendingGroup({{}, {.commit = []() -> Co<absl::Status> {
                      throw std::runtime_error("too late");
                      co_return absl::OkStatus();
                    }}});
  ASSERT_TRUE(world.Finalize(jobs[0], Reply()).ok());
  Concluded();
  EXPECT_EQ(world.EventOutcome("a"), "succeeded");
  EXPECT_THAT(world.EventOutcome("b"), HasSubstr("too late"));
  EXPECT_EQ(world.log().All({"Clean"}).size(), 2u);
}

TEST_F(JobHooks, AnExceptionThatLeavesPauseOrResumeFailsTheJob) {
  for (bool in_pause : {true, false}) {
    Script script = Obedient(std::make_shared<Remote>());
    (in_pause ? script.pause : script.resume) = [](JobContext&) -> Co<void> {
      throw std::runtime_error("stuck in the gate");
      co_return;
    };
    const JobRef job = world.Start({.id = "j"}, std::move(script));
    world.Settle();
    ASSERT_TRUE(world.Pause(job).ok());
    world.Settle();
    world.Resume(job).IgnoreError();  // refused if the job has failed already
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_THAT(world.EventOutcome("j"), StartsWith("failed: "));
    EXPECT_THAT(world.EventOutcome("j"), HasSubstr("stuck in the gate"));
  }
}

TEST_F(JobHooks, AJobThatIsCancelledBeforeItsFirstStepNeverRuns) {
  {
    const JobRef job = world.Start({.id = "j"}, {});
    ASSERT_TRUE(world.Cancel(job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
  }
  world.Settle();
  EXPECT_EQ(world.log().Count("j", "Run"), 0);
  EXPECT_EQ(world.log().Count("j", "Abort"), 1);
  EXPECT_THAT(world.History("j"), ElementsAre("created", "running", "aborting", "concluded", "null"));
}

void ThrowFrom(std::string_view hook) {
  TestWorld world;
  const auto boom = []() -> Co<void> {
    throw std::runtime_error("nowhere to go");
    co_return;
  };
  Script script = Obedient(std::make_shared<Remote>());
  if (hook == "Abort") script.abort = boom;
  if (hook == "Clean") script.clean = boom;
  if (hook == "Cancel") script.cancel = [](JobContext&, CancelMode) { throw std::runtime_error("nowhere to go"); };
  const JobRef job = world.Start({.id = "j"}, std::move(script));
  world.Settle();
  world.Cancel(job).IgnoreError();
  world.RunUntilNull(job);
}

TEST(JobHooksDeathTest, AnExceptionThatLeavesAHookThatCannotFailEndsTheProcess) {
  for (std::string_view hook : {"Cancel", "Abort", "Clean"}) {
    SCOPED_TRACE(hook);
    EXPECT_DEATH(ThrowFrom(hook), "");
  }
}

}  // namespace
}  // namespace jobcore
