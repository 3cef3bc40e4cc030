// SPDX-License-Identifier: Apache-2.0
//
// Creating, naming, starting and abandoning jobs.

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

absl::Status TryCreate(TestWorld& world, JobSpec spec) {
  return CreateJob(world.core(), spec, world.Driver("x")).status();
}

void ExpectError(const absl::Status& status, absl::StatusCode code, std::string_view start) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), StartsWith(std::string(start)));
}

TEST(JobCreation, AnIllFormedIdIsRefused) {
  TestWorld world;
  for (std::string_view id :
       {" ", "0id", "123", "_id", "-id", ".id", "#id", "x#y", "a b", "a/b", "a:b", "a\n", "\xc3\xa4", "a\xc3\xa4"})
    ExpectError(TryCreate(world, {.id = std::string(id)}), absl::StatusCode::kInvalidArgument,
                "Invalid job ID '" + std::string(id) + "'");
}

TEST(JobCreation, AnIdWithAZeroByteIsRefused) {
  TestWorld world;
  EXPECT_EQ(TryCreate(world, {.id = std::string("a\0b", 3)}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(JobCreation, AWellFormedIdIsAcceptedHoweverLong) {
  TestWorld world;
  for (const std::string& id : {std::string("a"), std::string("Z"), std::string("a0"), std::string("a-b.c_d"),
                                std::string("x."), std::string(300, 'x')}) {
    const JobRef job = world.Create({.id = id}, {});
    EXPECT_EQ(job->id(), id);
    EXPECT_TRUE(world.Findable(id));
  }
}

TEST(JobCreation, AMissingIdIsRefused) {
  TestWorld world;
  ExpectError(TryCreate(world, {}), absl::StatusCode::kInvalidArgument, "An explicit job ID is required");
}

TEST(JobCreation, AnInternalJobMustHaveNoId) {
  TestWorld world;
  ExpectError(TryCreate(world, {.id = "j", .internal = true}), absl::StatusCode::kInvalidArgument,
              "Cannot specify job ID for internal job");
  // Said before anything is said about the id itself.
  ExpectError(TryCreate(world, {.id = "0j", .internal = true}), absl::StatusCode::kInvalidArgument,
              "Cannot specify job ID for internal job");
}

TEST(JobCreation, AnIdInUseIsRefused) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j"}, {});
  ExpectError(TryCreate(world, {.id = "j"}), absl::StatusCode::kAlreadyExists, "Job ID 'j' already in use");
}

TEST(JobCreation, AnIdIsInUseUntilTheJobIsDismissed) {
  TestWorld world;
  const JobRef job = world.Start({.id = "j", .auto_dismiss = false}, {});
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  EXPECT_EQ(TryCreate(world, {.id = "j"}).code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(world.Dismiss(job).ok());
  // Whoever still holds a reference does not keep the name.
  const JobRef again = world.Create({.id = "j"}, {});
  EXPECT_NE(again.get(), job.get());
  EXPECT_GT(again->number(), job->number());
  JobLock lock(world.core());
  EXPECT_EQ(monitor::Find(world.core(), "j"), again.get());
  EXPECT_EQ(monitor::Find(world.core(), job->number()), nullptr);
}

TEST(JobCreation, ARefusedCreationLeavesNothingBehind) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j"}, {});
  JobTxnBuilder sealed(world.core());
  ASSERT_TRUE(sealed.Seal().ok());
  const uint64_t events = world.LastEvent();
  for (const JobSpec& spec : {JobSpec{.id = "0"}, JobSpec{}, JobSpec{.id = "j"}, JobSpec{.id = "i", .internal = true},
                              JobSpec{.id = "late", .group = &sealed}}) {
    const absl::Status status = TryCreate(world, spec);
    EXPECT_FALSE(status.ok());
    // No hook, and the driver has been destroyed by now.
    EXPECT_EQ(world.log().Of("x").back(), "~");
  }
  world.Settle();
  EXPECT_EQ(world.LastEvent(), events);
  EXPECT_THAT(world.log().Of("x"), ElementsAre("~", "~", "~", "~", "~"));
  JobLock lock(world.core());
  EXPECT_EQ(world.core().job_count(), 1u);
}

TEST(JobCreation, InAnIOThreadThatHasBeenStoppedIsRefused) {
  TestWorld world;
  IOThread stopped("stopped");
  ASSERT_TRUE(stopped.Stop().ok());
  EXPECT_EQ(TryCreate(world, {.id = "j", .context = &stopped.context()}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(world.Findable("j"));
  EXPECT_EQ(world.LastEvent(), 0u);
}

TEST(JobCreation, NumbersGrowInOrderOfCreation) {
  TestWorld world;
  const JobRef a = world.Create({.id = "a"}, {});
  const JobRef b = world.Create({.internal = true}, {});
  const JobRef c = world.Create({.id = "c"}, {});
  EXPECT_LT(a->number(), b->number());
  EXPECT_LT(b->number(), c->number());
}

TEST(JobCreation, AJobIsWhatItsSpecSays) {
  TestWorld world({.io_threads = 1});
  const JobRef job = world.Create(
      {.id = "j", .context = &world.io(), .auto_finalize = false, .auto_dismiss = false, .unit = ProgressUnit::kItems},
      {.type = "backup"});
  EXPECT_EQ(job->id(), "j");
  EXPECT_EQ(job->type(), "backup");
  EXPECT_EQ(&job->context(), &world.io());
  EXPECT_EQ(&job->core(), &world.core());
  EXPECT_FALSE(job->auto_finalize());
  EXPECT_FALSE(job->auto_dismiss());
  EXPECT_FALSE(job->internal());
  EXPECT_FALSE(job->force_cancelled());
  EXPECT_EQ(job->progress().unit(), ProgressUnit::kItems);
  EXPECT_EQ(world.Status(job), "created");
  EXPECT_EQ(world.Outcome(job), "");
  EXPECT_THAT(world.NewEvents(), ElementsAre("j created"));
}

TEST(JobCreation, WithoutAContextAJobLivesInTheMainOne) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j"}, {});
  EXPECT_EQ(&job->context(), &world.main());
}

TEST(JobCreation, ACreatedJobDoesNothingByItself) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j"}, {});
  world.Settle();
  EXPECT_EQ(world.Status(job), "created");
  EXPECT_THAT(world.log().Of("j"), IsEmpty());
}

TEST(JobCreation, ManyThreadsCreateJobsAtOnceAndOneGetsEachName) {
  TestWorld world;
  std::atomic<int> made{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const absl::StatusOr<JobRef> job = CreateJob(world.core(), {.id = "j" + std::to_string(i)}, world.Driver("x"));
        if (job.ok()) made.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made.load(), 50);
  JobLock lock(world.core());
  EXPECT_EQ(world.core().job_count(), 50u);
}

TEST(InternalJob, IsInvisibleToMonitorsAndEvents) {
  TestWorld world;
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.internal = true}, Obedient(remote));
  EXPECT_TRUE(job->internal());
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");
  {
    JobLock lock(world.core());
    EXPECT_EQ(monitor::Find(world.core(), ""), nullptr);
    EXPECT_EQ(monitor::Find(world.core(), job->number()), nullptr);
    EXPECT_EQ(world.core().job_count(), 0u);
    monitor::QueryCursor cursor;
    EXPECT_THAT(monitor::QueryPage(world.core(), cursor), IsEmpty());
  }
  EXPECT_THAT(monitor::SnapshotJobs(world.core()), IsEmpty());
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.Outcome(job), "succeeded");
  EXPECT_EQ(world.LastEvent(), 0u);
  world.Settle();
  EXPECT_THAT(world.log().Of("internal"), ElementsAre("Run", "Prepare", "Commit", "Clean"));
}

