// SPDX-License-Identifier: Apache-2.0
//
// The change verb: served by the driver's hook in the job's context, in order, beside Run and never outside of it,
// and answered exactly once.

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class JobChange : public testing::TestWithParam<bool> {
 protected:
  JobSpec Spec() { return {.id = "j", .context = GetParam() ? &world.io() : nullptr}; }
  // Obedient, and notes the values that it is given.
  Script Noting(std::optional<ReadyCapabilities> ready = {}) {
    Script script = Obedient(remote, ready);
    script.change = [this](JobContext& job, const JobOptions& options) -> Co<absl::Status> {
      EXPECT_TRUE(job.context().IsHome());
      for (const auto& [name, value] : options) Note(name + "=" + value);
      co_return absl::OkStatus();
    };
    return script;
  }
  void Note(std::string text) {
    std::lock_guard<std::mutex> guard(mutex);
    noted.push_back(std::move(text));
  }
  Strings Noted() {
    std::lock_guard<std::mutex> guard(mutex);
    return noted;
  }
  VerbReply Reply() { return replies.Make(world.main()); }
  bool RunUntilAnswered(int count) {
    return world.RunUntil([&] { return replies.count() == count; }, "answers");
  }

  TestWorld world{{.io_threads = 1}};
  std::shared_ptr<Remote> remote = std::make_shared<Remote>();
  Replies replies;
  std::mutex mutex;
  Strings noted;
};

INSTANTIATE_TEST_SUITE_P(, JobChange, testing::Bool(),
                         [](const auto& info) { return info.param ? "IOThread" : "Main"; });

