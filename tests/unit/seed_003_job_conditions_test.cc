// SPDX-License-Identifier: Apache-2.0
//
// The fourth document that this project starts from ("Rollback migration when libvirtd restarts", 2011) comes from
// the other ancestor. A lock on an object "must not be held during sleeps", so a *job condition* takes its place: a
// long asynchronous job with a set of commands that are allowed beside it, short normal jobs that exclude each other,
// and nested ones. The job and its phase are written to a file, from which a restarted process takes it up.
//
// Its rules are rules for callers: count a reference, release this lock before that one, wait, look again, check what
// the call returned, unlock in every error path. Here is what becomes of each of them in the job core. The core has
// no memory that survives the process; what it owes to whoever keeps one is the subject of the last section.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// --- "Lock must not be held during sleeps" ---

// "… the job condition provides additional protection for code making updates." The job is that condition: while it
// sleeps in the middle of an update, nothing is locked, and a second update of the same name is kept out.
TEST(Seed003, AJobThatSleepsInTheMiddleOfAnUpdateHoldsNoLockAndKeepsOthersOut) {
  TestWorld world({.virtual_time = true});
  int state = 0;
  const Script update = {.run = [&](JobContext& job) -> Co<absl::Status> {
    const int before = state;
    if (absl::Status s = co_await job.Sleep(60s); !s.ok()) co_return s;
    state = before + 1;
    co_return absl::OkStatus();
  }};
  const JobRef first = world.Start({.id = "update"}, update);
  world.Settle();
  std::thread([&] { EXPECT_EQ(world.Status(first), "running"); }).join();  // any thread gets the lock
  EXPECT_EQ(CreateJob(world.core(), {.id = "update"}, world.Driver("update", update)).status().code(),
            absl::StatusCode::kAlreadyExists);
  world.clock().Advance(60s);
  ASSERT_TRUE(world.RunUntilNull(first));
  const JobRef second = world.Start({.id = "update"}, update);
  world.Settle();
  world.clock().Advance(60s);
  ASSERT_TRUE(world.RunUntilNull(second));
  EXPECT_EQ(state, 2);
}

// "while (!finished) { … monitor job progress … unlock; sleep(aWhile); lock }". Progress is read without the lock, and
// a wait ends because it is woken: no time passes.
TEST(Seed003, WaitingIsNotSleepingAndLookingAgain) {
  TestWorld world({.virtual_time = true, .io_threads = 1});
  const TimePoint start = world.clock().Now();
  Gate& gate = world.NewGate();
  const JobRef job =
      world.Start({.id = "migration", .context = &world.io()}, {.run = [&](JobContext& self) -> Co<absl::Status> {
                    self.progress().SetRemaining(100);
                    self.progress().Advance(40);
                    co_await gate.Pass();
                    self.progress().Advance(60);
                    co_return absl::OkStatus();
                  }});
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }, "the job"));
  EXPECT_EQ(job->progress().Get().current, 40u);
  world.io().Post("open", [&] { gate.Open(); });
  const absl::StatusOr<JobOutcome> outcome = monitor::WaitFor(job);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->succeeded());
  EXPECT_EQ(job->progress().Get().current, 100u);
  EXPECT_EQ(world.clock().Now(), start);
  ASSERT_TRUE(world.RunUntilNull(job));
}

// --- "A limited set of other monitor commands while such job is running" ---

