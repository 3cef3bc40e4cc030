// SPDX-License-Identifier: Apache-2.0
//
// The first document that this project starts from (job-fix-race-condition-v4) reports two problems of jobs
// that complete together:
//
//   1  "if jobs complete so quickly they complete before remaining jobs get a chance to join the transaction,
//      the completion mode can leave well known state and the QLIST can get corrupted and the transactional
//      jobs can complete in batches or phases instead of all together"
//   2  "if two or more jobs defer to the main loop at roughly the same time, it's possible for one job's
//      cleanup to directly invoke the other job's cleanup from within the same thread, leading to a situation
//      that will deadlock the entire transaction"
//
// and its patches name the rest: a "dead pointer in txn list", a "clean" hook, and a "start" apart from creating the
// job, so that a job which has not started can be treated like a paused one. Each of these is a scenario here.

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A backup of a disk so small that it is done at once.
Script FastBackup() { return {.type = "backup"}; }

// 1: "they complete before remaining jobs get a chance to join the transaction". Here no group converges before it has
// been sealed.
TEST(Seed000, AJobSoFastThatItEndsBeforeTheOthersHaveJoinedWaitsForThem) {
  TestWorld world({.io_threads = 1});
  JobTxnBuilder transaction(world.core());

  // The first job of the transaction is created, started, and through with its work …
  const JobRef first = world.Start({.id = "backup0", .context = &world.io(), .group = &transaction}, FastBackup());
  ASSERT_TRUE(world.RunUntilStatus(first, "waiting"));
  world.Settle();

  // … before the second one exists. It does not complete: the transaction is still open.
  EXPECT_EQ(world.Status(first), "waiting");
  EXPECT_THAT(world.log().All({"Prepare", "Commit", "Clean"}), IsEmpty());

  const JobRef second = world.Start({.id = "backup1", .context = &world.io(), .group = &transaction}, FastBackup());
  ASSERT_TRUE(world.RunUntilStatus(second, "waiting"));
  world.Settle();
  EXPECT_EQ(world.Status(second), "waiting");

  ASSERT_TRUE(transaction.Seal().ok());
  ASSERT_TRUE(world.RunUntilNull(first));
  ASSERT_TRUE(world.RunUntilNull(second));
  EXPECT_EQ(world.EventOutcome("backup0"), "succeeded");
  EXPECT_EQ(world.EventOutcome("backup1"), "succeeded");
}

// 1: "the transactional jobs can complete in batches or phases instead of all together".
TEST(Seed000, TheJobsOfATransactionCompleteAllTogetherAndNotInBatches) {
  TestWorld world({.io_threads = 2});
  for (int round = 0; round < 50; ++round) {
    JobTxnBuilder transaction(world.core());
    std::vector<JobRef> jobs;
    for (int i = 0; i < 6; ++i)  // each may have finished before the next is made
      jobs.push_back(world.Start(
          {.id = "backup" + std::to_string(i), .context = &world.io(static_cast<size_t>(i % 2)), .group = &transaction},
          FastBackup()));
    ASSERT_TRUE(transaction.Seal().ok());
    world.NewEvents();
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
  }
  // In each round: six times waiting, then six times pending, and only then the first conclusion.
  int waiting = 0;
  int pending = 0;
  EventCursor cursor;
  for (;;) {
    EventPage page;
    {
      JobLock lock(world.core());
      page = world.core().ReadEvents(cursor);
    }
    if (page.events.empty()) break;
    for (const JobEvent& event : page.events) {
      if (event.status == JobStatus::kWaiting) ++waiting;
      if (event.status == JobStatus::kPending) {
        ++pending;
        EXPECT_EQ(waiting % 6, 0) << "a batch became pending before all had finished";
      }
      if (event.status == JobStatus::kConcluded) {
        EXPECT_EQ(pending % 6, 0) << "a batch concluded before all were pending";
      }
    }
  }
  EXPECT_EQ(waiting, 300);
  EXPECT_EQ(pending, 300);
}

