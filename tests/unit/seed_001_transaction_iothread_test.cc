// SPDX-License-Identifier: Apache-2.0
//
// The second document that this project starts from ("blockdev: fix QMP 'transaction' with IOThreads", 2017) is about
// one lock that was used for two things. A transaction held the lock of an I/O thread's context from the first prepare
// to the last clean, to keep the drives still, although by then "the AioContext lock just protects state":
//
//   1  a wait under that lock "doesn't support recursive AioContext locking and will hang if depth > 1. This is easy to
//      trigger by submitting a transaction with 2 actions that touch two drives assigned to an IOThread. The
//      IOThread's AioContext will be locked twice"
//   2  "there is no reason to hold AioContext across .prepare/.commit/.abort/.clean() anymore": standing still is
//      what drained sections are for
//   3  elsewhere, the lock that does protect state was missing: around "bdrv_unref()"
//
// and it adds a command that moves a drive to another I/O thread, to test all that. Here an action is a job, and
// a transaction is a group (job-common/job_txn.h); what the actions work on is named in JobSpec::still_at_end. The one
// lock there is, job_mutex, protects state, is never held while anything waits, and is not recursive.

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-driver/resource.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Lets the loop of the calling thread go round once.
struct NextTurn {
  bool await_ready() { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> self) {
    AioContext::Current()->Post("next turn", [waiter = CoHandle::Of(self)] { waiter.Resume(); });
  }
  void await_resume() {}
};

// A drive with a base image, and the overlay that a snapshot puts on top of it. There is no lock around the images:
// requests touch them in the drive's I/O thread while they are in flight, a snapshot while the drive stands still.
class Drive {
 public:
  Drive(TestWorld& world, std::string name, AioContext& home)
      : resource(world.core(), std::move(name)), home(home), world_(world) {}

  // The guest makes `n` requests in the drive's I/O thread: it writes 0, 1, 2 … They have come before whatever the
  // caller makes that thread do next.
  void Request(int n = 1) {
    for (int i = 0; i < n; ++i) {
      home.Post("guest", [this, value = requested_++] { Spawn("request", Write(value)); });
    }
  }
  // How many, and how many are through. The main thread; any thread.
  int requested() const { return requested_; }
  int written() const { return written_.load(); }
  bool all_written() const { return written() == requested(); }

  // A request; takes a turn of the I/O thread.
  Co<void> Write(int value) {
    {
      const Admission in = co_await resource.Admit();
      EXPECT_TRUE(home.IsHome());
      co_await NextTurn();
      (overlay_active ? overlay : base).push_back(value);
    }
    ++written_;
  }

  // What every step of an action does: something that only the drive's I/O thread can do, and that has to be waited
  // for.
  Co<void> Flush() {
    std::atomic<bool> flushed{false};
    // The waiter, and its world, may be gone as soon as it has seen that it is flushed.
    home.Post("flush", [&flushed, main = world_.main().shared_from_this()] {
      flushed = true;
      main->wait_domain().Kick();
    });
    Co<absl::Status> wait =
        AioWaitWhile(world_.main(), [&flushed] { return !flushed; }, {.name = "flush", .deadline = Patience()});
    const absl::Status status = co_await std::move(wait);
    EXPECT_TRUE(status.ok()) << status;
  }

  // Everything written so far, in order. While no request is in flight.
  std::vector<int> contents() const {
    std::vector<int> all = base;
    all.insert(all.end(), overlay.begin(), overlay.end());
    return all;
  }

  Resource resource;
  AioContext& home;
  std::vector<int> base, overlay;
  bool has_overlay = false;
  bool overlay_active = false;

 private:
  TestWorld& world_;
  int requested_ = 0;
  std::atomic<int> written_{0};
};

std::vector<int> UpTo(int n) {
  std::vector<int> numbers;
  for (int i = 0; i < n; ++i) numbers.push_back(i);
  return numbers;
}