// "Allow all query commands to be run during long jobs": in every state, and in the middle of every hook, a query is
// answered at once. "This allows clients to query statistics, cancel the job, or change parameters": which verbs
// there are besides is one table (job_status.h); those outside of it are refused at once instead of waiting.
TEST(Seed003, QueriesAreAnsweredInEveryStateAndOtherVerbsAreAllowedOrRefusedAtOnce) {
  TestWorld world({.io_threads = 1});
  auto remote = std::make_shared<Remote>();
  Gate& in_prepare = world.NewGate();
  Script script = Obedient(remote, ReadyCapabilities{});
  script.prepare = [&]() -> Co<absl::Status> {
    co_await in_prepare.Pass();
    co_return absl::AbortedError("the destination is full");
  };
  Gate& in_abort = world.NewGate();
  script.abort = [&]() -> Co<void> { co_await in_abort.Pass(); };
  const JobRef job = world.Create(
      {.id = "migration", .context = &world.io(), .auto_finalize = false, .auto_dismiss = false}, std::move(script));

  Strings states;
  const auto look = [&](std::string_view state) {
    ASSERT_TRUE(world.RunUntilStatus(job, state));
    states.emplace_back(state);
    EXPECT_EQ(JobStatusName(world.Query(job).status), state);
    EXPECT_THAT(monitor::SnapshotJobs(world.core()), SizeIs(1));
    JobLock lock(world.core());
    const JobStatus status = job->status();
    if (!VerbAllowed(JobVerb::kPause, status)) {
      EXPECT_THAT(monitor::Pause(*job).ToString(), HasSubstr("in state '" + std::string(state) + "' cannot accept"));
    }
    if (!VerbAllowed(JobVerb::kComplete, status)) {
      EXPECT_FALSE(monitor::Complete(*job).ok());
    }
    if (!VerbAllowed(JobVerb::kFinalize, status)) {
      EXPECT_FALSE(monitor::Finalize(*job).ok());
    }
    if (!VerbAllowed(JobVerb::kDismiss, status)) {
      EXPECT_FALSE(monitor::Dismiss(*job).ok());
    }
  };
  look("created");
  ASSERT_TRUE(StartJob(*job).ok());
  look("ready");
  ASSERT_TRUE(world.Pause(job).ok());
  look("standby");
  ASSERT_TRUE(world.Resume(job).ok());
  look("ready");
  ASSERT_TRUE(world.Complete(job).ok());
  look("pending");
  ASSERT_TRUE(world.Finalize(job).ok());
  ASSERT_TRUE(world.RunUntil([&] { return in_prepare.reached() == 1; }, "prepare"));
  EXPECT_EQ(world.Query(job).status, JobStatus::kPending);
  in_prepare.Open();
  ASSERT_TRUE(world.RunUntil([&] { return in_abort.reached() == 1; }, "abort"));
  look("aborting");
  in_abort.Open();
  look("concluded");
  EXPECT_THAT(states, SizeIs(7));
  ASSERT_TRUE(world.Dismiss(job).ok());
}

// "If the job is incompatible with current asynchronous job, it needs to wait until the asynchronous job ends and try
// to acquire the job again"; "rechecks if the job is still compatible and repeats waiting if it isn't"; one
// condition is signalled, the other one broadcast. Every change of a job wakes all who wait, and the one who gets
// the name is decided under the mutex, so several may wait for the same end: one goes on, the others wait again.
TEST(Seed003, WaitersForTheEndOfAJobGetItsNameOneAfterTheOther) {
  TestWorld world({.io_threads = 1});
  int running = 0;
  std::vector<int> ran;
  std::vector<std::shared_ptr<Remote>> remotes;
  std::vector<JobRef> jobs;
  int attempts = 0;
  const auto acquire = [&](int who) -> Co<void> {
    for (;;) {
      ++attempts;
      auto remote = std::make_shared<Remote>();
      Script script = Obedient(remote);
      absl::StatusOr<JobRef> job = CreateJob(world.core(), {.id = "migration", .context = &world.io()},
                                             world.Driver("migration", std::move(script)));
      if (job.ok()) {
        EXPECT_EQ(running++, 0) << "beside another one";
        ran.push_back(who);
        EXPECT_TRUE(StartJob(**job).ok());
        remotes.push_back(std::move(remote));
        jobs.push_back(*std::move(job));
        co_return;
      }
      EXPECT_EQ(job.status().code(), absl::StatusCode::kAlreadyExists);
      const auto taken = [&world] { return world.Findable("migration"); };
      Co<absl::Status> wait = AioWaitWhile(world.core(), taken, {.name = "end of the migration"});
      EXPECT_TRUE((co_await std::move(wait)).ok());
    }
  };
  for (int who = 0; who < 4; ++who) Spawn("command", acquire(who));
  for (size_t n = 1; n <= 4; ++n) {
    ASSERT_TRUE(world.RunUntil([&] { return ran.size() == n; }, "the next migration"));
    world.Settle();
    EXPECT_THAT(ran, SizeIs(n));  // no second one
    --running;
    remotes.back()->Finish(*jobs.back());
  }
  EXPECT_THAT(ran, UnorderedElementsAre(0, 1, 2, 3));
  EXPECT_EQ(attempts, 1 + 3 * 2);  // who waits tries again when the name is free, and not before
  for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
}

// --- "It is possible that the domain is no longer active" ---

