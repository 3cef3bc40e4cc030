// SPDX-License-Identifier: Apache-2.0
//
// Every verb in every state: allowed where the table says so, refused elsewhere with the
// wire text, and a refused verb changes nothing.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// A fresh job "j" in the state asked for, at rest.
struct Stage {
  explicit Stage(std::string_view state) {
    const bool ready = state == "ready" || state == "standby";
    JobTxnBuilder group(world.core());
    JobSpec spec{.id = "j", .group = &group};
    spec.auto_finalize = state != "pending";
    spec.auto_dismiss = state != "concluded" && state != "null";
    if (state == "aborting") {
      job = world.Create(spec, Returning(absl::DataLossError("disk on fire")));
      Gate& gate = world.NewGate();
      other = world.Create({.id = "sibling", .group = &group}, {.run = [&gate](JobContext&) -> Co<absl::Status> {
                             co_await gate.Pass();  // whatever anybody asks for
                             co_return absl::OkStatus();
                           }});
    } else {
      job = world.Create(
          spec, Obedient(remote, ready ? std::optional<ReadyCapabilities>(ReadyCapabilities{}) : std::nullopt));
      if (state == "waiting")
        other = world.Create({.id = "sibling", .group = &group}, Obedient(std::make_shared<Remote>()));
    }
    EXPECT_TRUE(group.Seal().ok());
    if (state == "created") return;
    if (other) {
      EXPECT_TRUE(StartJob(*other).ok());
    }
    world.Settle();
    EXPECT_TRUE(StartJob(*job).ok());
    world.Settle();
    if (state == "paused" || state == "standby") {
      EXPECT_TRUE(world.Pause(job).ok());
    }
    if (state == "waiting" || state == "pending" || state == "concluded" || state == "null") remote->Finish(*job);
    world.Settle();
    if (state == "null") {
      EXPECT_TRUE(world.Dismiss(job).ok());
    }
    EXPECT_EQ(world.Status(job), state);
  }

  TestWorld world;
  std::shared_ptr<Remote> remote = std::make_shared<Remote>();
  JobRef other;
  JobRef job;
};

constexpr std::string_view kStates[] = {"created", "running", "paused",   "ready",     "standby",
                                        "waiting", "pending", "aborting", "concluded", "null"};

enum class Call { kCancelSoft, kCancelForce, kPause, kResume, kComplete, kFinalize, kDismiss };
constexpr Call kCalls[] = {Call::kCancelSoft, Call::kCancelForce, Call::kPause,  Call::kResume,
                           Call::kComplete,   Call::kFinalize,    Call::kDismiss};

JobVerb VerbOf(Call call) {
  switch (call) {
    case Call::kCancelSoft:
    case Call::kCancelForce:
      return JobVerb::kCancel;
    case Call::kPause:
      return JobVerb::kPause;
    case Call::kResume:
      return JobVerb::kResume;
    case Call::kComplete:
      return JobVerb::kComplete;
    case Call::kFinalize:
      return JobVerb::kFinalize;
    case Call::kDismiss:
      break;
  }
  return JobVerb::kDismiss;
}

absl::Status Do(Stage& stage, Call call, Replies& replies) {
  JobLock lock(stage.world.core());
  AioContext& main = stage.world.main();
  switch (call) {
    case Call::kCancelSoft:
      return monitor::Cancel(*stage.job, CancelMode::kSoft);
    case Call::kCancelForce:
      return monitor::Cancel(*stage.job, CancelMode::kForce);
    case Call::kPause:
      return monitor::Pause(*stage.job);
    case Call::kResume:
      return monitor::Resume(*stage.job);
    case Call::kComplete:
      return monitor::Complete(*stage.job, replies.Make(main));
    case Call::kFinalize:
      return monitor::Finalize(*stage.job, replies.Make(main));
    case Call::kDismiss:
      break;
  }
  return monitor::Dismiss(*stage.job);
}

// "" if the verb is to be accepted, otherwise how its error text begins.
std::string ExpectedError(std::string_view state, Call call) {
  const JobVerb verb = VerbOf(call);
  const bool paused = state == "paused" || state == "standby";
  // The reference looks whether the job is paused before it looks at the state.
  if (call == Call::kResume && !paused) return "Can't resume a job that was not paused";
  if (!VerbAllowed(verb, *ParseJobStatus(state)))
    return "Job 'j' in state '" + std::string(state) + "' cannot accept command verb '" +
           std::string(JobVerbName(verb)) + "'";
  if (call == Call::kPause && paused) return "Job is already paused";
  return "";
}

// What an observer can see of the job.
std::string Picture(Stage& stage) {
  const monitor::JobInfo info = stage.world.Query(stage.job);
  std::string picture = std::string(JobStatusName(info.status)) + " last event " + std::to_string(info.last_event) +
                        " of " + std::to_string(stage.world.LastEvent()) + (info.cancelling ? " cancelling" : "") +
                        (info.outcome ? " " + info.outcome->ToString() : "");
  for (const std::string& reason : info.pause_reasons) picture += " paused:" + reason;
  for (const std::string& hook : stage.world.log().All()) picture += " " + hook;
  return picture;
}

