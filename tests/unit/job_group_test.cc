// SPDX-License-Identifier: Apache-2.0
//
// Groups succeed together or fail together, on one loop or several, from one member to sixty-four.

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

enum class Where { kMain, kOneIOThread, kSeveral };

// A sealed group of `size` obedient members "j0", "j1", …, not started.
struct Group {
  Group(Where where, int size, bool auto_finalize = true) : world({.io_threads = where == Where::kMain ? 0 : 2}) {
    JobTxnBuilder builder(world.core());
    for (int i = 0; i < size; ++i) {
      AioContext* context = nullptr;
      if (where == Where::kOneIOThread) context = &world.io();
      if (where == Where::kSeveral && i % 3 != 0) context = &world.io(static_cast<size_t>(i % 3 - 1));
      remotes.push_back(std::make_shared<Remote>());
      jobs.push_back(world.Create(
          {.id = Id(i), .context = context, .group = &builder, .auto_finalize = auto_finalize, .auto_dismiss = false},
          Obedient(remotes.back())));
    }
    EXPECT_TRUE(builder.Seal().ok());
  }
  static std::string Id(int i) { return "j" + std::to_string(i); }
  void Start() {
    for (const JobRef& job : jobs) EXPECT_TRUE(StartJob(*job).ok());
  }
  bool AllConcluded() {
    for (const JobRef& job : jobs)
      if (!world.RunUntilStatus(job, "concluded")) return false;
    world.Settle();
    return true;
  }
  Strings Outcomes() {
    Strings result;
    for (const JobRef& job : jobs) result.push_back(world.Outcome(job));
    return result;
  }

  TestWorld world;
  std::vector<std::shared_ptr<Remote>> remotes;
  std::vector<JobRef> jobs;
};

struct Shape {
  Where where;
  int size;
};

class JobGroup : public testing::TestWithParam<Shape> {};

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (Where where : {Where::kMain, Where::kOneIOThread, Where::kSeveral})
    for (int size : {1, 2, 3, 8, 64}) shapes.push_back({where, size});
  return shapes;
}

std::string ShapeName(const testing::TestParamInfo<Shape>& info) {
  const char* where[] = {"InMain", "InOneIOThread", "InSeveralContexts"};
  return std::to_string(info.param.size) + where[static_cast<int>(info.param.where)];
}
INSTANTIATE_TEST_SUITE_P(Of, JobGroup, testing::ValuesIn(Shapes()), ShapeName);

// Where to put what goes wrong: everywhere in small groups, at the ends and in the middle of large ones.
std::vector<int> Positions(int size) {
  if (size > 8) return {0, size / 2, size - 1};
  std::vector<int> all;
  for (int i = 0; i < size; ++i) all.push_back(i);
  return all;
}

TEST_P(JobGroup, SucceedsWhenAllSucceed) {
  Group group(GetParam().where, GetParam().size);
  group.Start();
  for (size_t i = 0; i < group.jobs.size(); ++i) group.remotes[i]->Finish(*group.jobs[i]);
  ASSERT_TRUE(group.AllConcluded());
  EXPECT_THAT(group.Outcomes(), Each("succeeded"));
  EXPECT_THAT(group.world.log().All({"Abort"}), IsEmpty());
  for (int i = 0; i < GetParam().size; ++i)
    EXPECT_THAT(group.world.History(Group::Id(i)),
                ElementsAre("created", "running", "waiting", "pending", "concluded"));
}

TEST_P(JobGroup, NobodyConcludesBeforeTheLastHasFinished) {
  Group group(GetParam().where, GetParam().size);
  group.Start();
  for (size_t i = 1; i < group.jobs.size(); ++i) {
    group.remotes[i]->Finish(*group.jobs[i]);
    ASSERT_TRUE(group.world.RunUntilStatus(group.jobs[i], "waiting"));
  }
  group.world.Settle();
  for (size_t i = 1; i < group.jobs.size(); ++i) EXPECT_EQ(group.world.Status(group.jobs[i]), "waiting");
  EXPECT_THAT(group.world.log().All({"Prepare", "Commit", "Abort", "Clean"}), IsEmpty());
  group.remotes[0]->Finish(*group.jobs[0]);
  ASSERT_TRUE(group.AllConcluded());
  EXPECT_THAT(group.Outcomes(), Each("succeeded"));
}