// "Increments ref count … Since the lock was dropped while waiting", what comes back from a wait is no longer what
// went into it. A waiter holds a JobRef, which is a type and not a rule; it gets the end of *its* job, even if that has
// been forgotten meanwhile and another one bears its name.
TEST(Seed003, AWaiterIsNotConfusedByASuccessorOfTheSameName) {
  TestWorld world({.io_threads = 2});
  auto remote = std::make_shared<Remote>();
  JobRef first = world.Start({.id = "migration", .context = &world.io(0)}, Obedient(remote));
  const uint64_t number = first->number();
  std::string told;  // io1; the main thread once `returned` is set
  std::atomic<bool> returned{false};
  const auto wait = [&](JobRef job) -> Co<void> {
    Co<absl::StatusOr<JobOutcome>> outcome = monitor::AwaitJob(job, Patience());
    const absl::StatusOr<JobOutcome> result = co_await std::move(outcome);
    EXPECT_EQ(job->number(), number);
    told = result.ok() ? result->ToString() : result.status().ToString();
    job = JobRef();
    returned = true;
  };
  std::atomic<bool> waiting{false};
  std::atomic<bool> busy{true};
  world.io(1).Post("waiter, then something long", [&, job = first] {
    Spawn("waiter", wait(job));
    waiting = true;
    while (busy) std::this_thread::yield();
  });
  ASSERT_TRUE(world.RunUntil([&] { return waiting.load(); }, "the waiter"));
  // The job ends, is forgotten and has a successor, all before its waiter gets to run.
  remote->Finish(*first, absl::DataLossError("the domain died"));
  ASSERT_TRUE(world.RunUntilNull(first));
  first = JobRef();
  const JobRef second = world.Start({.id = "migration", .context = &world.io(0)}, Obedient(std::make_shared<Remote>()));
  EXPECT_FALSE(returned);
  busy = false;
  ASSERT_TRUE(world.RunUntil([&] { return returned.load(); }, "the waiter"));
  EXPECT_EQ(told, "failed: the domain died");
  EXPECT_NE(second->number(), number);
  EXPECT_EQ(world.Status(second), "running");
  EXPECT_TRUE(world.Cancel(second).ok());
  ASSERT_TRUE(world.RunUntilNull(second));
}

// "The caller must then check the return value … to detect if domain died while waiting on the nested job." To forget
// it does not compile (tests/compile_fail/discarded_pause_point.cc, discarded_status.cc, discarded_verb.cc). A job
// that was stopped while it waited, in whatever way it waited, is told so when it comes back.
TEST(Seed003, AJobThatIsStoppedWhileItWaitsIsTold) {
  using Wait = std::function<Co<absl::Status>(JobContext&)>;
  const std::vector<std::pair<const char*, Wait>> waits = {
      {"yield", [](JobContext& job) -> Co<absl::Status> { co_return co_await job.Yield(); }},
      {"sleep", [](JobContext& job) -> Co<absl::Status> { co_return co_await job.Sleep(1h); }},
      {"pause",
       [](JobContext& job) -> Co<absl::Status> {
         while (!job.pause_requested()) {
           if (absl::Status s = co_await job.Sleep(0ns); !s.ok()) co_return s;
         }
         co_return co_await job.PausePoint();
       }},
  };
  for (const auto& [name, wait] : waits) {
    SCOPED_TRACE(name);
    TestWorld world({.io_threads = 1});
    absl::StatusCode told = absl::StatusCode::kOk;
    const JobRef job = world.Start({.id = "migration", .context = &world.io()},
                                   {.run = [&, wait = wait](JobContext& self) -> Co<absl::Status> {
                                     absl::Status s = co_await wait(self);
                                     told = s.code();
                                     co_return s;
                                   }});
    world.Settle();  // until it waits
    if (std::string_view(name) == "pause") {
      ASSERT_TRUE(world.Pause(job).ok());
      ASSERT_TRUE(world.RunUntilStatus(job, "paused"));
    }
    EXPECT_TRUE(world.Cancel(job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(told, absl::StatusCode::kCancelled);
    EXPECT_EQ(world.EventOutcome("migration"), "cancelled");
  }
}

// The same for a command: its answer comes, once, also if the job ends while the command waits for it.
TEST(Seed003, ACommandWhoseJobEndsWhileItWaitsIsTold) {
  TestWorld world;
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "migration"}, Obedient(remote, ReadyCapabilities{}));
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Pause(job).ok());
  Replies replies;
  remote->Finish(*job, absl::DataLossError("the domain died"));
  ASSERT_TRUE(world.Complete(job, replies.Make(world.main())).ok());
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_EQ(replies.count(), 1);
}

// --- "Lock ordering rules", "fix monitor unlocking in some error paths" ---

