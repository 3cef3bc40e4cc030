// SPDX-License-Identifier: Apache-2.0
//
// The third document that this project starts from ("job: replace AioContext lock with job_mutex", 2021)
// splits the API of jobs in two:
//
//   job-monitor  "require consistency between the search of a specific job (job_get) and the actual
//                operation/action on it […] assume that the job mutex lock is always held by the caller"
//   job-driver   "not aware of the job mutex, and delegate the locking to the callee instead"
//
// and names its troubles on the way: waits that must release a lock, a lock that is held around everything,
// locks taken in two orders, and steps in between at which everything deadlocks. Each is a scenario here.

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

// job-monitor functions "require consistency between the search of a specific job (job_get) and the actual
// operation/action on it (e.g. job_user_cancel)".
TEST(Seed002, FindingAJobAndActingOnItAreOneStep) {
  TestWorld world({.io_threads = 1});
  std::atomic<bool> stop{false};
  std::atomic<int> found{0};
  // A monitor cancels by name, over and over; meanwhile the bearers of the name come and go.
  std::thread monitor_thread([&] {
    while (!stop) {
      JobLock lock(world.core());
      Job* job = monitor::Find(world.core(), "backup0");
      if (job == nullptr) continue;
      // What has been found stays what it is for as long as the lock is held.
      const uint64_t number = job->number();
      const JobStatus status = job->status();
      const absl::Status cancelled = monitor::Cancel(*job);
      EXPECT_EQ(monitor::Find(world.core(), "backup0"), job);
      EXPECT_EQ(job->number(), number);
      EXPECT_TRUE(cancelled.ok() || !VerbAllowed(JobVerb::kCancel, status) || status == JobStatus::kPending)
          << cancelled << " in " << JobStatusName(status);
      ++found;
    }
  });
  for (int i = 0; i < 60; ++i) {
    const JobRef job = world.Create({.id = "backup0", .context = &world.io()}, {});
    StartJob(*job).IgnoreError();
    EXPECT_TRUE(world.RunUntilNull(job));
    if (HasFailure()) break;
  }
  stop = true;
  monitor_thread.join();
}

// "… therefore the job mutex lock is always held by the caller", which is worth something only if the callee keeps it
// held.
TEST(Seed002, AVerbOpensNoGapInTheLock) {
  TestWorld world({.io_threads = 1});
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "backup0", .context = &world.io(), .auto_dismiss = false},
                                 Obedient(remote, ReadyCapabilities{}));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  // Another thread would use any gap to write an event.
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) {
      const JobRef noise = world.Create({.id = "noise"}, {});
      EXPECT_TRUE(AbandonJob(*noise).ok());
    }
  });
  for (int i = 0; i < 300; ++i) {
    JobLock lock(world.core());
    const uint64_t before = world.core().last_event();
    EXPECT_TRUE(monitor::Pause(*job).ok());
    EXPECT_TRUE(monitor::Resume(*job).ok());
    EXPECT_FALSE(monitor::Finalize(*job).ok());
    EXPECT_FALSE(monitor::Dismiss(*job).ok());
    // At most its own: none where nothing was parked, one where the resume unparked it.
    EXPECT_LE(world.core().last_event(), before + 1);
  }
  stop = true;
  other.join();
  {
    JobLock lock(world.core());
    EXPECT_TRUE(monitor::Cancel(*job).ok());
  }
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
}

// Its example, job_exit, unlocks and locks again in the middle. Here a gap is a scope with a name.
TEST(Seed002, AGapIsVisibleAndWhatWasFoundBeforeItMustBeLookedForAgain) {
  TestWorld world;
  const JobRef job = world.Create({.id = "backup0"}, {});
  JobLock lock(world.core());
  ASSERT_NE(monitor::Find(world.core(), "backup0"), nullptr);
  {
    JobUnlock gap(lock);
    EXPECT_EQ(internal::HeldJobMutex(), nullptr);
    std::thread([&] { EXPECT_TRUE(AbandonJob(*job).ok()); }).join();
  }
  EXPECT_EQ(internal::HeldJobMutex(), &world.core().mutex());
  EXPECT_EQ(monitor::Find(world.core(), "backup0"), nullptr);
  EXPECT_EQ(job->status(), JobStatus::kNull);  // the reference has kept it alive
}

