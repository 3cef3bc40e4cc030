// SPDX-License-Identifier: Apache-2.0
//
// One job under controlled threads: pauses, wake-ups, cancels, moves and requests against each other and against the
// end of Run.

#include <gtest/gtest.h>

#include <chrono>
#include <utility>

#include "job-common/job_outcome.h"
#include "job-monitor/job_monitor.h"
#include "threads/thread_world.h"

namespace jobcore::threads {
namespace {

using std::chrono::microseconds;

// two threads pause and resume, each for a reason of its own, a job that passes pause points,
// yields and sleeps. While a reason of a thread stands and the job is parked, its driver's code does not run.
void PausesAndResumesByTwo(Choices& choices) {
  World world(choices);
  Atomic<bool> finish{false};
  Atomic<int> steps{0};
  const int kind = static_cast<int>(choices.Below(5));
  const JobRef job = world.Start({.id = "a", .context = &world.io()}, {.run = [&](JobContext& j) -> Co<absl::Status> {
                                   while (!finish.load()) {
                                     steps.fetch_add(1);
                                     absl::Status status;
                                     if (kind == 0) {
                                       status = co_await j.Yield();
                                     } else if (kind == 1) {
                                       status = co_await j.Sleep(microseconds(10));
                                     } else if (kind == 2) {
                                       status = co_await j.Sleep(Nanoseconds(0));
                                       if (status.ok()) status = co_await j.PausePoint();
                                     } else if (kind == 3) {
                                       status = co_await j.PausePoint();
                                       co_await NextTurn();
                                     } else {
                                       status = co_await j.Throttle(1);
                                       if (status.ok()) status = co_await j.Sleep(Nanoseconds(0));
                                     }
                                     if (!status.ok()) co_return status;
                                   }
                                   co_return absl::OkStatus();
                                 }});
  const auto storm = [&](std::string_view reason) {
    for (int i = 0; i < 2; ++i) {
      RequireOk(world.Pause(job, reason), "pause");
      Enter(*job);
      world.Await([&] { return IsPaused(world.StatusOf(job)); });
      const int before = steps.load();
      Enter(*job);
      Require(IsPaused(world.StatusOf(job)) && steps.load() == before, "a parked job stays parked");
      if (choices.OneIn(2)) {
        {
          JobLock lock(world.core());
          RequireOk(monitor::Resume(*job, reason), "resume");
          RequireOk(monitor::Pause(*job, reason), "pause");
        }
        world.Await([&] { return IsPaused(world.StatusOf(job)); });
        Require(steps.load() == before, "a job that is paused again before it runs parks again");
      }
      RequireOk(world.Resume(job, reason), "resume");
    }
  };
  Thread other([&] { storm("other"); });
  storm("mine");
  other.join();
  finish.store(true);
  Enter(*job);
  Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
}
TEST(Job, PausesAndResumesByTwo) { RunScenario(&PausesAndResumesByTwo); }

// wake-ups from two threads, and a timer, against yields: none is lost, none comes twice, and one
// that comes after the end of Run does nothing.
void NoWakeUpIsLost(Choices& choices) {
  World world(choices);
  Atomic<int> work{0};
  const bool sleeps = choices.OneIn(2);
  const bool pauses = choices.OneIn(2);
  const JobRef job = world.Start({.id = "a", .context = &world.io()}, {.run = [&](JobContext& j) -> Co<absl::Status> {
                                   int inside = 0;
                                   while (work.load() < 4) {
                                     Require(++inside == 1, "Run is resumed by one at a time");
                                     const absl::Status status =
                                         co_await (sleeps ? j.Sleep(std::chrono::hours(1)) : j.Yield());
                                     --inside;
                                     if (!status.ok()) co_return status;
                                   }
                                   co_return absl::OkStatus();
                                 }});
  const auto wake = [&] {
    for (int i = 0; i < 2; ++i) {
      work.fetch_add(1);
      Enter(*job);
      if (pauses && world.Pause(job).ok()) (void)world.Resume(job);
    }
    Enter(*job);
  };
  Thread other(wake);
  wake();
  other.join();
  Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
}
TEST(Job, NoWakeUpIsLost) { RunScenario(&NoWakeUpIsLost, 2000); }

// a timer and a wake-up for the same sleep: one of them ends it, the other does nothing.
void ATimerAndAWakeUpEndOneSleep(Choices& choices) {
  World world(choices);
  Atomic<bool> awake{false};
  const JobRef job = world.Start({.id = "a", .context = &world.io()}, {.run = [&](JobContext& j) -> Co<absl::Status> {
                                   for (int i = 0; i < 3; ++i) {
                                     if (absl::Status s = co_await j.Sleep(microseconds(1)); !s.ok()) co_return s;
                                   }
                                   awake.store(true);
                                   co_return co_await j.Yield();
                                 }});
  Thread waker([&] {
    while (!awake.load()) {
      Enter(*job);
      SpinPoint();
    }
    Enter(*job);
  });
  const JobOutcome outcome = world.AwaitEnd(job);
  waker.join();
  Require(outcome.succeeded(), "the job succeeds");
}
TEST(Job, ATimerAndAWakeUpEndOneSleep) { RunScenario(&ATimerAndAWakeUpEndOneSleep); }

// a force-cancel against the job on its way to park, with the Pause hook in progress, parked, or on its way out.
void AForceCancelEndsAPause(Choices& choices) {
  World world(choices);
  Atomic<bool> never{false};
  const bool slow_pause = choices.OneIn(2);
  Hooks hooks = {.run = [&](JobContext& j) { return YieldUntil(j, never); }};
  if (slow_pause) {
    hooks.pause = [](JobContext& j) -> Co<void> {
      co_await NextTurn();
      (void)co_await j.Sleep(microseconds(5));
    };
  }
  const JobRef job = world.Start({.id = "a", .context = &world.io()}, std::move(hooks));
  Thread pauser([&] {
    const absl::Status paused = world.Pause(job);
    if (paused.ok() && world.choices().OneIn(2)) (void)world.Resume(job);
  });
  RequireOk(world.Cancel(job), "cancel");
  Require(world.AwaitEnd(job).kind == JobOutcome::Kind::kCancelled, "a cancelled job is cancelled");
  pauser.join();
}
TEST(Job, AForceCancelEndsAPause) { RunScenario(&AForceCancelEndsAPause, 2000); }

// a soft cancel, or a complete, against the end of Run of a ready job: what was accepted is kept, and
// a job that has finished is not marked as cancelled.
void ASoftCancelDoesNotUndoAJob(Choices& choices) {
  World world(choices);
  Atomic<bool> finish{false};
  const JobRef job = world.Start({.id = "a", .context = &world.io()}, {.run = [&](JobContext& j) -> Co<absl::Status> {
                                   j.Ready({.complete = true, .soft_cancel = true});
                                   return YieldUntil(j, finish);
                                 }});
  world.Await([&] { return world.StatusOf(job) >= JobStatus::kReady; });
  const bool pauses = choices.OneIn(2);
  Thread other([&] {
    if (pauses && world.Pause(job).ok()) (void)world.Resume(job);
    finish.store(true);
    Enter(*job);
  });
  (void)world.Cancel(job, CancelMode::kSoft);
  Require(world.AwaitEnd(job).succeeded(), "a soft cancel of a ready job makes it succeed");
  other.join();
}
TEST(Job, ASoftCancelDoesNotUndoAJob) { RunScenario(&ASoftCancelDoesNotUndoAJob); }

// a paused job is moved A -> B -> A from two threads, while it is on its way to park or parked. It hops
// without being resumed, and no move is left behind. (The driver checks in every hook that it is at home.)
void APausedJobHops(Choices& choices) {
  World world(choices, {.io_threads = 2});
  Atomic<bool> finish{false};
  Answers answers;
  const JobRef job =
      world.Start({.id = "a", .context = &world.io(0)}, {.run = [&](JobContext& j) { return YieldUntil(j, finish); }});
  RequireOk(world.Pause(job), "pause");
  Thread other([&] { RequireOk(world.Move(job, world.io(1), answers.Make(world)), "move"); });
  RequireOk(world.Move(job, choices.OneIn(2) ? world.main() : world.io(0), answers.Make(world)), "move");
  world.Await([&] { return answers.count == 2; });  // an answer is a callback of this loop
  other.join();
  Require(answers.ok >= 1, "the last move takes place");
  world.AwaitStatus(job, JobStatus::kPaused);
  RequireOk(world.Resume(job), "resume");
  finish.store(true);
  Enter(*job);
  Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
}
TEST(Job, APausedJobHops) { RunScenario(&APausedJobHops, 2000); }

// a job that runs, sleeps or yields is moved to and fro, paused, woken and resumed from another thread.
void AJobIsMovedWhileItIsBusy(Choices& choices) {
  World world(choices, {.io_threads = 2});
  Atomic<bool> finish{false};
  const int kind = static_cast<int>(choices.Below(3));
  Answers answers;
  const JobRef job = world.Start({.id = "a", .context = &world.io(0)}, {.run = [&](JobContext& j) -> Co<absl::Status> {
                                   while (!finish.load()) {
                                     absl::Status status;
                                     if (kind == 0) {
                                       status = co_await j.Sleep(Nanoseconds(0));
                                     } else if (kind == 1) {
                                       status = co_await j.Sleep(microseconds(20));
                                     } else {
                                       status = co_await j.Yield();
                                     }
                                     Require(j.context().IsHome(), "a moved job goes on at its new home");
                                     if (!status.ok()) co_return status;
                                   }
                                   co_return absl::OkStatus();
                                 }});
  Thread other([&] {
    RequireOk(world.Pause(job), "pause");
    Enter(*job);
    RequireOk(world.Resume(job), "resume");
    RequireOk(world.Move(job, world.io(0), answers.Make(world)), "move back");
  });
  RequireOk(world.Move(job, world.io(1), answers.Make(world)), "move");
  world.Await([&] { return answers.count == 2; });
  other.join();
  finish.store(true);
  Enter(*job);
  Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
}
TEST(Job, AJobIsMovedWhileItIsBusy) { RunScenario(&AJobIsMovedWhileItIsBusy); }

// moves against the start, the end of Run, and a cancel: each accepted one is answered, once, and no
// context counts the job as a user afterwards (else its I/O thread would not end).
void AMoveMeetsTheEndOfRun(Choices& choices) {
  World world(choices, {.io_threads = 2});
  Answers answers;
  int accepted = 0;
  const JobRef job = world.Create({.id = "a", .context = &world.io(0), .auto_dismiss = false},
                                  {.run = [&](JobContext& j) { return Steps(j, 2); }});
  const bool cancels = choices.OneIn(3);
  Thread other([&] {
    RequireOk(StartJob(*job), "start");
    if (cancels) (void)world.Cancel(job);
  });
  for (int i = 0; i < 2; ++i) accepted += world.Move(job, world.io(1 - i), answers.Make(world)).ok() ? 1 : 0;
  const JobOutcome outcome = world.AwaitEnd(job);
  other.join();
  Require(outcome.succeeded() || cancels, "the job succeeds");
  world.Await([&] { return answers.count >= accepted; });
  RequireOk(world.Dismiss(job), "dismiss");
  Require(answers.count == accepted, "a move is answered once");
  Require(world.io(0).users() == 0 && world.io(1).users() == 0, "a job that has ended uses no context");
}
TEST(Job, AMoveMeetsTheEndOfRun) { RunScenario(&AMoveMeetsTheEndOfRun); }

// complete and change, from two threads, against the end of Run, a cancel and a move: exactly one answer
// each, in the main context; the Complete hook is called again only if it has refused.
void EachRequestIsAnsweredOnce(Choices& choices) {
  World world(choices, {.io_threads = 2});
  Atomic<bool> finish{false};
  Answers completes;
  Answers changes;
  Answers moves;
  int hooks = 0;
  JobRef job = world.Start({.id = "a", .context = &world.io(0)},
                           {.run = [&](JobContext& j) -> Co<absl::Status> {
                              j.Ready();
                              return YieldUntil(j, finish);
                            },
                            .complete = [&](JobContext& j) -> Co<absl::Status> {
                              Require(++hooks == 1, "an accepted complete is not asked for again");
                              co_await NextTurn();
                              finish.store(true);
                              Enter(j.job());
                              co_return absl::OkStatus();
                            },
                            .change = [](JobContext&) -> Co<absl::Status> {
                              co_await NextTurn();
                              co_return absl::OkStatus();
                            }});
  world.Await([&] { return world.StatusOf(job) >= JobStatus::kReady; });
  const uint32_t kind = choices.Below(3);
  int asked_to_complete = 0;
  int asked_to_change = 0;
  int asked_to_move = 0;
  Thread other([&] {
    asked_to_complete += world.Complete(job, completes.Make(world)).ok() ? 1 : 0;
    if (kind == 1) (void)world.Cancel(job);
    if (kind == 2) asked_to_move += world.Move(job, world.io(1), moves.Make(world)).ok() ? 1 : 0;
  });
  asked_to_change += world.Change(job, changes.Make(world)).ok() ? 1 : 0;
  const absl::Status second = world.Complete(job, completes.Make(world));
  const JobOutcome outcome = world.AwaitEnd(job);
  other.join();
  asked_to_complete += second.ok() ? 1 : 0;
  Require(outcome.succeeded() || kind == 1, "the job succeeds");
  world.Await([&] {
    return completes.count >= asked_to_complete && changes.count >= asked_to_change && moves.count >= asked_to_move;
  });
  job = JobRef();
  world.EndCore();
  Require(completes.count == asked_to_complete, "a complete is answered once");
  Require(changes.count == asked_to_change, "a change is answered once");
  Require(moves.count == asked_to_move, "a move is answered once");
  Require(outcome.succeeded() == (completes.ok > 0) || kind == 1, "a complete that was accepted takes place");
}
TEST(Job, EachRequestIsAnsweredOnce) {
  RunScenario([](Choices& choices) { EachRequestIsAnsweredOnce(choices); });
}

// a change and a move of a job that is parked, or yields: the hook is called at home (the driver looks),
// the move waits for its end, and both take place, although nothing else ever happens to the job.
void AMoveMeetsAChange(Choices& choices) {
  World world(choices, {.io_threads = 2});
  Atomic<bool> finish{false};
  Atomic<bool> entered{false};
  Answers changes;
  Answers moves;
  const JobRef job = world.Create({.id = "a", .context = &world.io(0)}, {.run =
                                                                             [&](JobContext& j) {
                                                                               entered.store(true);
                                                                               world.Kick();
                                                                               return YieldUntil(j, finish);
                                                                             },
                                                                         .change = [](JobContext&) -> Co<absl::Status> {
                                                                           co_await NextTurn();
                                                                           co_await NextTurn();
                                                                           co_return absl::OkStatus();
                                                                         }});
  // Asked for before Run begins; a job that is paused before its Run is asked nothing until it goes on.
  const bool early = choices.OneIn(4);
  const bool pauses = choices.OneIn(2);
  if (early) RequireOk(world.Change(job, changes.Make(world)), "change");
  RequireOk(StartJob(*job), "start");
  world.Await([&] { return entered.load(); });
  if (pauses) RequireOk(world.Pause(job), "pause");
  if (choices.OneIn(2) && pauses) world.AwaitStatus(job, JobStatus::kPaused);
  Thread other([&] { RequireOk(world.Move(job, world.io(1), moves.Make(world)), "move"); });
  if (!early) RequireOk(world.Change(job, changes.Make(world)), "change");
  other.join();
  world.Await([&] { return changes.count == 1 && moves.count == 1; });
  Require(changes.ok == 1 && moves.ok == 1, "what is accepted takes place");
  Require(&job->context() == &world.io(1), "a job is where it was moved to");
  finish.store(true);
  (void)world.Resume(job);
  Enter(*job);
  Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
}
TEST(Job, AMoveMeetsAChange) { RunScenario(&AMoveMeetsAChange, 2000); }

// changes of speed against a job that waits for its limit, one that is about to, and a pause.
void ANewSpeedReachesAJobThatWaits(Choices& choices) {
  World world(choices);
  const bool pauses = choices.OneIn(2);
  const JobRef job =
      world.Start({.id = "a", .context = &world.io(), .speed = 1}, {.run = [](JobContext& j) -> Co<absl::Status> {
                    for (int i = 0; i < 3; ++i) {
                      // With any limit the second one waits for ever.
                      if (absl::Status s = co_await j.Throttle(uint64_t{1} << 62); !s.ok()) co_return s;
                    }
                    co_return absl::OkStatus();
                  }});
  Thread other([&] {
    if (pauses && world.Pause(job).ok()) (void)world.Resume(job);
    (void)world.SetSpeed(job, 2);
  });
  (void)world.SetSpeed(job, 3);
  other.join();
  RequireOk(world.SetSpeed(job, 0), "no limit");
  Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
}
TEST(Job, ANewSpeedReachesAJobThatWaits) { RunScenario(&ANewSpeedReachesAJobThatWaits); }

// what readers see of the progress is consistent, and never goes back.
void ProgressIsConsistent(Choices& choices) {
  ControlledThreads threads(choices, StrategyOf(choices));
  Progress progress(ProgressUnit::kBytes);
  const int beyond = choices.OneIn(2) ? 1 : 0;
  Thread writer([&] {
    progress.SetRemaining(2);
    for (int i = 0; i < 2 + beyond; ++i) progress.Advance(1);
    progress.SetRemaining(1);
    progress.Advance(1);
  });
  uint64_t last = 0;
  for (int i = 0; i < 4; ++i) {
    const ProgressSnapshot snapshot = progress.Get();
    Require(snapshot.current <= snapshot.total, "current <= total");
    Require(snapshot.current >= last, "progress does not go back");
    last = snapshot.current;
  }
  writer.join();
}
TEST(Job, ProgressIsConsistent) { RunScenario(&ProgressIsConsistent, 2000); }

}  // namespace
}  // namespace jobcore::threads