// What else happens in a step of an action: "prepare", "commit", "abort", "clean".
using InStep = std::function<Co<void>(std::string_view step)>;

// The action "external snapshot of a drive". Each of its steps waits for the drive's I/O thread.
Script Snapshot(
    Drive& drive, const InStep& in_step = [](std::string_view) -> Co<void> { return {}; },
    absl::StatusCode prepare_result = absl::StatusCode::kOk) {
  Script script;
  script.type = "snapshot";
  script.prepare = [&drive, in_step, prepare_result]() -> Co<absl::Status> {
    co_await drive.Flush();
    co_await in_step("prepare");
    if (prepare_result != absl::StatusCode::kOk) co_return absl::Status(prepare_result, "no space for an overlay");
    drive.has_overlay = true;
    co_return absl::OkStatus();
  };
  script.commit = [&drive, in_step]() -> Co<absl::Status> {
    co_await drive.Flush();
    co_await in_step("commit");
    drive.overlay_active = true;
    co_return absl::OkStatus();
  };
  script.abort = [&drive, in_step]() -> Co<void> {
    co_await drive.Flush();
    co_await in_step("abort");
    drive.has_overlay = false;
  };
  script.clean = [&drive, in_step]() -> Co<void> {
    co_await drive.Flush();
    co_await in_step("clean");
  };
  return script;
}

JobSpec SnapshotOf(Drive& drive, std::string id, JobTxnBuilder& transaction) {
  return {.id = std::move(id),
          .context = &drive.home,
          .group = &transaction,
          .resources = {&drive.resource},
          .still_at_end = {&drive.resource}};
}

// Two drives in one I/O thread (1), or one in each of two (2).
class Seed001 : public testing::TestWithParam<int> {
 protected:
  // Makes a transaction of two actions, on the two drives, and lets it go.
  void Submit(Script a, Script b) {
    JobTxnBuilder transaction(world_.core());
    a_ = world_.Create(SnapshotOf(drives_[0], "a", transaction), std::move(a));
    b_ = world_.Create(SnapshotOf(drives_[1], "b", transaction), std::move(b));
    ASSERT_TRUE(transaction.Seal().ok());
    ASSERT_TRUE(StartJob(*a_).ok());
    ASSERT_TRUE(StartJob(*b_).ok());
  }
  void RunToTheEnd() {
    ASSERT_TRUE(world_.RunUntilNull(a_));
    ASSERT_TRUE(world_.RunUntilNull(b_));
  }

  TestWorld world_{{.io_threads = 2}};
  Drive drives_[2] = {{world_, "drive0", world_.io(0)},
                      {world_, "drive1", world_.io(static_cast<size_t>(GetParam() - 1))}};
  JobRef a_, b_;
};

INSTANTIATE_TEST_SUITE_P(IOThreads, Seed001, testing::Values(1, 2),
                         [](const auto& test) { return test.param == 1 ? "One" : "Two"; });