class JobVerbs : public testing::TestWithParam<std::string_view> {};

INSTANTIATE_TEST_SUITE_P(InState, JobVerbs, testing::ValuesIn(kStates),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(JobVerbs, AreAcceptedOrRefusedAsTheTableSays) {
  for (Call call : kCalls) {
    SCOPED_TRACE(std::string(JobVerbName(VerbOf(call))) + (call == Call::kCancelSoft ? " (soft)" : "") + " in " +
                 std::string(GetParam()));
    Stage stage(GetParam());
    Replies replies;
    const std::string expected = ExpectedError(GetParam(), call);
    const absl::Status status = Do(stage, call, replies);
    if (expected.empty()) {
      EXPECT_TRUE(status.ok()) << status;
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
      EXPECT_THAT(std::string(status.message()), StartsWith(expected));
    }
    stage.world.Settle();
    // Accepted: exactly one answer, sooner or later; refused: none.
    if (!expected.empty()) {
      EXPECT_THAT(replies.all(), IsEmpty());
    }
    if (expected.empty() && (call == Call::kFinalize || call == Call::kComplete)) {
      if (GetParam() == "standby") {
        EXPECT_TRUE(stage.world.Resume(stage.job).ok());
        stage.world.Settle();
      }
      EXPECT_EQ(replies.count(), 1);
    }
  }
}

TEST_P(JobVerbs, ARefusalNamesTheJobAndItsState) {
  for (Call call : kCalls) {
    if (ExpectedError(GetParam(), call).empty()) continue;
    Stage stage(GetParam());
    Replies replies;
    const absl::Status status = Do(stage, call, replies);
    SCOPED_TRACE(status.ToString());
    EXPECT_THAT(std::string(status.message()), HasSubstr("'j'"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("'" + std::string(GetParam()) + "'"));
  }
}

TEST_P(JobVerbs, ARefusedVerbChangesNothing) {
  for (Call call : kCalls) {
    if (ExpectedError(GetParam(), call).empty()) continue;
    SCOPED_TRACE(std::string(JobVerbName(VerbOf(call))) + " in " + std::string(GetParam()));
    Stage stage(GetParam());
    const std::string before = Picture(stage);
    for (int i = 0; i < 3; ++i) {
      Replies replies;
      EXPECT_FALSE(Do(stage, call, replies).ok());
      EXPECT_EQ(Picture(stage), before);
      stage.world.Settle();
      EXPECT_EQ(Picture(stage), before);
      EXPECT_EQ(replies.count(), 0);
    }
  }
}

TEST_P(JobVerbs, AnyTwoVerbsInARowNeverBreakTheCore) {
  for (Call first : kCalls) {
    for (Call second : kCalls) {
      for (bool settle : {false, true}) {
        Stage stage(GetParam());
        Replies replies;
        Do(stage, first, replies).IgnoreError();
        if (settle) stage.world.Settle();
        Do(stage, second, replies).IgnoreError();
        stage.world.Settle();
      }
    }
  }
}

TEST(JobVerbsOfNobody, AJobThatIsNotThereIsNotFound) {
  TestWorld world;
  JobLock lock(world.core());
  EXPECT_EQ(monitor::Find(world.core(), "j"), nullptr);
  EXPECT_EQ(monitor::Find(world.core(), ""), nullptr);
  EXPECT_EQ(monitor::Find(world.core(), uint64_t{0}), nullptr);
  EXPECT_EQ(monitor::Find(world.core(), uint64_t{1}), nullptr);
}

TEST(JobVerbsOfNobody, ADismissedJobIsNotFound) {
  Stage stage("null");
  JobLock lock(stage.world.core());
  EXPECT_EQ(monitor::Find(stage.world.core(), "j"), nullptr);
  EXPECT_EQ(monitor::Find(stage.world.core(), stage.job->number()), nullptr);
}

TEST(JobVerbsOfNobody, AJobIsFoundByNameAndByNumber) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j"}, {});
  JobLock lock(world.core());
  EXPECT_EQ(monitor::Find(world.core(), "j"), job.get());
  EXPECT_EQ(monitor::Find(world.core(), job->number()), job.get());
  EXPECT_EQ(monitor::Find(world.core(), "J"), nullptr);
}

TEST(JobVerbRefusal, ARefusalSaysWhatWouldWork) {
  Stage stage("concluded");
  const absl::Status status = stage.world.Cancel(stage.job);
  EXPECT_THAT(std::string(status.message()),
              StartsWith("Job 'j' in state 'concluded' cannot accept command verb 'cancel';"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("dismiss"));
}

TEST(JobVerbRefusal, AJobWithoutCompleteSaysSo) {
  TestWorld world;
  const JobRef job =
      world.Start({.id = "j"}, Obedient(std::make_shared<Remote>(), ReadyCapabilities{.complete = false}));
  world.Settle();
  ASSERT_EQ(world.Status(job), "ready");
  ExpectRefused(world.Complete(job), "The active block job 'j' cannot be completed", "j");
}

}  // namespace
}  // namespace jobcore