TEST_P(JobChange, IsAnsweredByTheHookWithTheOptionsGiven) {
  const JobRef job = world.Start(Spec(), Noting());
  world.Settle();
  ASSERT_TRUE(world.Change(job, {{"copy-mode", "write-blocking"}, {"depth", "3"}}, Reply()).ok());
  ASSERT_TRUE(RunUntilAnswered(1));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
  EXPECT_THAT(Noted(), ElementsAre("copy-mode=write-blocking", "depth=3"));
  EXPECT_EQ(world.Status(job), "running");
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_P(JobChange, NobodyNeedsToWantTheAnswer) {
  const JobRef job = world.Start(Spec(), Noting());
  ASSERT_TRUE(world.Change(job, {{"a", "1"}}).ok());
  ASSERT_TRUE(world.RunUntil([&] { return Noted().size() == 1; }, "the hook"));
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_P(JobChange, ADriverThatDoesNotImplementItSaysSoAndTheJobGoesOn) {
  const JobRef job = world.Start(Spec(), Obedient(remote));
  world.Settle();
  ASSERT_TRUE(world.Change(job, {}, Reply()).ok());
  ASSERT_TRUE(RunUntilAnswered(1));
  EXPECT_THAT(replies.all(), ElementsAre(AllOf(StartsWith("UNIMPLEMENTED: Job type does not support change"),
                                               HasSubstr("'j'"), HasSubstr("'scripted'"))));
  EXPECT_EQ(world.Status(job), "running");
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

TEST_P(JobChange, ARefusalByTheHookIsTheAnswerOfThatRequestOnly) {
  Script script = Obedient(remote);
  script.change = [](JobContext&, const JobOptions& options) -> Co<absl::Status> {
    if (options.empty()) co_return absl::InvalidArgumentError("nothing to change");
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start(Spec(), std::move(script));
  ASSERT_TRUE(world.Change(job, {}, Reply()).ok());
  ASSERT_TRUE(world.Change(job, {{"a", "1"}}, Reply()).ok());
  ASSERT_TRUE(RunUntilAnswered(2));
  EXPECT_THAT(replies.all(), ElementsAre("INVALID_ARGUMENT: nothing to change", "OK"));
}

TEST_P(JobChange, AnExceptionThatLeavesTheHookIsTheAnswerAndTheNextRequestIsServed) {
  Script script = Obedient(remote);
  script.change = [](JobContext&, const JobOptions& options) -> Co<absl::Status> {
    if (options.empty()) throw std::runtime_error("no such mode");
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start(Spec(), std::move(script));
  ASSERT_TRUE(world.Change(job, {}, Reply()).ok());
  ASSERT_TRUE(world.Change(job, {{"a", "1"}}, Reply()).ok());
  ASSERT_TRUE(RunUntilAnswered(2));
  EXPECT_THAT(replies.all(), ElementsAre(AllOf(HasSubstr("no such mode"), HasSubstr("Change")), "OK"));
  EXPECT_EQ(world.Status(job), "running");
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("j"), "succeeded");
}

TEST_P(JobChange, RequestsAreServedOneAfterTheOtherInOrderCompleteAmongThem) {
  Gate& gate = world.NewGate();
  Script script = Obedient(remote, ReadyCapabilities{});
  script.change = [&](JobContext&, const JobOptions& options) -> Co<absl::Status> {
    Note("begin " + options[0].first);
    if (options[0].first == "first") co_await gate.Pass();  // ScriptedDriver checks that no other begins
    Note("end " + options[0].first);
    co_return absl::OkStatus();
  };
  script.complete = [&](JobContext&) -> Co<absl::Status> {
    Note("complete");
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start(Spec(), std::move(script));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Change(job, {{"first", ""}}, Reply()).ok());
  ASSERT_TRUE(world.Complete(job, Reply()).ok());
  ASSERT_TRUE(world.Change(job, {{"second", ""}}, Reply()).ok());
  ASSERT_TRUE(world.Complete(job, Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "the first hook"));
  ASSERT_TRUE(world.Change(job, {{"third", ""}}, Reply()).ok());
  world.Settle();
  EXPECT_EQ(replies.count(), 0);
  gate.Open();
  ASSERT_TRUE(RunUntilAnswered(5));
  EXPECT_THAT(Noted(), ElementsAre("begin first", "end first", "complete", "begin second", "end second", "begin third",
                                   "end third"));
  EXPECT_THAT(replies.all(), ElementsAre("OK", "OK", "OK", "OK", "OK"));
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST_P(JobChange, OfAJobThatHasNotStartedIsServedOnceRunHasBegun) {
  const JobRef job = world.Create(Spec(), Noting());
  ASSERT_TRUE(world.Change(job, {{"a", "1"}}, Reply()).ok());
  world.Settle();
  EXPECT_THAT(Noted(), IsEmpty());
  EXPECT_EQ(replies.count(), 0);
  ASSERT_TRUE(StartJob(*job).ok());
  ASSERT_TRUE(RunUntilAnswered(1));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
  EXPECT_THAT(Noted(), ElementsAre("a=1"));
}

TEST_P(JobChange, OfAJobThatParksBeforeRunIsServedOnceRunHasBegun) {
  const JobRef job = world.Create(Spec(), Noting());
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(StartJob(*job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  ASSERT_TRUE(world.Change(job, {{"a", "1"}}, Reply()).ok());
  world.Settle();
  EXPECT_EQ(replies.count(), 0);
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(RunUntilAnswered(1));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
}

TEST_P(JobChange, OfAPausedJobIsServedAndLeavesItPaused) {
  const JobRef job = world.Start(Spec(), Noting());
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  ASSERT_TRUE(world.Change(job, {{"a", "1"}}, Reply()).ok());
  ASSERT_TRUE(RunUntilAnswered(1));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
  EXPECT_EQ(world.Status(job), "paused");
}

TEST_P(JobChange, OfAJobThatIsCancelledBeforeItStartsIsAnswered) {
  const JobRef job = world.Create(Spec(), Noting());
  ASSERT_TRUE(world.Change(job, {{"a", "1"}}, Reply()).ok());
  if (GetParam()) world.Settle();
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  ASSERT_TRUE(RunUntilAnswered(1));
  EXPECT_THAT(replies.all(), ElementsAre(AllOf(HasSubstr("finished first"), HasSubstr("'j'"), HasSubstr("change"))));
  EXPECT_THAT(Noted(), IsEmpty());
}

TEST_P(JobChange, OfAJobThatIsAbandonedIsAnswered) {
  const JobRef job = world.Create(Spec(), Noting());
  ASSERT_TRUE(world.Change(job, {{"a", "1"}}, Reply()).ok());
  world.Settle();
  ASSERT_TRUE(AbandonJob(*job).ok());
  ASSERT_TRUE(RunUntilAnswered(1));
  EXPECT_THAT(replies.all(), ElementsAre(HasSubstr("finished first")));
}

TEST_P(JobChange, AHookInProgressIsAwaitedWhenRunEndsAndWhatIsQueuedIsToldThatTheJobFinishedFirst) {
  Gate& gate = world.NewGate();
  Script script = Obedient(remote);
  script.change = [&](JobContext&, const JobOptions&) -> Co<absl::Status> {
    co_await gate.Pass();
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start(Spec(), std::move(script));
  ASSERT_TRUE(world.Change(job, {}, Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "the hook"));
  ASSERT_TRUE(world.Change(job, {}, Reply()).ok());
  remote->Finish(*job);
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");
  EXPECT_EQ(replies.count(), 0);
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  ASSERT_TRUE(RunUntilAnswered(2));
  EXPECT_THAT(replies.all(), ElementsAre("OK", HasSubstr("finished first")));
  EXPECT_EQ(world.log().Count("j", "Change"), 1);
}

TEST_P(JobChange, AForceCancelledJobAnswersWhatIsQueuedWithoutTheHookAndBeforeItsRunEnds) {
  Gate& hook = world.NewGate();
  Gate& stubborn = world.NewGate();
  Script script;
  script.run = [&](JobContext&) -> Co<absl::Status> {
    co_await stubborn.Pass();
    co_return absl::OkStatus();
  };
  script.change = [&](JobContext&, const JobOptions&) -> Co<absl::Status> {
    co_await hook.Pass();
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start(Spec(), std::move(script));
  ASSERT_TRUE(world.Change(job, {}, Reply()).ok());
  ASSERT_TRUE(world.RunUntil([&] { return hook.reached() == 1; }, "the hook"));
  ASSERT_TRUE(world.Change(job, {}, Reply()).ok());
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.Change(job, {}, Reply()).ok());  // the state allows it
  world.Settle();
  EXPECT_EQ(replies.count(), 0);
  hook.Open();
  ASSERT_TRUE(RunUntilAnswered(3));
  EXPECT_THAT(replies.all(), ElementsAre("OK", AllOf(StartsWith("CANCELLED"), HasSubstr("'j'"), HasSubstr("change")),
                                         StartsWith("CANCELLED")));
  EXPECT_EQ(world.log().Count("j", "Change"), 1);
  EXPECT_EQ(world.Status(job), "running");
  stubborn.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_EQ(replies.count(), 3);
}

// The answer to the request comes early; CompleteAndWait is after the outcome.
TEST(JobChangeWait, CompleteAndWaitOfAJobThatIsCancelledWaitsForItsEnd) {
  TestWorld world;
  Gate& gate = world.NewGate();
  const JobRef job = world.Start({.id = "j"}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                                   self.Ready();
                                   co_await gate.Pass();
                                   co_return absl::OkStatus();
                                 }});
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  int turns = 0;
  std::function<void()> turn = [&] {
    if (turns == 0) {
      EXPECT_TRUE(world.Cancel(job).ok());
    }
    if (++turns == 20) return gate.Open();
    world.main().Post("turn", [&] { turn(); });
  };
  world.main().Post("turn", [&] { turn(); });
  const absl::StatusOr<JobOutcome> outcome = monitor::CompleteAndWait(job);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->kind, JobOutcome::Kind::kCancelled);
}

TEST_P(JobChange, TheTableOfVerbsHolds) {
  JobSpec spec = Spec();
  spec.auto_dismiss = false;
  const JobRef job = world.Start(spec, {});
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  ExpectRefused(world.Change(job, {}, Reply()), "Job 'j' in state 'concluded' cannot accept command verb 'change'",
                "j");
  ASSERT_TRUE(world.Dismiss(job).ok());
  EXPECT_EQ(replies.count(), 0);
}

TEST_P(JobChange, EveryAcceptedRequestHasOneAnswerHoweverTheJobEnds) {
  for (int round = 0; round < 200; ++round) {
    auto told = std::make_shared<Remote>();
    JobSpec spec = Spec();
    spec.id = "j" + std::to_string(round);
    Script script = Obedient(told, ReadyCapabilities{});
    script.change = [](JobContext&, const JobOptions&) -> Co<absl::Status> { co_return absl::OkStatus(); };
    const JobRef job = world.Create(spec, std::move(script));
    const int before = replies.count();
    int accepted = 0;
    const auto ask = [&] {
      accepted += world.Change(job, {{"a", "1"}}, Reply()).ok() ? 1 : 0;
      accepted += world.Complete(job, Reply()).ok() ? 1 : 0;
    };
    const auto end = [&] {
      if (round % 3 == 0) {
        told->Finish(*job);
      } else {
        (void)world.Cancel(job);
      }
    };
    ask();
    if (round % 5 != 0) {
      ASSERT_TRUE(StartJob(*job).ok());
    }
    ask();
    if (round % 2 == 0) end();
    ask();
    if (round % 7 == 0) world.main().RunOnce(false);
    ask();
    (void)StartJob(*job);
    if (round % 2 != 0) end();
    told->Finish(*job);
    ask();
    ASSERT_TRUE(world.RunUntilNull(job));
    ASSERT_TRUE(RunUntilAnswered(before + accepted));
  }
  world.Settle();
}

}  // namespace
}  // namespace jobcore