// job-driver functions "are not aware of the job mutex, and delegate the locking to the callee instead"; and "move
// inner aiocontext lock in callbacks": no callback is called under any lock.
TEST(Seed002, ADriverNeverSeesTheMutexAndItsCallsTakeItThemselves) {
  TestWorld world({.io_threads = 1});
  const auto free = [] { EXPECT_EQ(internal::HeldJobMutex(), nullptr); };
  bool completed = false;  // in the job's context
  Script script;
  script.run = [&](JobContext& self) -> Co<absl::Status> {
    free();
    self.progress().SetRemaining(2);
    self.Ready({.soft_cancel = true});
    free();
    self.PublishDetails({{"phase", "copy"}});
    free();
    self.progress().Advance(1);
    absl::Status s = co_await self.PausePoint();
    free();
    if (!s.ok()) co_return s;
    s = co_await self.Sleep(Nanoseconds(0));
    free();
    if (!s.ok()) co_return s;
    while (s.ok() && !completed) {
      s = co_await self.Yield();
      free();
    }
    co_return s;
  };
  script.pause = [&](JobContext&) -> Co<void> {
    free();
    co_return;
  };
  script.resume = script.pause;
  script.complete = [&](JobContext& self) -> Co<absl::Status> {
    free();
    completed = true;
    Enter(self.job());
    co_return absl::OkStatus();
  };
  script.prepare = [&]() -> Co<absl::Status> {
    free();
    co_return absl::OkStatus();
  };
  script.commit = script.prepare;
  script.clean = [&]() -> Co<void> {
    free();
    co_return;
  };
  script.destroyed = free;
  const JobRef job = world.Start({.id = "mirror0", .context = &world.io()}, std::move(script));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "standby"));
  ASSERT_TRUE(world.Resume(job).ok());
  ASSERT_TRUE(world.Complete(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("mirror0"), "succeeded");
}

// "Part of the work to get rid of AioContext lock usage in favour of smaller granularity locks."
TEST(Seed002, MonitorsDoNotWaitForADriverThatIsBusyInItsThread) {
  TestWorld world({.io_threads = 1});
  std::atomic<bool> busy{false};
  std::atomic<bool> go_on{false};
  // A driver that does not come back to its loop: once, a lock was held around all this.
  const JobRef job =
      world.Start({.id = "busy", .context = &world.io()}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                    busy = true;
                    while (!go_on) std::this_thread::yield();
                    co_return co_await self.PausePoint();
                  }});
  ASSERT_TRUE(world.RunUntil([&] { return busy.load(); }, "the driver"));
  EXPECT_EQ(world.Query(job).status, JobStatus::kRunning);
  EXPECT_TRUE(world.Pause(job).ok());
  EXPECT_TRUE(world.Resume(job).ok());
  EXPECT_EQ(monitor::SnapshotJobs(world.core()).size(), 1u);
  const JobRef another = world.Create({.id = "another"}, {});
  EXPECT_TRUE(AbandonJob(*another).ok());
  EXPECT_TRUE(world.Cancel(job).ok());
  go_on = true;
  ASSERT_TRUE(world.RunUntilNull(job));
}

// "AIO_WAIT_WHILE_UNLOCKED (same as the original AIO_WAIT_WHILE but does not release and re-acquire the aiocontext
// lock)".
TEST(Seed002, AWaitIsMadeWithoutTheLockAndEndsWhereverTheJobLives) {
  TestWorld world({.io_threads = 2});
  for (AioContext* context : {static_cast<AioContext*>(nullptr), &world.io(0), &world.io(1)}) {
    const JobRef job = world.Start({.id = "j", .context = context}, Obedient(std::make_shared<Remote>()));
    const absl::StatusOr<JobOutcome> outcome = monitor::CancelAndWait(job, CancelMode::kForce, Patience());
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->kind, JobOutcome::Kind::kCancelled);
    ASSERT_TRUE(world.RunUntilNull(job));
  }
}