// 1: "a transaction with 2 actions that touch two drives assigned to an IOThread … will hang". Each of the eight steps
// waits for something that the I/O thread has to do. Nobody has locked that thread, once or twice: it does it.
TEST_P(Seed001, TwoActionsThatTouchTwoDrivesDoNotHang) {
  Submit(Snapshot(drives_[0]), Snapshot(drives_[1]));
  RunToTheEnd();
  EXPECT_EQ(world_.EventOutcome("a"), "succeeded");
  EXPECT_EQ(world_.EventOutcome("b"), "succeeded");
  for (const Drive& drive : drives_) EXPECT_TRUE(drive.overlay_active);
  EXPECT_EQ(world_.log().All({"Prepare", "Commit", "Clean"}).size(), 6u);
  // Nothing is committed before everything has been prepared.
  const Strings steps = world_.log().All({"Prepare", "Commit"});
  ASSERT_EQ(steps.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_THAT(steps[i], HasSubstr(i < 2 ? "Prepare" : "Commit"));
}

// 1, literally: the depth at which something is held while one waits. Sections may be held to any depth, of the
// same drive too: they are no locks, and the wait beneath them needs the I/O thread and gets it.
TEST_P(Seed001, AWaitBeneathTwoAndMoreSectionsDoesNotHang) {
  std::vector<DrainedSection> held;
  for (Drive* drive : {&drives_[0], &drives_[1], &drives_[0], &drives_[1]}) {
    absl::StatusOr<DrainedSection> section =
        DrainedSection::OpenBlocking({&drive->resource}, {.name = "depth", .deadline = Patience()});
    ASSERT_TRUE(section.ok()) << section.status();
    held.push_back(*std::move(section));

    std::atomic<bool> done{false};
    drive->home.Post("work", [&done, main = world_.main().shared_from_this()] {
      done = true;
      main->wait_domain().Kick();
    });
    EXPECT_TRUE(
        AioWaitWhileUnlocked(world_.main(), [&] { return !done; }, {.name = "work", .deadline = Patience()}).ok());
  }
}

// 2: "no reason to hold AioContext across .prepare/.commit/.abort/.clean()". A step stops in the middle; meanwhile
// everybody else goes on: the two I/O threads, the main loop, and whoever wants job_mutex.
TEST_P(Seed001, NothingIsLockedAcrossTheSteps) {
  std::vector<Gate*> gates;
  for (int i = 0; i < 6; ++i) gates.push_back(&world_.NewGate());
  size_t steps = 0;
  const InStep stop = [&](std::string_view) -> Co<void> {
    EXPECT_EQ(internal::HeldJobMutex(), nullptr);
    co_await gates.at(steps++)->Pass();
  };
  Submit(Snapshot(drives_[0], stop), Snapshot(drives_[1], stop));
  for (size_t i = 0; i < gates.size(); ++i) {
    SCOPED_TRACE("step " + std::to_string(i));
    ASSERT_TRUE(world_.RunUntil([&] { return steps == i + 1 && gates[i]->reached() == 1; }, "the step"));
    std::atomic<int> turns{0};
    for (size_t n : {0u, 1u}) world_.io(n).Post("work", [&] { ++turns; });
    world_.main().Post("work", [&] { ++turns; });
    ASSERT_TRUE(world_.RunUntil([&] { return turns == 3; }, "a turn of every loop"));
    std::thread([&] {
      EXPECT_EQ(world_.Query(a_).group, world_.Query(b_).group);
      const JobRef another = world_.Create({.id = "another", .context = &world_.io()}, {});
      EXPECT_TRUE(AbandonJob(*another).ok());
    }).join();
    gates[i]->Open();
  }
  RunToTheEnd();
  EXPECT_EQ(world_.EventOutcome("a"), "succeeded");
}

// 2: what the lock had been held for, "in an attempt to achieve drained_begin/end semantics", without it. From the
// first prepare to the last clean both drives stand still, whichever of the two the step is about; what guests ask for
// meanwhile waits, and is neither lost nor let in between two steps.
TEST_P(Seed001, RequestsMadeMeanwhileAreNeitherLostNorAdmittedInBetween) {
  for (Drive& drive : drives_) drive.Request(5);
  ASSERT_TRUE(world_.RunUntil([&] { return drives_[0].all_written() && drives_[1].all_written(); }, "requests"));

  int steps = 0;
  const InStep disturb = [&](std::string_view) -> Co<void> {
    ++steps;
    for (Drive& drive : drives_) {
      drive.Request();
      co_await drive.Flush();  // now the request has been made, and has had time to get in
      EXPECT_EQ(drive.resource.in_flight(), 0u);
      EXPECT_EQ(drive.contents(), UpTo(5));
    }
  };
  Submit(Snapshot(drives_[0], disturb), Snapshot(drives_[1], disturb));
  RunToTheEnd();
  ASSERT_TRUE(world_.RunUntil([&] { return drives_[0].all_written() && drives_[1].all_written(); }, "requests"));

  EXPECT_EQ(steps, 6);
  for (const Drive& drive : drives_) {
    SCOPED_TRACE(drive.resource.name());
    EXPECT_EQ(drive.base, UpTo(5));                        // all that came before
    EXPECT_EQ(drive.overlay.size(), 6u);                   // all that came since: one in each step
    EXPECT_EQ(drive.contents(), UpTo(drive.requested()));  // in order
  }
}

// The transaction's purpose: one action that fails undoes the other one, whose steps have gone well. What was asked for
// meanwhile goes where it would have gone without the transaction.
TEST_P(Seed001, AFailingActionUndoesTheOther) {
  for (const bool first_fails : {true, false}) {
    SCOPED_TRACE(first_fails ? "the first fails" : "the second fails");
    const auto result = [&](bool first) {
      return first == first_fails ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kOk;
    };
    for (Drive& drive : drives_) drive.Request(5);
    ASSERT_TRUE(world_.RunUntil([&] { return drives_[0].all_written() && drives_[1].all_written(); }, "requests"));
    const std::vector<int> before = drives_[0].contents();
    int aborted = 0;
    const InStep disturb = [&](std::string_view step) -> Co<void> {
      EXPECT_NE(step, "commit");
      if (step == "abort") ++aborted;
      const bool undone = step == "clean" && aborted == 2;  // nobody has to wait for what is still cleared away
      for (Drive& drive : drives_) {
        drive.Request();
        co_await drive.Flush();
        if (!undone) {
          EXPECT_EQ(drive.contents(), before);  // undone in peace
        }
      }
    };
    Submit(Snapshot(drives_[0], disturb, result(true)), Snapshot(drives_[1], disturb, result(false)));
    RunToTheEnd();
    EXPECT_EQ(aborted, 2);
    EXPECT_EQ(world_.EventOutcome(first_fails ? "a" : "b"), "failed: no space for an overlay");
    EXPECT_EQ(world_.EventOutcome(first_fails ? "b" : "a"), "cancelled");
    ASSERT_TRUE(world_.RunUntil([&] { return drives_[0].all_written() && drives_[1].all_written(); }, "requests"));
    for (const Drive& drive : drives_) {
      EXPECT_FALSE(drive.has_overlay);
      EXPECT_EQ(drive.base, UpTo(drive.requested()));
    }
  }
}

// 1: "BDRV_POLL_WHILE is best fixed by eliminating the lock entirely": a wait under the lock can't be written. Under
// clang it does not compile (tests/compile_fail/wait_with_lock.cc, wait_macro_with_lock.cc); otherwise it aborts at
// once, every time, at any depth, whether or not it would have had to wait.
void WaitWithTheLockHeld(const std::function<void(TestWorld&)>& wait) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  TestWorld world;
  JobLock lock(world.core());
  wait(world);
}