// 1: "the completion mode can leave well known state and the QLIST can get corrupted": the members are a list under
// job_mutex, and the group's phase says what may still happen to it.
TEST(Seed000, TheListOfMembersStaysWellWhileSomeJoinAndOthersFinish) {
  TestWorld world({.io_threads = 2});
  JobTxnBuilder transaction(world.core());
  std::vector<JobRef> jobs[2];
  const auto join = [&](int side) {
    for (int i = 0; i < 50; ++i)
      jobs[side].push_back(world.Start({.id = "backup" + std::to_string(side) + "-" + std::to_string(i),
                                        .context = &world.io(static_cast<size_t>(side)),
                                        .group = &transaction},
                                       FastBackup()));
  };
  std::thread other([&] { join(1); });
  join(0);
  other.join();
  ASSERT_TRUE(transaction.Seal().ok());
  for (const auto& side : jobs)
    for (const JobRef& job : side) ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.log().All({"Commit"}).size(), 100u);
  EXPECT_EQ(world.log().All({"Clean"}).size(), 100u);
}

// 2: "if two or more jobs defer to the main loop at roughly the same time, it's possible for one job's cleanup to
// directly invoke the other job's cleanup from within the same thread". One actor finalises a group, whoever finished
// last.
TEST(Seed000, TwoJobsThatFinishAtTheSameTimeAreCleanedUpOneAfterTheOtherByOneActor) {
  for (int round = 0; round < 200; ++round) {
    TestWorld world({.io_threads = 2});
    int in_cleanup = 0;
    const auto backup = [&] {
      const auto step = [&]() -> Co<void> {
        EXPECT_TRUE(world.main().IsHome());
        EXPECT_EQ(in_cleanup++, 0) << "one job's cleanup inside another's";
        // Even if the cleanup has to wait, in the middle, for the main loop to take another turn.
        bool turned = false;
        world.main().Post("turn", [&] {
          turned = true;
          world.main().wait_domain().Kick();
        });
        Co<absl::Status> wait = AioWaitWhile(world.main(), [&] { return !turned; });
        (co_await std::move(wait)).IgnoreError();
        --in_cleanup;
      };
      return Script{.commit = [step]() -> Co<absl::Status> {
                      co_await step();
                      co_return absl::OkStatus();
                    },
                    .abort = [step]() -> Co<void> { co_await step(); },
                    .clean = [step]() -> Co<void> { co_await step(); },
                    .type = "backup"};
    };
    JobTxnBuilder transaction(world.core());
    const JobRef a = world.Create({.id = "a", .context = &world.io(0), .group = &transaction}, backup());
    const JobRef b = world.Create({.id = "b", .context = &world.io(1), .group = &transaction}, backup());
    ASSERT_TRUE(transaction.Seal().ok());
    ASSERT_TRUE(StartJob(*a).ok());
    ASSERT_TRUE(StartJob(*b).ok());
    if (round % 4 == 3) world.Cancel(a).IgnoreError();
    // It does not deadlock: both come to their end, and to the same one.
    ASSERT_TRUE(world.RunUntilNull(a));
    ASSERT_TRUE(world.RunUntilNull(b));
    EXPECT_EQ(world.Outcome(a), world.Outcome(b));
  }
}

// 2, when they fail: the "transactional failure race test" of the last patch.
TEST(Seed000, TwoJobsThatFailAtTheSameTimeAbortTheTransactionOnce) {
  for (int round = 0; round < 100; ++round) {
    TestWorld world({.io_threads = 2});
    JobTxnBuilder transaction(world.core());
    std::vector<JobRef> jobs;
    for (size_t i = 0; i < 2; ++i)
      jobs.push_back(world.Create(
          {.id = std::string(1, static_cast<char>('a' + i)), .context = &world.io(i), .group = &transaction},
          Returning(absl::DataLossError("both disks are gone"))));
    const JobRef idle = world.Create({.id = "idle", .group = &transaction}, FastBackup());
    ASSERT_TRUE(transaction.Seal().ok());
    ASSERT_TRUE(StartJob(*jobs[0]).ok());
    StartJob(*jobs[1]).IgnoreError();  // refused if the first has failed already
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
    ASSERT_TRUE(world.RunUntilNull(idle));
    EXPECT_EQ(world.log().All({"Abort"}).size(), 3u);
    EXPECT_EQ(world.EventOutcome("idle"), "cancelled");
  }
}