TEST(InternalJob, CanBePausedAndCancelledByWhoeverHoldsIt) {
  TestWorld world;
  const JobRef job = world.Start({.internal = true}, Obedient(std::make_shared<Remote>()));
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.Outcome(job), "cancelled");
}

TEST(StartJob, ASecondStartIsRefused) {
  TestWorld world;
  const JobRef job = world.Start({.id = "j"}, Obedient(std::make_shared<Remote>()));
  ExpectRefused(StartJob(*job), "", "j");
  world.Settle();
  ExpectRefused(StartJob(*job), "", "j");
  EXPECT_EQ(world.log().Count("j", "Run"), 1);
}

TEST(StartJob, AfterACancelIsRefused) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j", .auto_dismiss = false}, {});
  ASSERT_TRUE(world.Cancel(job).ok());
  ExpectRefused(StartJob(*job), "", "j");
  world.Settle();
  ExpectRefused(StartJob(*job), "", "j");
  EXPECT_EQ(world.log().Count("j", "Run"), 0);
}

TEST(StartJob, RunIsEnteredFromTheLoopAndNotFromStart) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j"}, {});
  ASSERT_TRUE(StartJob(*job).ok());
  EXPECT_EQ(world.Status(job), "running");
  EXPECT_THAT(world.log().Of("j"), IsEmpty());
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(StartJob, AnyThreadMayStart) {
  TestWorld world({.io_threads = 1});
  const JobRef in_main = world.Create({.id = "m"}, {});
  const JobRef in_io = world.Create({.id = "i", .context = &world.io()}, {});
  std::thread starter([&] {
    EXPECT_TRUE(StartJob(*in_main).ok());
    EXPECT_TRUE(StartJob(*in_io).ok());
  });
  starter.join();
  ASSERT_TRUE(world.RunUntilNull(in_main));
  ASSERT_TRUE(world.RunUntilNull(in_io));
  EXPECT_EQ(world.log().Where("m", "Run"), "main");
  EXPECT_EQ(world.log().Where("i", "Run"), "io0");
}