// "Use the already existent job_mutex to protect the job structures and list": jobs are made and forgotten while others
// walk the list, in pages. A job that lives throughout is in each walk, once.
TEST(Seed002, TheListIsWholeForThoseWhoWalkItWhileOthersChangeIt) {
  TestWorld world({.io_threads = 1});
  std::vector<JobRef> stay;
  for (int i = 0; i < 100; ++i) stay.push_back(world.Create({.id = "stay" + std::to_string(i)}, {}));
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) {
      const JobRef passing = world.Create({.id = "passing", .context = &world.io()}, {});
      EXPECT_TRUE(AbandonJob(*passing).ok());
    }
  });
  for (int i = 0; i < 50; ++i) {
    int seen = 0;
    uint64_t last = UINT64_MAX;
    for (const monitor::JobInfo& info : monitor::SnapshotJobs(world.core())) {
      EXPECT_LT(info.number, last);
      last = info.number;
      if (info.id != "passing") ++seen;
    }
    EXPECT_EQ(seen, 100);
  }
  stop = true;
  other.join();
  for (const JobRef& job : stay) EXPECT_TRUE(AbandonJob(*job).ok());
}

// "Remove aiocontext locks since the functions are under BQL": what is global happens in one thread, the main one,
// wherever the job has run and whoever has finished last.
TEST(Seed002, FinalisationIsInTheMainContextWhereverTheJobHasRun) {
  TestWorld world({.io_threads = 2});
  JobTxnBuilder group(world.core());
  const JobRef a = world.Create({.id = "a", .context = &world.io(0), .group = &group}, {});
  const JobRef b = world.Create({.id = "b", .context = &world.io(1), .group = &group}, {});
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(StartJob(*a).ok());
  ASSERT_TRUE(StartJob(*b).ok());
  for (const JobRef& job : {a, b}) {
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(world.log().Where(job->id(), "Run"), job->context().name());
    for (const char* hook : {"Prepare", "Commit", "Clean"})
      EXPECT_EQ(world.log().Where(job->id(), hook), world.main().name());
  }
}

// "Taking the aiocontext lock after the job lock is already held can cause deadlocks (in the worst case we might want
// the opposite order)".
TEST(Seed002, OneMutexIsEnoughForJobsOfSeveralContextsSoThereIsNoOrderToGetWrong) {
  // The jobs of one group live in three contexts; monitors act on all of them from two threads. Where each
  // context had a lock of its own, the two walked into each other.
  TestWorld world({.io_threads = 2});
  JobTxnBuilder group(world.core());
  std::vector<JobRef> jobs;
  for (int i = 0; i < 6; ++i) {
    AioContext* contexts[] = {nullptr, &world.io(0), &world.io(1)};
    jobs.push_back(world.Start({.id = "j" + std::to_string(i), .context = contexts[i % 3], .group = &group},
                               Obedient(std::make_shared<Remote>())));
  }
  ASSERT_TRUE(group.Seal().ok());
  const auto storm = [&](bool forward) {
    for (int round = 0; round < 200; ++round)
      for (size_t i = 0; i < jobs.size(); ++i) {
        const JobRef& job = jobs[forward ? i : jobs.size() - 1 - i];
        const std::string reason = forward ? "one" : "two";
        EXPECT_TRUE(world.Pause(job, reason).ok());
        world.Query(job);
        EXPECT_TRUE(world.Resume(job, reason).ok());
      }
  };
  std::atomic<bool> done{false};
  std::thread forward([&] {
    storm(true);
    done = true;
  });
  storm(false);
  EXPECT_TRUE(world.RunUntil([&] { return done.load(); }, "the other monitor"));
  forward.join();
  EXPECT_TRUE(world.Cancel(jobs[0]).ok());
  for (const JobRef& job : jobs) {
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(world.Outcome(job), "cancelled");
  }
}

// "job_ref(); // assumes the lock held", and "completely eradicating them from the job API (with the exception of
// driver->free())".
TEST(Seed002, DroppingAReferenceNeverLocks) {
  TestWorld world;
  std::vector<JobRef> references;
  {
    const JobRef job = world.Start({.id = "j"}, {.destroyed = [] { EXPECT_EQ(internal::HeldJobMutex(), nullptr); }});
    ASSERT_TRUE(world.RunUntilNull(job));
    JobLock lock(world.core());
    for (int i = 0; i < 10; ++i) references.push_back(job);
  }
  {
    JobLock lock(world.core());
    references.clear();
    EXPECT_EQ(world.log().Count("j", "~"), 0);
  }
  world.Settle();
  EXPECT_EQ(world.log().Count("j", "~"), 1);
}

}  // namespace
}  // namespace jobcore
