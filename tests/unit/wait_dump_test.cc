// SPDX-License-Identifier: Apache-2.0
//
// What a dump says of loops, waits and jobs.

#include "job-monitor/wait_dump.h"

#include <unistd.h>

#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "job-common/io_engine.h"
#include "job-common/task_scope.h"
#include "job/job_ops.h"
#include "support/event.h"
#include "support/held_engine.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using monitor::DumpWaits;
using monitor::JobWait;
using monitor::WaitDump;
using monitor::WaitRecord;
using support::Event;
using support::ForeignEvent;
using support::HeldEngine;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using namespace std::chrono_literals;

JobWait Of(const WaitDump& dump, const JobRef& job) {
  for (const JobWait& wait : dump.jobs)
    if (wait.number == job->number()) return wait;
  ADD_FAILURE() << "not in the dump: " << job->id();
  return {};
}

WaitRecord Named(const WaitDump& dump, const std::string& name) {
  for (const WaitRecord& wait : dump.waits)
    if (wait.what == name) return wait;
  ADD_FAILURE() << "not in the dump: " << name << "\n" << ToString(dump);
  return {};
}

Co<absl::Status> ForeignThenRead(ForeignEvent& foreign, IoEngine& engine) {
  co_await foreign;
  (void)co_await Read(engine, 0, 0, {});
  co_return absl::OkStatus();
}

struct WaitDumpTest : testing::Test {
  WaitDump Dump() { return DumpWaits(world.core()); }
  std::string What(const JobRef& job) { return Of(Dump(), job).what; }
  Strings HeldBy(const JobRef& job) { return Of(Dump(), job).held_by; }
  // Lets time pass, in a turn of the main loop.
  void Pass(Nanoseconds time) {
    world.clock().Advance(time);
    world.Settle();
  }
  Script Reads() {
    return {.run = [this](JobContext&) -> Co<absl::Status> {
      (void)co_await Read(engine, 0, 0, {});
      co_return absl::OkStatus();
    }};
  }

  HeldEngine engine;
  TestWorld world{{.virtual_time = true, .io_threads = 1}};
};

// --- What jobs are suspended in ---