// "Unlocks driver … waits … locks driver, locks virDomainObjPtr. NB: this variant is required in order to comply with
// lock ordering rules." job_mutex is a leaf: no hook, observer or reply is called under it. So a caller may hold a
// lock of its own when it takes job_mutex, the same that hooks and observers take, and need not drop it first.
TEST(Seed003, ThereIsNoOrderToGetWrongWithALockOfTheCallersOwn) {
  TestWorld world({.io_threads = 2});
  std::mutex driver_lock;
  int updates = 0;  // guarded by driver_lock
  const auto update = [&] {
    const std::lock_guard<std::mutex> guard(driver_lock);
    ++updates;
  };
  const monitor::EventObserver observer(world.core(), world.io(1), [&](const EventPage& page) {
    update();
    EXPECT_THAT(page.events, testing::Not(IsEmpty()));
  });
  Script script = Obedient(std::make_shared<Remote>());
  script.pause = [&](JobContext&) -> Co<void> {
    update();
    co_return;
  };
  script.resume = script.pause;
  script.cancel = [&](JobContext&, CancelMode) { update(); };
  script.clean = [&]() -> Co<void> {
    update();
    co_return;
  };
  script.destroyed = update;
  const JobRef job = world.Start({.id = "migration", .context = &world.io(0)}, std::move(script));
  ASSERT_TRUE(world.RunUntilStatus(job, "running"));
  for (int i = 0; i < 100; ++i) {
    const std::lock_guard<std::mutex> guard(driver_lock);
    EXPECT_TRUE(world.Pause(job).ok());
    EXPECT_TRUE(world.Resume(job).ok());
  }
  {
    const std::lock_guard<std::mutex> guard(driver_lock);
    EXPECT_TRUE(world.Cancel(job).ok());
  }
  ASSERT_TRUE(world.RunUntilNull(job));
  const std::lock_guard<std::mutex> guard(driver_lock);
  EXPECT_GT(updates, 0);
}

// "Fix monitor unlocking in some error paths": a lock is a scope. There is no path out of it that leaves it locked.
TEST(Seed003, EveryErrorPathUnlocks) {
  TestWorld world;
  const JobRef job = world.Create({.id = "migration"}, {});
  const auto command = [&](std::string_view id, bool exception) -> absl::Status {
    JobLock lock(world.core());
    Job* found = monitor::Find(world.core(), id);
    if (found == nullptr) return absl::NotFoundError("Job not found");
    if (exception) throw std::runtime_error("out of memory");
    if (absl::Status s = monitor::Dismiss(*found); !s.ok()) return s;
    return absl::OkStatus();
  };
  const auto is_free = [&] {
    EXPECT_EQ(internal::HeldJobMutex(), nullptr);
    std::thread([&] { EXPECT_EQ(world.Status(job), "created"); }).join();
  };
  EXPECT_EQ(command("snapshot", false).code(), absl::StatusCode::kNotFound);
  is_free();
  EXPECT_EQ(command("migration", false).code(), absl::StatusCode::kFailedPrecondition);
  is_free();
  EXPECT_THROW(command("migration", true).IgnoreError(), std::runtime_error);
  is_free();
  EXPECT_TRUE(AbandonJob(*job).ok());
}

// --- "Persists current job and its phase", "recovery when libvirtd is restarted while a job is active" ---