// "Add .start field", "add block_job_start", "refactor backup_start as backup_job_create".
TEST(Seed000, CreatingAndStartingAreTwoStepsSoATransactionIsMadeWholeBeforeAnyMemberRuns) {
  TestWorld world;
  JobTxnBuilder transaction(world.core());
  const JobRef a = world.Create({.id = "a", .group = &transaction}, FastBackup());
  const JobRef b = world.Create({.id = "b", .group = &transaction}, FastBackup());
  world.Settle();
  EXPECT_EQ(world.Status(a), "created");
  EXPECT_THAT(world.log().All(), IsEmpty());
  ASSERT_TRUE(transaction.Seal().ok());
  ASSERT_TRUE(StartJob(*a).ok());
  ASSERT_TRUE(StartJob(*b).ok());
  ASSERT_TRUE(world.RunUntilNull(a));
  EXPECT_EQ(world.Outcome(a), "succeeded");
}

// "Implement the ability to 'start' a 'paused' job".
TEST(Seed000, AJobThatIsPausedBeforeItHasStartedStartsPaused) {
  TestWorld world;
  const JobRef job = world.Create({.id = "backup0"}, FastBackup());
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(StartJob(*job).ok());
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_THAT(world.log().Of("backup0"), IsEmpty());
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

// "Fix dead pointer in txn list": a job that goes before the transaction has completed, because its command has failed,
// leaves nothing behind there; the others complete without it.
TEST(Seed000, AMemberThatGoesEarlyLeavesNoPointerBehind) {
  TestWorld world({.io_threads = 1});
  JobTxnBuilder transaction(world.core());
  const JobRef first = world.Start({.id = "backup0", .context = &world.io(), .group = &transaction}, FastBackup());
  {
    const JobRef gone = world.Create({.id = "backup1", .context = &world.io(), .group = &transaction}, FastBackup());
    ASSERT_TRUE(AbandonJob(*gone).ok());
  }
  world.Settle();
  EXPECT_THAT(world.log().Of("backup1"), ElementsAre("~"));  // freed, and no hook is called
  const JobRef last = world.Start({.id = "backup1", .context = &world.io(), .group = &transaction}, FastBackup());
  ASSERT_TRUE(transaction.Seal().ok());
  ASSERT_TRUE(world.RunUntilNull(first));
  ASSERT_TRUE(world.RunUntilNull(last));
  EXPECT_EQ(world.EventOutcome("backup0"), "succeeded");
  EXPECT_EQ(world.EventOutcome("backup1"), "succeeded");
}

// "Add .clean property": what has to be let go is let go in one place, once, however the transaction ends and however
// far the job got.
TEST(Seed000, EveryMemberIsCleanedOnceHoweverTheTransactionEnds) {
  for (const bool fails : {false, true}) {
    TestWorld world({.io_threads = 1});
    JobTxnBuilder transaction(world.core());
    std::vector<JobRef> jobs;
    jobs.push_back(world.Create({.id = "backup0", .context = &world.io(), .group = &transaction}, FastBackup()));
    jobs.push_back(world.Create({.id = "backup1", .context = &world.io(), .group = &transaction},
                                fails ? Returning(absl::DataLossError("the disk is gone")) : FastBackup()));
    jobs.push_back(world.Create({.id = "backup2", .context = &world.io(), .group = &transaction}, FastBackup()));
    ASSERT_TRUE(transaction.Seal().ok());
    for (const JobRef& job : jobs) {
      if (fails && job->id() == "backup2") continue;  // never started
      StartJob(*job).IgnoreError();
    }
    for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
    for (const JobRef& job : jobs) {
      EXPECT_EQ(world.log().Count(job->id(), "Clean"), 1);
      EXPECT_EQ(world.log().Count(job->id(), fails ? "Abort" : "Commit"), 1);
    }
  }
}

// A command that fails half way: all that it has made is undone, nothing of it has run.
TEST(Seed000, ATransactionWhoseMemberCannotBeMadeIsUndoneWithoutEverRunning) {
  TestWorld world;
  std::vector<JobRef> jobs;
  {
    JobTxnBuilder transaction(world.core());
    jobs.push_back(world.Create({.id = "backup0", .group = &transaction}, FastBackup()));
    jobs.push_back(world.Create({.id = "backup1", .group = &transaction}, FastBackup()));
    EXPECT_FALSE(
        CreateJob(world.core(), {.id = "no such device", .group = &transaction}, world.Driver("missing")).ok());
    // The command gives up; its builder goes, unsealed.
  }
  for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(world.History("backup0"), ElementsAre("created", "aborting", "concluded", "null"));
  EXPECT_THAT(world.log().All({"Run", "Commit"}), IsEmpty());
}

}  // namespace
}  // namespace jobcore
