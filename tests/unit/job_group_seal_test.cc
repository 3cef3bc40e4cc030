// SPDX-License-Identifier: Apache-2.0
//
// A group converges only once it is sealed: members that are fast cannot finish it before slow ones join.

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class JobGroupSeal : public testing::Test {
 protected:
  absl::Status Join(JobTxnBuilder& builder, std::string id) {
    return CreateJob(world.core(), {.id = id, .group = &builder}, world.Driver(id)).status();
  }
  TestWorld world{{.io_threads = 1}};
};

TEST_F(JobGroupSeal, NoConvergenceBeforeEvenIfAllHaveFinished) {
  JobTxnBuilder builder(world.core());
  const JobRef a = world.Start({.id = "a", .group = &builder}, {});
  const JobRef b = world.Start({.id = "b", .context = &world.io(), .group = &builder}, {});
  ASSERT_TRUE(world.RunUntilStatus(a, "waiting"));
  ASSERT_TRUE(world.RunUntilStatus(b, "waiting"));
  world.Settle();
  EXPECT_EQ(world.Status(a), "waiting");
  EXPECT_THAT(world.log().All({"Prepare"}), IsEmpty());
  const JobRef c = world.Start({.id = "c", .group = &builder}, {});  // late, and welcome
  world.Settle();
  EXPECT_EQ(world.Status(c), "waiting");
  ASSERT_TRUE(builder.Seal().ok());
  for (const JobRef& job : {a, b, c}) ASSERT_TRUE(world.RunUntilNull(job));
  for (const JobRef& job : {a, b, c}) EXPECT_EQ(world.Outcome(job), "succeeded");
}

TEST_F(JobGroupSeal, NeverStartedMembersHoldASealedGroupBack) {
  JobTxnBuilder builder(world.core());
  const JobRef a = world.Start({.id = "a", .group = &builder}, {});
  const JobRef b = world.Create({.id = "b", .group = &builder}, {});
  ASSERT_TRUE(builder.Seal().ok());
  world.Settle();
  EXPECT_EQ(world.Status(a), "waiting");
  ASSERT_TRUE(StartJob(*b).ok());
  ASSERT_TRUE(world.RunUntilNull(a));
}

TEST_F(JobGroupSeal, AFailureBeforeAbortsAtOnceAndSealSaysWhy) {
  JobTxnBuilder builder(world.core());
  const JobRef a = world.Create({.id = "a", .group = &builder}, Returning(absl::DataLossError("sector 7")));
  const JobRef b = world.Start({.id = "b", .group = &builder}, Obedient(std::make_shared<Remote>()));
  const JobRef c = world.Create({.id = "c", .group = &builder}, {});
  world.Settle();
  ASSERT_TRUE(StartJob(*a).ok());
  for (const JobRef& job : {a, b, c}) ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("a"), "failed: sector 7");
  EXPECT_EQ(world.EventOutcome("b"), "cancelled");
  EXPECT_EQ(world.EventOutcome("c"), "cancelled");
  const absl::Status joined = Join(builder, "d");
  EXPECT_EQ(joined.code(), absl::StatusCode::kAborted) << joined;
  EXPECT_THAT(std::string(joined.message()), HasSubstr("sector 7"));
  const absl::Status sealed = builder.Seal();
  EXPECT_EQ(sealed.code(), absl::StatusCode::kAborted) << sealed;
  EXPECT_THAT(std::string(sealed.message()), HasSubstr("sector 7"));
  EXPECT_THAT(world.log().Of("d"), ElementsAre("~"));
}

TEST_F(JobGroupSeal, ACancelBeforeAbortsAtOnce) {
  JobTxnBuilder builder(world.core());
  const JobRef a = world.Create({.id = "a", .group = &builder}, {});
  const JobRef b = world.Start({.id = "b", .group = &builder}, Obedient(std::make_shared<Remote>()));
  world.Settle();
  ASSERT_TRUE(world.Cancel(a).ok());
  EXPECT_EQ(Join(builder, "c").code(), absl::StatusCode::kAborted);
  for (const JobRef& job : {a, b}) ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(builder.Seal().code(), absl::StatusCode::kAborted);
}