// "Save job type", "add support for job phase": type, state and phase are one record, read in one step. A phase is
// published before what it announces, so nobody sees the effect of a phase that the record does not name yet.
TEST(Seed003, TypeStateAndPhaseAreOneRecordAndThePhaseComesFirst) {
  TestWorld world({.io_threads = 1});
  std::atomic<int> effect{0};
  Script script;
  script.type = "migration-out";
  script.run = [&](JobContext& self) -> Co<absl::Status> {
    for (int phase = 1; phase <= 100; ++phase) {
      self.PublishDetails({{"phase", std::to_string(phase)}});
      effect = phase;
      if (absl::Status s = co_await self.Sleep(0ns); !s.ok()) co_return s;
    }
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start({.id = "migration", .context = &world.io()}, std::move(script));
  int last = 0;
  const auto look = [&] {
    const int seen = effect;
    const monitor::JobInfo record = world.Query(job);
    EXPECT_EQ(record.type, "migration-out");
    if (record.details == nullptr) return;
    const int phase = std::stoi(record.details->at(0).second);
    EXPECT_GE(phase, seen);
    EXPECT_GE(phase, last) << "a phase goes back";
    last = phase;
  };
  ASSERT_TRUE(world.RunUntil(
      [&] {
        look();
        return world.Status(job) == "null";
      },
      "the end"));
  look();
  EXPECT_EQ(last, 100);
}

// What survives a restart: the guest, the other host, and the status file.
struct Host {
  std::string status_file;  // the phase of the migration; empty: there is none
  bool destination_prepared = false;
  bool guest_runs_here = true;
  bool guest_runs_there = false;
};

// The migration. It writes down what it is about to do, then does it; `crash` may happen between any two steps.
Script Migration(Host& host, const std::function<void()>& crash) {
  const auto step = [&host, crash](std::string_view phase, const std::function<void()>& effect) {
    host.status_file = phase;
    crash();
    effect();
    crash();
  };
  Script script;
  script.type = "migration-out";
  script.run = [&host, step](JobContext& job) -> Co<absl::Status> {
    step("begin", [&] { host.destination_prepared = true; });
    if (absl::Status s = co_await job.PausePoint(); !s.ok()) co_return s;
    step("perform", [&] { host.guest_runs_here = false; });
    co_return absl::OkStatus();
  };
  // The last phase from which there is a way back; the cut is between this and commit.
  script.prepare = [step]() -> Co<absl::Status> {
    step("finish", [] {});
    co_return absl::OkStatus();
  };
  script.commit = [&host, step]() -> Co<absl::Status> {
    step("confirm", [&] { host.guest_runs_there = true; });
    co_return absl::OkStatus();
  };
  // Does not ask how far it got.
  script.abort = [&host]() -> Co<void> {
    host.guest_runs_here = true;
    host.destination_prepared = false;
    co_return;
  };
  script.clean = [&host, crash]() -> Co<void> {
    host.status_file.clear();
    crash();
    co_return;
  };
  return script;
}

// What a new process does with what it finds: a phase before the cut is undone, the one after it is done again.
Script Recovery(Host& host) {
  Script script = Migration(host, [] {});
  const bool confirmed = host.status_file == "confirm";
  script.run = Returning(confirmed ? absl::OkStatus() : absl::AbortedError("interrupted")).run;
  script.prepare = nullptr;
  return script;
}

// "Rollback migration when libvirtd restarts": at whatever moment the process ends, the next one can tell from the
// phase what to do. What the core gives for that: a fixed order of the hooks with one cut between undoing and
// doing, phases that may be written down before their effect, since hooks may take their time, and an abort that
// is also called for a job which has done nothing in this process.
TEST(Seed003, AMigrationInterruptedAtAnyMomentIsRolledBackOrFinishedByTheNextProcess) {
  std::vector<Host> crashes;
  {
    TestWorld world({.io_threads = 1});
    Host host;
    const JobRef job =
        world.Start({.id = "migration", .context = &world.io()}, Migration(host, [&] { crashes.push_back(host); }));
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_TRUE(host.guest_runs_there);
  }
  ASSERT_EQ(crashes.size(), 9u);
  int finished = 0;
  for (Host& host : crashes) {
    SCOPED_TRACE("crash in phase '" + host.status_file + "'");
    if (!host.status_file.empty()) {
      TestWorld world({.io_threads = 1});
      const JobRef job = world.Start({.id = "migration", .context = &world.io()}, Recovery(host));
      ASSERT_TRUE(world.RunUntilNull(job));
    }
    EXPECT_THAT(host.status_file, IsEmpty());
    EXPECT_NE(host.guest_runs_here, host.guest_runs_there);  // exactly one guest runs
    EXPECT_EQ(host.destination_prepared, host.guest_runs_there);
    finished += host.guest_runs_there ? 1 : 0;
  }
  EXPECT_EQ(finished, 3);  // the crashes after the cut
}

// The same without a crash: a migration that is cancelled, or fails, at any phase before the cut leaves no trace.
TEST(Seed003, AMigrationThatIsCancelledInAnyPhaseLeavesNoTrace) {
  for (int phase = 1; phase <= 6; ++phase) {
    SCOPED_TRACE(phase);
    TestWorld world;
    Host host;
    JobRef job;
    int steps = 0;
    job = world.Create({.id = "migration"}, Migration(host, [&] {
                         if (++steps == phase) {
                           EXPECT_TRUE(world.Cancel(job).ok());
                         }
                       }));
    ASSERT_TRUE(StartJob(*job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
    EXPECT_EQ(world.EventOutcome("migration"), "cancelled");
    EXPECT_THAT(host.status_file, IsEmpty());
    EXPECT_TRUE(host.guest_runs_here);
    EXPECT_FALSE(host.guest_runs_there || host.destination_prepared);
  }
}

}  // namespace
}  // namespace jobcore