TEST(Seed001DeathTest, AWaitUnderTheLockAbortsAtOnce) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(WaitWithTheLockHeld(
                   [](TestWorld& world) { AioWaitWhileUnlocked(world.core(), [] { return false; }).IgnoreError(); }),
               "job_mutex");
}

TEST(Seed001DeathTest, ASectionUnderTheLockAbortsAtOnce) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(WaitWithTheLockHeld([](TestWorld& world) {
                 Resource drive(world.core(), "drive0");
                 DrainedSection::OpenBlocking({&drive}).IgnoreError();
               }),
               "job_mutex");
}

// 1: "will be locked twice": there is no depth.
TEST(Seed001DeathTest, TheLockIsNotTakenTwice) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(WaitWithTheLockHeld([](TestWorld& world) { JobLock again(world.core()); }), "not recursive");
}

// The other way in which such a wait hangs: it is made in the thread that is waited for, or in another I/O thread,
// where nobody would run the main loop. It is refused, and the message says what to do.
TEST(Seed001Wait, InAnIOThreadIsRefusedInsteadOfHanging) {
  TestWorld world({.io_threads = 2});
  for (const size_t target : {0u, 1u}) {
    absl::Status refused;
    std::atomic<bool> done{false};
    world.io(0).Post("action", [&] {
      refused = AioWaitWhileUnlocked(world.io(target), [] { return true; }, {.name = "flush"});
      done = true;
    });
    ASSERT_TRUE(world.RunUntil([&] { return done.load(); }, "the refusal"));
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(refused.ToString(), HasSubstr("co_await"));
  }
}