TEST_P(JobGroup, OneFailureWhileTheOthersRunCancelsThemAll) {
  for (int failing : Positions(GetParam().size)) {
    SCOPED_TRACE(failing);
    Group group(GetParam().where, GetParam().size);
    group.Start();
    group.world.Settle();
    group.remotes[failing]->Finish(*group.jobs[failing], absl::DataLossError("sector 7"));
    ASSERT_TRUE(group.AllConcluded());
    for (int i = 0; i < GetParam().size; ++i)
      EXPECT_EQ(group.world.EventOutcome(Group::Id(i)), i == failing ? "failed: sector 7" : "cancelled");
    EXPECT_THAT(group.world.log().All({"Prepare", "Commit"}), IsEmpty());
  }
}

TEST_P(JobGroup, OneFailureAfterTheOthersHaveFinishedCancelsThemAll) {
  for (int failing : Positions(GetParam().size)) {
    SCOPED_TRACE(failing);
    Group group(GetParam().where, GetParam().size);
    group.Start();
    for (int i = 0; i < GetParam().size; ++i) {
      if (i == failing) continue;
      group.remotes[i]->Finish(*group.jobs[i]);
      ASSERT_TRUE(group.world.RunUntilStatus(group.jobs[i], "waiting"));
    }
    group.remotes[failing]->Finish(*group.jobs[failing], absl::DataLossError("sector 7"));
    ASSERT_TRUE(group.AllConcluded());
    for (int i = 0; i < GetParam().size; ++i)
      EXPECT_EQ(group.world.EventOutcome(Group::Id(i)), i == failing ? "failed: sector 7" : "cancelled");
    EXPECT_THAT(group.world.log().All({"Prepare", "Commit"}), IsEmpty());
  }
}

TEST_P(JobGroup, CancellingOneRunningMemberCancelsAll) {
  for (int cancelled : Positions(GetParam().size)) {
    SCOPED_TRACE(cancelled);
    Group group(GetParam().where, GetParam().size);
    group.Start();
    group.world.Settle();
    ASSERT_TRUE(group.world.Cancel(group.jobs[cancelled]).ok());
    ASSERT_TRUE(group.AllConcluded());
    EXPECT_THAT(group.Outcomes(), Each("cancelled"));
  }
}

// R-82 = D1: n members created, k of them started, something goes wrong: it ends.
TEST_P(JobGroup, NeverStartedMembersCompleteWhenTheGroupIsAborted) {
  const int size = GetParam().size;
  for (int started : Positions(size)) {
    for (bool fail : {true, false}) {
      SCOPED_TRACE(std::to_string(started) + (fail ? " started, failure" : " started, cancel"));
      Group group(GetParam().where, size);
      for (int i = 0; i < started; ++i) EXPECT_TRUE(StartJob(*group.jobs[i]).ok());
      group.world.Settle();
      if (fail && started > 0) {
        group.remotes[started - 1]->Finish(*group.jobs[started - 1], absl::InternalError("bad"));
      } else {
        ASSERT_TRUE(group.world.Cancel(group.jobs[size - 1]).ok());  // one that was not started
      }
      for (const JobRef& job : group.jobs) {
        ASSERT_TRUE(group.world.RunUntil(
            [&] {
              const std::string status = group.world.Status(job);
              return status == "concluded" || status == "null";
            },
            "the end of " + job->id()));
      }
      group.world.Settle();
      for (int i = 0; i < size; ++i) {
        EXPECT_EQ(group.world.Outcome(group.jobs[i]), fail && i == started - 1 ? "failed: bad" : "cancelled");
        EXPECT_EQ(group.world.log().Count(Group::Id(i), "Run"), i < started ? 1 : 0);
        EXPECT_EQ(group.world.log().Count(Group::Id(i), "Abort"), 1);
        EXPECT_EQ(group.world.log().Count(Group::Id(i), "Clean"), 1);
      }
    }
  }
}

TEST_P(JobGroup, AllWaitForOneFinalizeThroughAnyMember) {
  for (int via : Positions(GetParam().size)) {
    SCOPED_TRACE(via);
    Group group(GetParam().where, GetParam().size, /*auto_finalize=*/false);
    group.Start();
    for (size_t i = 0; i < group.jobs.size(); ++i) group.remotes[i]->Finish(*group.jobs[i]);
    for (const JobRef& job : group.jobs) ASSERT_TRUE(group.world.RunUntilStatus(job, "pending"));
    Replies replies;
    ASSERT_TRUE(group.world.Finalize(group.jobs[via], replies.Make(group.world.main())).ok());
    ASSERT_TRUE(group.AllConcluded());
    EXPECT_THAT(group.Outcomes(), Each("succeeded"));
    EXPECT_THAT(replies.all(), ElementsAre("OK"));
  }
}