TEST_F(WaitDumpTest, AJobInIoSaysWhichAndForHowLong) {
  Script script;
  script.run = [this](JobContext&) -> Co<absl::Status> {
    (void)co_await Read(engine, 0, 0, {});
    (void)co_await Write(engine, 0, 0, {});
    (void)co_await DataSync(engine, 0);
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start({.id = "a"}, script);
  EXPECT_EQ(What(job), "its first turn in 'main'");
  EXPECT_THAT(HeldBy(job), ElementsAre("loop 'main', in no callback, polled 0 ms ago, has work"));
  world.Settle();
  world.clock().Advance(3200ms);
  EXPECT_EQ(What(job), "I/O read for 3.2 s");
  EXPECT_THAT(HeldBy(job), IsEmpty());
  EXPECT_EQ(Of(Dump(), job).status, JobStatus::kRunning);
  for (const char* next : {"I/O write for 500 ms", "I/O data sync for 500 ms"}) {
    engine.CompleteOne();
    Pass(0ms);
    world.clock().Advance(500ms);
    EXPECT_EQ(What(job), next);
  }
  engine.CompleteOne();
  EXPECT_TRUE(world.RunUntilNull(job));
  EXPECT_THAT(Dump().jobs, IsEmpty());
}

TEST_F(WaitDumpTest, AJobThatRunsCodeNamesTheCallback) {
  std::string seen;
  Script script;
  script.run = [&](JobContext& job) -> Co<absl::Status> {
    world.clock().Advance(1200ms);
    seen = Of(DumpWaits(world.core()), JobRef(job.job())).what;
    co_return absl::OkStatus();
  };
  EXPECT_TRUE(world.RunUntilNull(world.Start({.id = "a"}, script)));
  EXPECT_EQ(seen, "running code for 1.2 s in callback 'job'");
}

TEST_F(WaitDumpTest, SleepsYieldsAndTasksAreNamed) {
  Event end;
  Script sleeper, yielder, parent;
  sleeper.run = [](JobContext& job) {
    return [](JobContext& j) -> Co<absl::Status> { co_return co_await j.Sleep(1h); }(job);
  };
  yielder.run = [](JobContext& job) {
    return [](JobContext& j) -> Co<absl::Status> { co_return co_await j.Yield(); }(job);
  };
  parent.run = [&end](JobContext&) -> Co<absl::Status> {
    TaskScope tasks;
    tasks.Spawn([](Event& e) -> Co<void> { co_await e; }(end));
    co_await tasks.AtMost(0);
    co_return absl::OkStatus();
  };
  const JobRef sleeps = world.Start({.id = "sleeps"}, sleeper);
  const JobRef yields = world.Start({.id = "yields"}, yielder);
  const JobRef waits = world.Start({.id = "waits"}, parent);
  world.Settle();
  world.clock().Advance(20ms);
  EXPECT_EQ(What(sleeps), "sleep for 20 ms");
  EXPECT_EQ(What(yields), "yield for 20 ms");
  EXPECT_EQ(What(waits), "tasks of its own for 20 ms");
  Enter(*yields);
  EXPECT_EQ(What(yields), "its turn in 'main', after yield for 20 ms");
  EXPECT_THAT(HeldBy(yields), ElementsAre(StartsWith("loop 'main'")));
  end.Set();
  ASSERT_TRUE(world.Cancel(sleeps).ok());
  world.Settle();
  EXPECT_THAT(Dump().jobs, IsEmpty());
}

TEST_F(WaitDumpTest, AForeignAwaitIsUnnamedAndDoesNotInheritTheTimeBefore) {
  ForeignEvent foreign;
  Script script;
  script.run = [&](JobContext&) { return ForeignThenRead(foreign, engine); };
  const JobRef job = world.Start({.id = "a"}, script);
  world.Settle();
  world.clock().Advance(2s);
  EXPECT_EQ(What(job), "an unnamed await for 2.0 s");
  foreign.Set();  // resumes the coroutine behind our back
  world.clock().Advance(1s);
  EXPECT_EQ(What(job), "I/O read for 1.0 s");
  engine.CompleteOne();
  EXPECT_TRUE(world.RunUntilNull(job));
}

TEST_F(WaitDumpTest, APausedJobNamesItsReasonsAndAPausingOneItsHook) {
  Script script;
  script.run = [](JobContext& job) {
    return [](JobContext& j) -> Co<absl::Status> { co_return co_await j.Yield(); }(job);
  };
  script.pause = [this](JobContext&) -> Co<void> { (void)co_await Write(engine, 0, 0, {}); };
  const JobRef job = world.Start({.id = "a"}, script);
  world.Settle();
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.Pause(job, "maintenance").ok());
  world.Settle();
  world.clock().Advance(2s);
  EXPECT_EQ(What(job), "I/O write for 2.0 s in its Pause hook");
  EXPECT_THAT(Of(Dump(), job).pause_reasons, ElementsAre("user", "maintenance"));
  engine.CompleteOne();
  Pass(0ms);
  world.clock().Advance(1s);
  EXPECT_EQ(What(job), "parked by user, maintenance for 1.0 s");
  EXPECT_THAT(HeldBy(job), ElementsAre("pause 'user'", "pause 'maintenance'"));
  ASSERT_TRUE(world.Cancel(job).ok());
}

TEST_F(WaitDumpTest, ACompleteHookIsPartOfItsJob) {
  Script script = Obedient(std::make_shared<Remote>(), ReadyCapabilities{});
  script.complete = [this](JobContext&) -> Co<absl::Status> {
    (void)co_await Read(engine, 0, 0, {});
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start({.id = "a"}, script);
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Complete(job).ok());
  world.Settle();
  world.clock().Advance(1s);
  EXPECT_EQ(What(job), "yield for 1.0 s");
  EXPECT_THAT(HeldBy(job), ElementsAre("its Complete hook, in I/O read for 1.0 s"));
  ASSERT_TRUE(world.Cancel(job).ok());  // ends Run, which then waits for the hook
  Pass(0ms);
  EXPECT_EQ(What(job), "end of the hook beside it for 0 ms");
  EXPECT_THAT(HeldBy(job), ElementsAre("its Complete hook, in I/O read for 1.0 s"));
  engine.CompleteOne();
  EXPECT_TRUE(world.RunUntilNull(job));
}

// --- Groups ---