// 3: "missing AioContext lock protection: hold AioContext for bdrv_unref()". Dropping what may be the last reference
// needs no lock, in any thread, and what it leads to happens in the main loop with none held.
TEST(Seed001Unref, TheLastReferenceMayBeDroppedAnywhere) {
  TestWorld world({.io_threads = 1});
  for (const bool in_io_thread : {true, false}) {
    std::atomic<int> destroyed{0};
    JobRef job = world.Start({.id = "a", .context = &world.io()}, {.destroyed = [&] {
                               EXPECT_TRUE(world.main().IsHome());
                               EXPECT_EQ(internal::HeldJobMutex(), nullptr);
                               ++destroyed;
                             }});
    ASSERT_TRUE(world.RunUntilNull(job));
    if (in_io_thread) {
      world.io().Post("unref", [last = std::move(job)]() mutable { last = JobRef(); });
    } else {
      std::thread([last = std::move(job)]() mutable { last = JobRef(); }).join();
    }
    ASSERT_TRUE(world.RunUntil([&] { return destroyed == 1; }, "the destructor"));
  }
}

// "A testing command that moves a drive to another IOThread": while the transaction is under way, one of its jobs goes
// to another thread. Nothing was locked in the old one, so nothing has to be unlocked there, and the drives are
// as still as before.
TEST(Seed001SetIOThread, AnActionMovesToAnotherThreadInTheMiddle) {
  TestWorld world({.io_threads = 2});
  Drive drives[2] = {{world, "drive0", world.io(0)}, {world, "drive1", world.io(0)}};
  drives[1].Request(5);
  JobTxnBuilder transaction(world.core());
  const JobRef a = world.Create(SnapshotOf(drives[0], "a", transaction), Snapshot(drives[0]));
  auto remote = std::make_shared<Remote>();
  Script mover = Snapshot(drives[1], [&](std::string_view step) -> Co<void> {
    if (step == "commit") drives[1].Request();
    co_await drives[1].Flush();
  });
  AioContext* home_at_end = nullptr;
  mover.run = [&](JobContext& job) -> Co<absl::Status> {
    const absl::Status result = co_await Obey(job, *remote);
    home_at_end = AioContext::Current();
    co_return result;
  };
  const JobRef b = world.Create(SnapshotOf(drives[1], "b", transaction), std::move(mover));
  ASSERT_TRUE(transaction.Seal().ok());
  ASSERT_TRUE(StartJob(*a).ok());
  ASSERT_TRUE(StartJob(*b).ok());
  ASSERT_TRUE(world.RunUntilStatus(a, "waiting"));
  Replies replies;
  {
    JobLock lock(world.core());
    ASSERT_TRUE(monitor::Move(*b, world.io(1), replies.Make(world.main())).ok());
  }
  ASSERT_TRUE(world.RunUntil([&] { return replies.count() == 1; }, "the move"));
  EXPECT_THAT(replies.all(), ElementsAre("OK"));
  remote->Finish(*b);
  ASSERT_TRUE(world.RunUntilNull(a));
  ASSERT_TRUE(world.RunUntilNull(b));
  EXPECT_EQ(home_at_end, &world.io(1));
  EXPECT_EQ(world.EventOutcome("b"), "succeeded");
  ASSERT_TRUE(world.RunUntil([&] { return drives[1].all_written(); }, "requests"));
  EXPECT_EQ(drives[1].base, UpTo(5));
  EXPECT_THAT(drives[1].overlay, ElementsAre(5));
}

}  // namespace
}  // namespace jobcore
