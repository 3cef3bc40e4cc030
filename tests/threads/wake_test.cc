// SPDX-License-Identifier: Apache-2.0
//
// Single wake-ups under controlled threads: each scenario has one only, so that a lost one is not made good by the
// next.

#include <gtest/gtest.h>

#include <chrono>
#include <utility>

#include "job-common/job_core.h"
#include "threads/thread_world.h"

namespace jobcore::threads {
namespace {

// the only wake-up comes while the job is on its way to park; the yield that it is for goes on after the resume.
void TheOnlyWakeUpComesWhileTheJobParks(Choices& choices) {
  World world(choices);
  Atomic<bool> finish{false};
  const JobRef job =
      world.Start({.id = "a", .context = &world.io()}, {.run = [&](JobContext& j) { return YieldUntil(j, finish); }});
  Thread waker([&] {
    finish.store(true);
    Enter(*job);
  });
  const bool paused = world.Pause(job).ok();
  const bool early = choices.OneIn(4);
  if (paused && !early) world.Await([&] { return world.StatusOf(job) != JobStatus::kRunning; });
  if (paused) (void)world.Resume(job);
  Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
  waker.join();
}
TEST(Wake, TheOnlyWakeUpComesWhileTheJobParks) { RunScenario(&TheOnlyWakeUpComesWhileTheJobParks, 5000); }

// a soft cancel wakes by itself, without a Cancel hook that does so, and what it is for can be seen by then.
void ASoftCancelEndsAYield(Choices& choices) {
  World world(choices);
  Atomic<bool> never{false};
  const JobRef job = world.Start({.id = "a", .context = &world.io()}, {.run = [&](JobContext& j) -> Co<absl::Status> {
                                   j.Ready({.complete = false, .soft_cancel = true});
                                   return YieldUntil(j, never);
                                 }});
  world.Await([&] { return world.StatusOf(job) == JobStatus::kReady; });
  RequireOk(world.Cancel(job, CancelMode::kSoft), "soft cancel");
  Require(world.AwaitEnd(job).succeeded(), "a soft cancel of a ready job makes it succeed");
}
TEST(Wake, ASoftCancelEndsAYield) { RunScenario(&ASoftCancelEndsAYield, 2000); }

// whoever waits for a change of an internal job hears of it, although it has no events and posts nothing.
void AnInternalJobIsSeenToPark(Choices& choices) {
  World world(choices);
  Atomic<bool> finish{false};
  const JobRef job = world.Start({.context = &world.io(), .internal = true},
                                 {.run = [&](JobContext& j) { return YieldUntil(j, finish); }});
  RequireOk(world.Pause(job), "pause");
  world.AwaitStatus(job, JobStatus::kPaused);
  RequireOk(world.Resume(job), "resume");
  finish.store(true);
  Enter(*job);
  Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
}
TEST(Wake, AnInternalJobIsSeenToPark) { RunScenario(&AnInternalJobIsSeenToPark); }

// requests of other threads while the Cancel hook runs. Nothing else is asked of the job meanwhile.
void ARequestComesDuringTheCancelHook(Choices& choices) {
  World world(choices);
  Atomic<bool> finish{false};
  Answers answers;
  const JobRef job = world.Start({.id = "a", .context = &world.io()}, {.run = [&](JobContext& j) -> Co<absl::Status> {
                                                                         j.Ready({.soft_cancel = true});
                                                                         while (!finish.load()) {
                                                                           absl::Status s = co_await j.Yield();
                                                                           if (!s.ok()) co_return s;
                                                                         }
                                                                         co_return absl::OkStatus();
                                                                       },
                                                                       .cancel =
                                                                           [](JobContext&, CancelMode) {
                                                                             SchedPoint("cancel hook");
                                                                             SchedPoint("cancel hook");
                                                                           }});
  world.Await([&] { return world.StatusOf(job) == JobStatus::kReady; });
  Thread other([&] { RequireOk(world.Cancel(job, CancelMode::kSoft), "soft cancel"); });
  RequireOk(world.Change(job, answers.Make(world)), "change");
  world.Await([&] { return answers.count == 1; });
  other.join();
  Require(answers.ok == 1, "a change that is accepted takes place");
  finish.store(true);
  Enter(*job);
  Require(world.AwaitEnd(job).succeeded(), "the job succeeds");
}
TEST(Wake, ARequestComesDuringTheCancelHook) { RunScenario(&ARequestComesDuringTheCancelHook, 2000); }

// a main loop that is about to sleep is told to quit by another thread, once, and by nothing that orders
// what it does but that.
void AMainLoopIsToldToQuit(Choices& choices) {
  World world(choices);
  for (int i = 0; i < 2; ++i) {
    Thread other([&] { world.core().QuitMainLoop(); });
    world.core().RunMainLoop();
    other.join();
  }
}
TEST(Wake, AMainLoopIsToldToQuit) { RunScenario(&AMainLoopIsToldToQuit, 3000); }

}  // namespace
}  // namespace jobcore::threads