TEST_F(WaitDumpTest, AMemberThatHasFinishedNamesThoseThatHaveNot) {
  JobTxnBuilder group(world.core());
  const JobRef a = world.Start({.id = "a", .group = &group}, Returning(absl::OkStatus()));
  const JobRef b = world.Start({.id = "b", .group = &group}, Reads());
  world.Settle();
  EXPECT_EQ(What(a), "1 member(s) of its group to finish");
  world.clock().Advance(3200ms);
  EXPECT_THAT(HeldBy(a), ElementsAre("job 'b', running: I/O read for 3.2 s"));
  engine.CompleteOne();
  world.Settle();
  EXPECT_EQ(What(a), "its group to be sealed");
  ASSERT_TRUE(group.Seal().ok());
  EXPECT_THAT(What(a), "the finalisation of its group, posted to the main context");
  EXPECT_THAT(HeldBy(a), ElementsAre(StartsWith("loop 'main', in no callback")));
  world.Settle();
}

TEST_F(WaitDumpTest, OfALargeGroupAFewAreNamed) {
  JobTxnBuilder group(world.core());
  const JobRef a = world.Start({.id = "a", .group = &group}, Returning(absl::OkStatus()));
  std::vector<JobRef> others;
  for (int i = 0; i < 10; ++i) others.push_back(world.Create({.id = absl::StrCat("b", i), .group = &group}, {}));
  world.Settle();
  EXPECT_EQ(What(a), "10 member(s) of its group to finish");
  EXPECT_THAT(HeldBy(a), ElementsAre("job 'b0', created: to be started", StartsWith("job 'b1'"), StartsWith("job 'b2'"),
                                     StartsWith("job 'b3'"), "6 more"));
}

TEST_F(WaitDumpTest, AFinalisationNamesItsHookAndWhoseItIs) {
  JobTxnBuilder group(world.core());
  Script script = Returning(absl::OkStatus());
  script.prepare = [this]() -> Co<absl::Status> {
    (void)co_await Write(engine, 0, 0, {});
    co_return absl::OkStatus();
  };
  script.clean = [this]() -> Co<void> { (void)co_await DataSync(engine, 0); };
  const JobRef a = world.Start({.id = "a", .group = &group, .auto_finalize = false}, Returning(absl::OkStatus()));
  const JobRef b = world.Start({.id = "b", .context = &world.io(), .group = &group}, script);
  ASSERT_TRUE(group.Seal().ok());
  world.Settle();
  EXPECT_EQ(What(a), "its group to be finalized, on request");
  ASSERT_TRUE(world.Finalize(a).ok());
  world.Settle();
  world.clock().Advance(2s);
  EXPECT_EQ(What(a), "the Prepare hook of job 'b', in I/O write for 2.0 s");
  EXPECT_EQ(What(b), "the Prepare hook of its own, in I/O write for 2.0 s");
  engine.CompleteOne();
  Pass(0ms);
  EXPECT_EQ(What(b), "the Clean hook of its own, in I/O data sync for 0 ms");
  engine.CompleteOne();
  EXPECT_TRUE(world.RunUntilNull(b));
}

TEST_F(WaitDumpTest, InternalJobsAreListedByNumberAndConcludedOnesAreNot) {
  const JobRef hidden = world.Start({.internal = true}, Reads());
  const JobRef gone = world.Start({.id = "gone", .auto_dismiss = false}, Returning(absl::OkStatus()));
  const JobRef made = world.Create({.id = "made"}, {});
  world.Settle();
  const WaitDump dump = Dump();
  ASSERT_EQ(dump.jobs.size(), 2u);
  EXPECT_EQ(dump.jobs[0].id, "");
  EXPECT_EQ(dump.jobs[1].what, "to be started");
  EXPECT_THAT(ToString(dump), HasSubstr(absl::StrCat("  #", hidden->number(), " (internal)  running  I/O read for")));
  engine.CompleteOne();
}

// --- Waits ---

TEST_F(WaitDumpTest, AHomeThreadThatWaitsIsListedOnceAndNamesTheJobThatHoldsIt) {
  const JobRef job = world.Start({.id = "a"}, Reads());
  world.Settle();
  world.clock().Advance(3200ms);
  WaitDump dump;
  world.main().Post("look", [&] {
    dump = Dump();
    engine.CompleteOne();
  });
  EXPECT_TRUE(monitor::WaitFor(job, world.clock().Now() + 10s).ok());
  ASSERT_EQ(dump.waits.size(), 1u);
  EXPECT_EQ(dump.waits[0].what, "wait for job 'a'");
  EXPECT_EQ(dump.waits[0].loop, "main");
  EXPECT_EQ(dump.waits[0].left, 10s);
  EXPECT_THAT(dump.waits[0].who, StartsWith(absl::StrCat("thread ", gettid(), " (")));
  EXPECT_THAT(dump.waits[0].who, EndsWith("), home of 'main'"));
  EXPECT_THAT(dump.waits[0].held_by, ElementsAre("job 'a', running: I/O read for 3.2 s"));
  EXPECT_THAT(Dump().waits, IsEmpty());
}