TEST(AbandonJob, GoesStraightToNullWithoutAnyHook) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j", .auto_dismiss = false}, {});
  ASSERT_TRUE(AbandonJob(*job).ok());
  EXPECT_EQ(world.Status(job), "null");
  EXPECT_FALSE(world.Findable("j"));
  world.Settle();
  EXPECT_THAT(world.NewEvents(), ElementsAre("j created", "j null"));
  EXPECT_THAT(world.log().Of("j"), IsEmpty());
  ExpectRefused(StartJob(*job), "", "j");
  ExpectRefused(AbandonJob(*job), "", "j");
  world.Create({.id = "j"}, {});  // the name is free
}

TEST(AbandonJob, OnlyBeforeItIsStarted) {
  TestWorld world;
  const JobRef job = world.Start({.id = "j"}, Obedient(std::make_shared<Remote>()));
  ExpectRefused(AbandonJob(*job), "", "j");
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");
}

TEST(AbandonJob, TheOthersOfTheGroupGoOn) {
  TestWorld world;
  JobTxnBuilder group(world.core());
  const JobRef a = world.Create({.id = "a", .group = &group}, {});
  const JobRef b = world.Create({.id = "b", .group = &group}, {});
  const JobRef c = world.Create({.id = "c", .group = &group}, {});
  ASSERT_TRUE(AbandonJob(*b).ok());
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(StartJob(*a).ok());
  ASSERT_TRUE(StartJob(*c).ok());
  ASSERT_TRUE(world.RunUntilNull(a));
  ASSERT_TRUE(world.RunUntilNull(c));
  EXPECT_EQ(world.Outcome(a), "succeeded");
  EXPECT_EQ(world.Outcome(c), "succeeded");
}

TEST(AbandonJob, TheLastOneThatTheGroupWaitedForLetsItConverge) {
  TestWorld world;
  JobTxnBuilder group(world.core());
  const JobRef a = world.Create({.id = "a", .group = &group}, {});
  const JobRef b = world.Create({.id = "b", .group = &group}, {});
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(StartJob(*a).ok());
  world.Settle();
  ASSERT_EQ(world.Status(a), "waiting");
  ASSERT_TRUE(AbandonJob(*b).ok());
  ASSERT_TRUE(world.RunUntilNull(a));
  EXPECT_EQ(world.Outcome(a), "succeeded");
}

TEST(JobRef, DroppingTheLastOneUnderTheMutexDestroysTheDriverLaterInTheMainContext) {
  TestWorld world;
  JobRef job = world.Start({.id = "j"}, {});
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_EQ(world.log().Count("j", "~"), 0);
  {
    JobLock lock(world.core());
    job = JobRef();
    EXPECT_EQ(world.log().Count("j", "~"), 0);
  }
  world.Settle();
  EXPECT_EQ(world.log().Count("j", "~"), 1);
  EXPECT_EQ(world.log().Where("j", "~"), "main");
}

TEST(JobRef, TheLastOneMayBeDroppedByAnyThread) {
  TestWorld world({.io_threads = 1});
  JobRef job = world.Start({.id = "j", .context = &world.io()}, {});
  ASSERT_TRUE(world.RunUntilNull(job));
  std::thread([ref = std::move(job)]() mutable { ref = JobRef(); }).join();
  ASSERT_TRUE(world.RunUntil([&] { return world.log().Count("j", "~") == 1; }, "destruction"));
  EXPECT_EQ(world.log().Where("j", "~"), "main");
}

TEST(JobRef, CopiesAndMovesCountAsTheyShould) {
  TestWorld world;
  JobRef a = world.Start({.id = "j"}, {});
  JobRef b = a;
  JobRef c = std::move(a);
  EXPECT_FALSE(a);
  EXPECT_EQ(b.get(), c.get());
  const JobRef& self = b;
  b = self;
  EXPECT_TRUE(b);
  ASSERT_TRUE(world.RunUntilNull(b));
  b = JobRef();
  world.Settle();
  EXPECT_EQ(world.log().Count("j", "~"), 0);
  c = JobRef();
  world.Settle();
  EXPECT_EQ(world.log().Count("j", "~"), 1);
}

}  // namespace
}  // namespace jobcore