TEST(JobGroupEvents, AllWaitThenAllArePendingThenEachConcludesNewestFirst) {
  TestWorld world;
  JobTxnBuilder builder(world.core());
  std::vector<JobRef> jobs;
  for (const char* id : {"a", "b", "c"}) jobs.push_back(world.Create({.id = id, .group = &builder}, {}));
  ASSERT_TRUE(builder.Seal().ok());
  world.NewEvents();
  for (const JobRef& job : jobs) ASSERT_TRUE(StartJob(*job).ok());
  for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.NewEvents(), ElementsAre("a running", "b running", "c running", "a waiting", "b waiting",
                                             "c waiting", "c pending", "b pending", "a pending", "c concluded",
                                             "c null", "b concluded", "b null", "a concluded", "a null"));
}

TEST(JobGroupEvents, TheFailingMemberAbortsFirstAndConcludesInItsPlace) {
  TestWorld world;
  JobTxnBuilder builder(world.core());
  auto failing = std::make_shared<Remote>();
  auto running = std::make_shared<Remote>();
  auto finished = std::make_shared<Remote>();
  const JobRef a = world.Create({.id = "a", .group = &builder, .auto_dismiss = false}, Obedient(failing));
  const JobRef b = world.Create({.id = "b", .group = &builder, .auto_dismiss = false}, Obedient(running));
  const JobRef c = world.Create({.id = "c", .group = &builder, .auto_dismiss = false}, Obedient(finished));
  ASSERT_TRUE(builder.Seal().ok());
  for (const JobRef& job : {a, b, c}) ASSERT_TRUE(StartJob(*job).ok());
  finished->Finish(*c);
  world.Settle();
  ASSERT_EQ(world.Status(c), "waiting");
  world.NewEvents();
  failing->Finish(*a, absl::InternalError("bad"));
  for (const JobRef& job : {a, b, c}) ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  const Strings events = world.NewEvents();
  EXPECT_EQ(events.front(), "a aborting");
  Strings concluded;
  for (const std::string& e : events)
    if (e.find("concluded") != std::string::npos) concluded.push_back(e);
  EXPECT_THAT(concluded, ElementsAre("c concluded", "b concluded", "a concluded"));
  EXPECT_EQ(events.size(), 6u);
}

TEST(JobGroupEvents, TheMembersOfAGroupHaveTheSameGroupNumberAndNobodyElseHas) {
  TestWorld world;
  JobTxnBuilder builder(world.core());
  const JobRef a = world.Create({.id = "a", .group = &builder}, {});
  const JobRef lone = world.Create({.id = "lone"}, {});
  const JobRef b = world.Create({.id = "b", .group = &builder}, {});
  EXPECT_EQ(world.Query(a).group, world.Query(b).group);
  EXPECT_NE(world.Query(a).group, world.Query(lone).group);
  EXPECT_NE(world.Query(a).group, 0u);
  ASSERT_TRUE(builder.Seal().ok());
}

TEST(JobGroupFinalize, OneManualMemberMakesAllWait) {
  TestWorld world;
  JobTxnBuilder builder(world.core());
  const JobRef a = world.Create({.id = "a", .group = &builder}, {});
  const JobRef b = world.Create({.id = "b", .group = &builder, .auto_finalize = false}, {});
  const JobRef c = world.Create({.id = "c", .group = &builder}, {});
  ASSERT_TRUE(builder.Seal().ok());
  for (const JobRef& job : {a, b, c}) ASSERT_TRUE(StartJob(*job).ok());
  world.Settle();
  for (const JobRef& job : {a, b, c}) EXPECT_EQ(world.Status(job), "pending");
  ASSERT_TRUE(world.Finalize(a).ok());  // through an automatic one
  for (const JobRef& job : {a, b, c}) ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.Outcome(b), "succeeded");
}

TEST(JobGroupFinalize, OneCancelWhilePendingCancelsAll) {
  for (int via = 0; via < 3; ++via) {
    Group group(Where::kMain, 3, /*auto_finalize=*/false);
    group.Start();
    for (size_t i = 0; i < 3; ++i) group.remotes[i]->Finish(*group.jobs[i]);
    group.world.Settle();
    ASSERT_EQ(group.world.Status(group.jobs[0]), "pending");
    ASSERT_TRUE(group.world.Cancel(group.jobs[via]).ok());
    ASSERT_TRUE(group.AllConcluded());
    EXPECT_THAT(group.Outcomes(), Each("cancelled"));
    EXPECT_THAT(group.world.log().All({"Prepare", "Commit"}), IsEmpty());
  }
}