TEST_F(WaitDumpTest, AHomeThreadThatWaitsForAnotherContextIsListedThere) {
  const JobRef job = world.Create({.id = "a", .context = &world.io()}, {});
  std::atomic<bool> done{false};
  WaitDump dump;
  world.main().Post("look", [&] {
    dump = Dump();
    done = true;
  });
  EXPECT_TRUE(AioWaitWhileUnlocked(world.io(), [&] { return !done; }, {.name = "other"}).ok());
  ASSERT_EQ(dump.waits.size(), 1u);
  EXPECT_EQ(dump.waits[0].loop, "io0");
  EXPECT_EQ(dump.waits[0].left, std::nullopt);
}

TEST_F(WaitDumpTest, AParkedThreadIsListed) {
  std::atomic<bool> done{false};
  std::thread plain([&] {
    (void)pthread_setname_np(pthread_self(), "plain");
    EXPECT_TRUE(
        AioWaitWhileUnlocked(world.core(), [&] { return !done; }, {.name = "plain wait", .watched = false}).ok());
  });
  ASSERT_TRUE(world.RunUntil([&] { return !Dump().waits.empty(); }));
  world.clock().Advance(2s);
  const WaitRecord wait = Named(Dump(), "plain wait");
  EXPECT_THAT(wait.who, EndsWith(" (plain)"));
  EXPECT_EQ(wait.lasted, 2s);
  EXPECT_FALSE(wait.watched);
  done = true;
  world.main().wait_domain().Kick();
  plain.join();
}

TEST_F(WaitDumpTest, AWaitOfACoroutineNamesItsJobAndTheJobItsWait) {
  Gate& gate = world.NewGate();
  Script script;
  script.run = [&](JobContext&) -> Co<absl::Status> {
    co_await gate.Pass();
    co_return absl::OkStatus();
  };
  const JobRef a = world.Start({.id = "a"}, script);
  Script waits_for_a;
  waits_for_a.run = [a](JobContext&) -> Co<absl::Status> {
    (void)co_await monitor::AwaitJob(a);
    co_return absl::OkStatus();
  };
  const JobRef b = world.Start({.id = "b"}, waits_for_a);
  Spawn("lonely", [](Gate& g) -> Co<void> { co_await g.Pass(); }(gate));
  world.Settle();
  world.clock().Advance(3s);
  const WaitDump dump = Dump();
  ASSERT_EQ(dump.waits.size(), 3u);
  EXPECT_EQ(dump.waits[0].who, "coroutine in 'main', from 'lonely'");
  EXPECT_EQ(dump.waits[1].who, "job 'a'");
  EXPECT_EQ(dump.waits[1].what, "gate of a test");
  EXPECT_EQ(dump.waits[1].lasted, 3s);
  EXPECT_EQ(dump.waits[2].who, "job 'b'");
  EXPECT_THAT(dump.waits[2].held_by, ElementsAre("job 'a', running: AioWaitWhile for 3.0 s"));
  EXPECT_EQ(Of(dump, a).what, "AioWaitWhile for 3.0 s");
  EXPECT_THAT(Of(dump, a).held_by, ElementsAre("wait 'gate of a test'"));
  EXPECT_THAT(Of(dump, b).held_by, ElementsAre("wait 'wait for job 'a''", "job 'a', running: AioWaitWhile for 3.0 s"));
  gate.Open();
  world.Settle();
  EXPECT_THAT(Dump().waits, IsEmpty());
}

// --- Loops and the mutex ---

