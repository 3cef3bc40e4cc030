// SPDX-License-Identifier: Apache-2.0
//
// The complete verb: asked once or often, running or paused, and answered exactly once each time.

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class JobComplete : public testing::TestWithParam<bool> {
 protected:
  JobRef StartReady(JobSpec spec, Script script) {
    spec.context = GetParam() ? &world.io() : nullptr;
    JobRef job = world.Start(spec, std::move(script));
    world.RunUntilStatus(job, "ready");
    world.Settle();
    return job;
  }
  VerbReply Reply() { return replies.Make(world.main()); }

  TestWorld world{{.io_threads = 1}};
  std::shared_ptr<Remote> remote = std::make_shared<Remote>();
  Replies replies;
};

INSTANTIATE_TEST_SUITE_P(, JobComplete, testing::Bool(),
                         [](const auto& info) { return info.param ? "IOThread" : "Main"; });

TEST_P(JobComplete, IsAnsweredByTheHookAndTheJobSucceeds) {
  const JobRef job = StartReady({.id = "j"}, Obedient(remote, ReadyCapabilities{}));
  ASSERT_TRUE(world.Complete(job, Reply()).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
  EXPECT_EQ(world.log().Count("j", "Complete"), 1);
}

TEST_P(JobComplete, NobodyNeedsToWantTheAnswer) {
  const JobRef job = StartReady({.id = "j"}, Obedient(remote, ReadyCapabilities{}));
  ASSERT_TRUE(world.Complete(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_P(JobComplete, ThreeRequestsHaveThreeAnswersAndOneHook) {
  const JobRef job = StartReady({.id = "j"}, [&] {
    Script script = Obedient(remote, ReadyCapabilities{});
    script.complete = [](JobContext&) -> Co<absl::Status> { co_return absl::OkStatus(); };
    return script;
  }());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(world.Complete(job, Reply()).ok());
  world.Settle();
  EXPECT_THAT(replies.all(), ElementsAre("OK", "OK", "OK"));
  ASSERT_TRUE(world.Complete(job, Reply()).ok());
  world.Settle();
  EXPECT_EQ(replies.count(), 4);
  EXPECT_EQ(world.log().Count("j", "Complete"), 1);
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_EQ(replies.count(), 4);
}

TEST_P(JobComplete, ARefusalByTheHookIsTheAnswerAndTheJobGoesOn) {
  std::atomic<int> asked{0};
  const JobRef job = StartReady({.id = "j"}, [&] {
    Script script = Obedient(remote, ReadyCapabilities{});
    script.complete = [&, r = remote](JobContext& self) -> Co<absl::Status> {
      if (asked.fetch_add(1) == 0) co_return absl::NotFoundError("Node name 'n' not found");
      r->Finish(self.job());
      co_return absl::OkStatus();
    };
    return script;
  }());
  ASSERT_TRUE(world.Complete(job, Reply()).ok());
  world.Settle();
  EXPECT_THAT(replies.all(), ElementsAre(HasSubstr("Node name 'n' not found")));
  EXPECT_EQ(world.Status(job), "ready");
  // A request that has been refused may be made again.
  ASSERT_TRUE(world.Complete(job, Reply()).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_EQ(replies.count(), 2);
  EXPECT_EQ(replies.all().back(), "OK");
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

TEST_P(JobComplete, InStandbyTakesEffectOnResume) {
  const JobRef job = StartReady({.id = "j"}, Obedient(remote, ReadyCapabilities{}));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "standby"));
  world.NewEvents();
  const int turns = remote->turns();
  ASSERT_TRUE(world.Complete(job, Reply()).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "standby");
  EXPECT_THAT(world.NewEvents(), IsEmpty());
  EXPECT_EQ(remote->turns(), turns);
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_THAT(world.NewEvents(), ElementsAre("j ready", "j waiting", "j pending", "j concluded", "j null"));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
}

TEST_P(JobComplete, AfterASoftCancelIsRefused) {
  Gate& gate = world.NewGate();
  const JobRef job = StartReady({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                  self.Ready({.soft_cancel = true});
                                  co_await gate.Pass();
                                  co_return absl::OkStatus();
                                }});
  ASSERT_TRUE(world.Cancel(job, CancelMode::kSoft).ok());
  ExpectRefused(world.Complete(job, Reply()), "The active block job 'j' cannot be completed", "j");
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(replies.all(), IsEmpty());
  EXPECT_EQ(world.log().Count("j", "Complete"), 0);
}

TEST_P(JobComplete, AfterAForceCancelIsRefused) {
  Gate& gate = world.NewGate();
  const JobRef job = StartReady({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                  self.Ready();
                                  co_await gate.Pass();
                                  co_return absl::OkStatus();
                                }});
  ASSERT_TRUE(world.Cancel(job).ok());
  ExpectRefused(world.Complete(job, Reply()), "The active block job 'j' cannot be completed", "j");
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_P(JobComplete, AHookInProgressIsAwaitedBeforeTheJobIsFinalised) {
  Gate& gate = world.NewGate();
  Script script = Obedient(remote, ReadyCapabilities{});
  script.complete = [&](JobContext&) -> Co<absl::Status> {
    co_await gate.Pass();
    co_return absl::OkStatus();
  };
  const JobRef job = StartReady({.id = "j"}, std::move(script));
  ASSERT_TRUE(world.Complete(job, Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "the hook"));
  remote->Finish(*job);  // Run ends while the hook is still at it
  world.Settle();
  EXPECT_EQ(world.Status(job), "ready");
  EXPECT_EQ(world.log().Count("j", "Prepare"), 0);
  EXPECT_EQ(replies.count(), 0);
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_EQ(replies.count(), 1);
}

TEST_P(JobComplete, EveryAcceptedRequestHasOneAnswerEvenIfTheJobFinishesFirst) {
  for (int round = 0; round < 200; ++round) {
    const std::string id = "j" + std::to_string(round);
    auto told = std::make_shared<Remote>();
    const JobRef job = StartReady({.id = id}, Obedient(told, ReadyCapabilities{}));
    const int before = replies.count();
    int accepted = 0;
    // Either may be first; in an I/O thread they really race.
    if (round % 2 == 0) told->Finish(*job);
    for (int i = 0; i < 3; ++i) accepted += world.Complete(job, Reply()).ok() ? 1 : 0;
    if (round % 2 == 1) told->Finish(*job);
    ASSERT_TRUE(world.RunUntilNull(job));
    ASSERT_TRUE(world.RunUntil([&] { return replies.count() == before + accepted; }, "answers"));
    EXPECT_LE(world.log().Count(id, "Complete"), 1);
  }
  world.Settle();
}

TEST_P(JobComplete, NoHookBeginsAfterRunAndTheAnswerSaysThatTheJobFinishedFirst) {
  std::atomic<bool> at_it{false};
  std::atomic<bool> go_on{false};
  Gate& gate = world.NewGate();
  // In its last turn the job does not suspend any more, so no hook can come in between.
  const JobRef job = StartReady({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                  self.Ready();
                                  co_await gate.Pass();
                                  at_it = true;
                                  while (!go_on && GetParam()) std::this_thread::yield();
                                  co_return absl::OkStatus();
                                }});
  if (GetParam()) {
    gate.Open();
    ASSERT_TRUE(world.RunUntil([&] { return at_it.load(); }, "the last turn"));
    ASSERT_TRUE(world.Complete(job, Reply()).ok());
    go_on = true;
  } else {
    // One thread: complete from a callback that is queued before the job goes on.
    gate.Open();
    ASSERT_TRUE(world.Complete(job, Reply()).ok());
  }
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  ASSERT_EQ(replies.count(), 1);
  if (GetParam()) {
    EXPECT_EQ(world.log().Count("j", "Complete"), 0);
    EXPECT_NE(replies.all().front(), "OK");
    EXPECT_THAT(replies.all().front(), HasSubstr("finished"));
    EXPECT_THAT(replies.all().front(), HasSubstr("'j'"));
  }
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

TEST_P(JobComplete, AnExceptionThatLeavesTheHookIsTheAnswerAndTheJobGoesOn) {
  Script script = Obedient(remote, ReadyCapabilities{});
  script.complete = [](JobContext&) -> Co<absl::Status> {
    throw std::runtime_error("no pivot");
    co_return absl::OkStatus();
  };
  const JobRef job = StartReady({.id = "j"}, std::move(script));
  ASSERT_TRUE(world.Complete(job, Reply()).ok());
  world.Settle();
  EXPECT_THAT(replies.all(), ElementsAre(HasSubstr("no pivot")));
  EXPECT_EQ(world.Status(job), "ready");
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

TEST_P(JobComplete, OfAPausedJobIsAnsweredEvenIfItIsCancelledInstead) {
  const JobRef job = StartReady({.id = "j"}, Obedient(remote, ReadyCapabilities{}));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "standby"));
  ASSERT_TRUE(world.Complete(job, Reply()).ok());
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_EQ(replies.count(), 1);
  EXPECT_EQ(world.EventOutcome("j"), "cancelled");
}

// Ready, with the complete verb announced, but without a hook for it.
class NoCompleteHook final : public JobDriver {
 public:
  Co<absl::Status> Run(JobContext& job) override {
    job.Ready({.complete = true});
    co_return co_await job.Yield();
  }
};

TEST_P(JobComplete, ADriverThatDoesNotImplementItSaysSoAndTheJobGoesOn) {
  const absl::StatusOr<JobRef> job = CreateJob(world.core(), {.id = "j", .context = GetParam() ? &world.io() : nullptr},
                                               std::make_unique<NoCompleteHook>());
  ASSERT_TRUE(job.ok());
  ASSERT_TRUE(StartJob(**job).ok());
  ASSERT_TRUE(world.RunUntilStatus(*job, "ready"));
  ASSERT_TRUE(world.Complete(*job, Reply()).ok());
  world.Settle();
  EXPECT_THAT(replies.all(), ElementsAre(testing::StartsWith("UNIMPLEMENTED")));
  EXPECT_EQ(world.Status(*job), "ready");
}

TEST_P(JobComplete, TheAnswerComesOnTheContextAskedFor) {
  const JobRef job = StartReady({.id = "j"}, Obedient(remote, ReadyCapabilities{}));
  ASSERT_TRUE(world.Complete(job, replies.Make(world.io())).ok());  // Make checks where it arrives
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
}

}  // namespace
}  // namespace jobcore