TEST(JobGroupAbort, SiblingsAreForceCancelledEvenIfTheyCouldFinishConsistently) {  // R-86a
  TestWorld world;
  JobTxnBuilder builder(world.core());
  auto failing = std::make_shared<Remote>();
  auto converged = std::make_shared<Remote>();
  const JobRef a = world.Create({.id = "a", .group = &builder}, Obedient(failing));
  const JobRef b =
      world.Create({.id = "b", .group = &builder}, Obedient(converged, ReadyCapabilities{.soft_cancel = true}));
  ASSERT_TRUE(builder.Seal().ok());
  ASSERT_TRUE(StartJob(*a).ok());
  ASSERT_TRUE(StartJob(*b).ok());
  world.Settle();
  ASSERT_EQ(world.Status(b), "ready");
  failing->Finish(*a, absl::InternalError("bad"));
  ASSERT_TRUE(world.RunUntilNull(b));
  EXPECT_EQ(world.EventOutcome("b"), "cancelled");
  EXPECT_TRUE(b->force_cancelled());
}

TEST(JobGroupAbort, ASoftCancelOfOneReadyMemberDoesNotAbortTheOthers) {
  TestWorld world;
  JobTxnBuilder builder(world.core());
  auto other = std::make_shared<Remote>();
  const JobRef a = world.Create({.id = "a", .group = &builder},
                                Obedient(std::make_shared<Remote>(), ReadyCapabilities{.soft_cancel = true}));
  const JobRef b =
      world.Create({.id = "b", .group = &builder}, Obedient(other, ReadyCapabilities{.soft_cancel = true}));
  ASSERT_TRUE(builder.Seal().ok());
  ASSERT_TRUE(StartJob(*a).ok());
  ASSERT_TRUE(StartJob(*b).ok());
  world.Settle();
  ASSERT_TRUE(world.Cancel(a, CancelMode::kSoft).ok());
  world.Settle();
  EXPECT_EQ(world.Status(a), "waiting");
  EXPECT_FALSE(b->force_cancelled());
  other->Finish(*b);
  ASSERT_TRUE(world.RunUntilNull(a));
  EXPECT_EQ(world.EventOutcome("a"), "succeeded");
  EXPECT_EQ(world.EventOutcome("b"), "succeeded");
}

TEST(JobGroupAbort, MembersAreCancelledAllAtOnceAndThenAwaitedTogether) {
  TestWorld world;
  Gate& gate = world.NewGate();
  const auto stubborn = [&] {
    return Script{.run = [&](JobContext&) -> Co<absl::Status> {
      co_await gate.Pass();
      co_return absl::OkStatus();
    }};
  };
  JobTxnBuilder builder(world.core());
  auto remote = std::make_shared<Remote>();
  const JobRef a = world.Create({.id = "a", .group = &builder}, stubborn());
  const JobRef b = world.Create({.id = "b", .group = &builder}, Obedient(remote));
  const JobRef c = world.Create({.id = "c", .group = &builder}, stubborn());
  ASSERT_TRUE(builder.Seal().ok());
  for (const JobRef& job : {a, b, c}) ASSERT_TRUE(StartJob(*job).ok());
  world.Settle();
  ASSERT_TRUE(world.Cancel(b).ok());
  for (const JobRef& job : {a, b, c}) EXPECT_TRUE(job->force_cancelled());
  world.Settle();
  // No hook of the finalisation before the last one has let go.
  EXPECT_EQ(world.Status(b), "aborting");
  EXPECT_THAT(world.log().All({"Abort", "Clean"}), IsEmpty());
  gate.Open();
  for (const JobRef& job : {a, b, c}) ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.log().All({"Abort"}), ElementsAre("c.Abort", "b.Abort", "a.Abort"));
}

TEST(JobGroupAbort, TwoFailuresKeepTheirOwnErrors) {
  TestWorld world;
  Gate& gate = world.NewGate();
  JobTxnBuilder builder(world.core());
  const JobRef a = world.Create({.id = "a", .group = &builder}, Returning(absl::DataLossError("first")));
  const JobRef b = world.Create({.id = "b", .group = &builder}, {.run = [&](JobContext&) -> Co<absl::Status> {
                                  co_await gate.Pass();
                                  co_return absl::DataLossError("second");
                                }});
  ASSERT_TRUE(builder.Seal().ok());
  ASSERT_TRUE(StartJob(*b).ok());
  world.Settle();
  ASSERT_TRUE(StartJob(*a).ok());
  world.Settle();
  ASSERT_EQ(world.Status(a), "aborting");
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(a));
  ASSERT_TRUE(world.RunUntilNull(b));
  EXPECT_EQ(world.EventOutcome("a"), "failed: first");
  // It was force-cancelled before it failed: the reference reports that as cancelled.
  EXPECT_EQ(world.EventOutcome("b"), "cancelled");
}

}  // namespace
}  // namespace jobcore