TEST(WaitDump, ALoopThatIsStuckInACallbackIsNamedFromAnotherThread) {
  TestWorld world({.own_thread = true, .io_threads = 1});
  const JobRef job = world.Create({.id = "a", .context = &world.io()}, {});  // makes the context known
  std::promise<void> inside, go_on;
  world.main().Post("stuck", [&] {
    inside.set_value();
    go_on.get_future().wait();
  });
  inside.get_future().wait();
  ASSERT_TRUE(world.RunUntil([&] { return world.io().sleeping(); }));
  WaitDump dump = DumpWaits(world.core());
  ASSERT_EQ(dump.loops.size(), 2u);
  EXPECT_EQ(dump.loops[0].name, "main");
  EXPECT_TRUE(dump.loops[0].main);
  EXPECT_EQ(dump.loops[0].callback, "stuck");
  EXPECT_FALSE(dump.loops[0].asleep);
  EXPECT_EQ(dump.loops[1].name, "io0");
  EXPECT_EQ(dump.loops[1].callback, "");
  EXPECT_TRUE(dump.loops[1].asleep);
  go_on.set_value();
  ASSERT_TRUE(world.RunUntil([&] { return world.main().sleeping(); }));
  EXPECT_EQ(DumpWaits(world.core()).loops[0].callback, "");
}

TEST_F(WaitDumpTest, AStuckMutexDoesNotHangTheDumpWhichSaysWhoHoldsIt) {
  std::promise<int> holds;
  std::promise<void> release;
  std::thread holder([&]() JOBCORE_EXCLUDES(job_mutex) {
    JobLock lock(world.core());
    holds.set_value(gettid());
    release.get_future().wait();
  });
  const int thread = holds.get_future().get();
  const WaitDump dump = Dump();
  EXPECT_EQ(dump.obstacle, absl::StrCat("job_mutex is held by thread ", thread, "; jobs are not shown"));
  EXPECT_EQ(dump.loops.size(), 1u);
  EXPECT_THAT(ToString(dump), StartsWith(dump.obstacle));
  release.set_value();
  holder.join();
  EXPECT_NE(world.core().mutex().owner(), thread);  // the watchdog of the world takes it, too
  EXPECT_EQ(Dump().obstacle, "");
}

TEST_F(WaitDumpTest, ManyJobsAreListedOnceEach) {
  std::vector<JobRef> jobs;
  for (int i = 0; i < 150; ++i) jobs.push_back(world.Create({.id = absl::StrCat("j", i)}, {}));
  const WaitDump dump = Dump();
  ASSERT_EQ(dump.jobs.size(), jobs.size());
  for (size_t i = 0; i < jobs.size(); ++i) EXPECT_EQ(dump.jobs[i].number, jobs[i]->number());
}

TEST_F(WaitDumpTest, TheTableHasAColumnForEachKindOfThing) {
  const JobRef job = world.Start({.id = "a"}, Reads());
  const JobRef longer = world.Create({.id = "longer"}, {});
  ASSERT_TRUE(world.Pause(longer).ok());
  world.Settle();
  world.clock().Advance(3200ms);
  EXPECT_EQ(ToString(Dump()),
            "loops\n"
            "  main  in no callback, polled 3.2 s ago\n"
            "waits\n"
            "  none\n"
            "jobs\n"
            "  'a'       running  I/O read for 3.2 s\n"
            "  'longer'  created  to be started\n"
            "    asked to pause by user\n");
  engine.CompleteOne();
}

// --- Chains of coroutines ---

TEST(WaitChain, SuspendedTimeAddsUpWholeTurns) {
  support::VirtualLoop loop;
  struct Owner final : CoRoot {
    Owner() : CoRoot([](CoRoot&) {}) {}
  } owner;
  Event first, second;
  Co<void> co = [](Event& a, Event& b) -> Co<void> {
    co_await a;
    co_await b;
  }(first, second);
  EXPECT_EQ(owner.suspended_in(), nullptr);
  EXPECT_EQ(owner.since(), TimePoint());
  owner.Start(co);
  EXPECT_STREQ(owner.suspended_in(), "an unnamed await");
  EXPECT_EQ(owner.since(), loop.clock().Now());
  loop.clock().Advance(3s);
  EXPECT_EQ(owner.suspended_time(), 0s);
  first.Set();
  EXPECT_EQ(owner.suspended_time(), 3s);
  EXPECT_EQ(owner.since(), loop.clock().Now());
  loop.clock().Advance(4s);
  loop.context().Post("set", [&] {
    loop.clock().Advance(100s);  // in the middle of a turn: not seen
    second.Set();
  });
  loop.RunReady();
  EXPECT_EQ(owner.suspended_time(), 7s);
  EXPECT_EQ(owner.suspended_in(), nullptr);
}

}  // namespace
}  // namespace jobcore