TEST_F(JobGroupSeal, LateJoinsAreRefused) {
  JobTxnBuilder builder(world.core());
  const JobRef a = world.Create({.id = "a", .group = &builder}, {});
  ASSERT_TRUE(builder.Seal().ok());
  EXPECT_EQ(Join(builder, "b").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(world.Findable("b"));
  EXPECT_THAT(world.log().Of("b"), ElementsAre("~"));
}

TEST_F(JobGroupSeal, TwiceIsRefused) {
  JobTxnBuilder builder(world.core());
  const JobRef a = world.Create({.id = "a", .group = &builder}, {});
  ASSERT_TRUE(builder.Seal().ok());
  EXPECT_EQ(builder.Seal().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(JobGroupSeal, AnEmptyGroupCanBeSealedOrDropped) {
  {
    JobTxnBuilder dropped(world.core());
  }
  JobTxnBuilder builder(world.core());
  EXPECT_TRUE(builder.Seal().ok());
  world.Settle();
}

TEST_F(JobGroupSeal, AnUnsealedBuilderThatIsDestroyedAbortsItsGroup) {
  std::optional<JobTxnBuilder> builder(world.core());
  const JobRef a = world.Start({.id = "a", .group = &*builder}, {});
  const JobRef b = world.Create({.id = "b", .group = &*builder}, {});
  const JobRef c =
      world.Start({.id = "c", .context = &world.io(), .group = &*builder}, Obedient(std::make_shared<Remote>()));
  world.Settle();
  builder.reset();
  for (const JobRef& job : {a, b, c}) ASSERT_TRUE(world.RunUntilNull(job));
  for (const JobRef& job : {a, b, c}) EXPECT_EQ(world.Outcome(job), "cancelled");
}

TEST_F(JobGroupSeal, AnUnsealedBuilderMayBeDestroyedUnderTheMutexAndByAnyThread) {
  std::optional<JobTxnBuilder> first(world.core());
  std::optional<JobTxnBuilder> second(world.core());
  const JobRef a = world.Create({.id = "a", .group = &*first}, {});
  const JobRef b = world.Create({.id = "b", .group = &*second}, {});
  {
    JobLock lock(world.core());
    first.reset();
  }
  std::thread([&] { second.reset(); }).join();
  ASSERT_TRUE(world.RunUntilNull(a));
  ASSERT_TRUE(world.RunUntilNull(b));
}

TEST_F(JobGroupSeal, ASealedBuilderMayBeDestroyedWithoutEffect) {
  std::optional<JobTxnBuilder> builder(world.core());
  const JobRef a = world.Start({.id = "a", .group = &*builder}, {});
  ASSERT_TRUE(builder->Seal().ok());
  builder.reset();
  ASSERT_TRUE(world.RunUntilNull(a));
  EXPECT_EQ(world.Outcome(a), "succeeded");
}

TEST_F(JobGroupSeal, AMovedBuilderLeavesNothingBehindThatAborts) {
  std::optional<JobTxnBuilder> from(world.core());
  const JobRef a = world.Start({.id = "a", .group = &*from}, {});
  JobTxnBuilder to(std::move(*from));
  from.reset();
  world.Settle();
  EXPECT_EQ(world.Status(a), "waiting");
  ASSERT_TRUE(to.Seal().ok());
  ASSERT_TRUE(world.RunUntilNull(a));
  EXPECT_EQ(world.Outcome(a), "succeeded");
}

TEST_F(JobGroupSeal, SeveralThreadsMayJoinThroughOneBuilder) {
  JobTxnBuilder builder(world.core());
  constexpr int kThreads = 4;
  constexpr int kEach = 20;
  std::vector<std::vector<JobRef>> made(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i)
        made[t].push_back(world.Start({.id = "t" + std::to_string(t) + "-" + std::to_string(i),
                                       .context = t % 2 == 0 ? &world.io() : nullptr,
                                       .group = &builder},
                                      {}));
    });
  }
  for (std::thread& thread : threads) thread.join();
  world.Settle();
  EXPECT_THAT(world.log().All({"Prepare"}), IsEmpty());
  ASSERT_TRUE(builder.Seal().ok());
  for (const auto& jobs : made)
    for (const JobRef& job : jobs) {
      ASSERT_TRUE(world.RunUntilNull(job));
      EXPECT_EQ(world.Outcome(job), "succeeded");
    }
}

TEST_F(JobGroupSeal, SealingRacesWithTheLastMemberToFinish) {
  for (int round = 0; round < 300; ++round) {
    JobTxnBuilder builder(world.core());
    const JobRef job = world.Start({.id = "j", .context = &world.io(), .group = &builder}, {});
    ASSERT_TRUE(builder.Seal().ok());
    ASSERT_TRUE(world.RunUntilNull(job));
    ASSERT_EQ(world.Outcome(job), "succeeded");
  }
}

TEST_F(JobGroupSeal, AJobThatFailsWhileAnotherThreadJoinsTakesItWithItOrKeepsItOut) {
  for (int round = 0; round < 100; ++round) {
    JobTxnBuilder builder(world.core());
    const JobRef bad =
        world.Create({.id = "bad", .context = &world.io(), .group = &builder}, Returning(absl::InternalError("bad")));
    std::vector<JobRef> joined;
    std::thread joiner([&] {
      for (int i = 0; i < 50; ++i) {
        absl::StatusOr<JobRef> job =
            CreateJob(world.core(), {.id = "j" + std::to_string(i), .group = &builder}, world.Driver("j"));
        if (!job.ok()) {
          EXPECT_EQ(job.status().code(), absl::StatusCode::kAborted) << job.status();
          break;
        }
        joined.push_back(*job);
      }
    });
    ASSERT_TRUE(StartJob(*bad).ok());
    joiner.join();
    ASSERT_TRUE(world.RunUntilNull(bad));
    for (const JobRef& job : joined) {
      ASSERT_TRUE(world.RunUntilNull(job));
      EXPECT_EQ(world.Outcome(job), "cancelled");
    }
    EXPECT_EQ(builder.Seal().code(), absl::StatusCode::kAborted);
  }
}

}  // namespace
}  // namespace jobcore
