// SPDX-License-Identifier: Apache-2.0
//
// The job gate under controlled threads: hand-off, cancellation, death and deadlines that meet in the middle.

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <stop_token>
#include <vector>

#include "job-common/iothread.h"
#include "job-monitor/job_gate.h"
#include "threads/thread_world.h"

namespace jobcore::threads {
namespace {

using gate::AcquireOptions;
using gate::AsyncGrant;
using gate::AsyncKind;
using gate::JobClass;
using gate::JobGate;
using gate::JobIds;
using gate::NestedGrant;
using gate::NormalGrant;
using std::chrono::microseconds;

struct Gate {
  explicit Gate(Choices& choices)
      : threads(choices, StrategyOf(choices)), gate(ids, {.overtake_limit = 2, .clock = &threads.clock()}) {
    gate.BeginLife();
  }
  // Whoever has the monitor; ends the run if there are two.
  void Inside() {
    Require(inside.fetch_add(1) == 0, "one at a time has the monitor");
    inside.fetch_sub(1);
  }
  void RequireEmpty() { Require(gate.Info().queued == 0, "nobody is left in the gate"); }

  ControlledThreads threads;
  JobIds ids{1};
  JobGate gate;
  Atomic<int> inside{0};
};

// B23: a hand-off reaches whoever waits, thread or coroutine.
void EverybodyIsLetInOnceAndAlone(Choices& choices) {
  Gate world(choices);
  IOThread io("io", {.clock = &world.threads.clock(), .poller = world.threads.NewPoller()});
  Shared<int> finished;
  struct Coroutine {
    static Co<void> Run(Gate& world, Shared<int>& finished) {
      const AcquireOptions options;
      {
        const absl::StatusOr<NormalGrant> grant = co_await world.gate.AwaitBegin(JobClass::kModify, options);
        RequireOk(grant.status(), "a coroutine's turn");
        world.Inside();
      }
      finished.Update([](int& n) { ++n; });
    }
  };
  io.context().Post("coroutine", [&] { Spawn("coroutine", Coroutine::Run(world, finished)); });
  const auto client = [&] {
    for (int i = 0; i < 2; ++i) {
      const absl::StatusOr<NormalGrant> grant = world.gate.Begin(i == 0 ? JobClass::kModify : JobClass::kAbort, {});
      RequireOk(grant.status(), "a thread's turn");
      world.Inside();
    }
  };
  Thread other(client);
  client();
  other.join();
  finished.Await([](int n) { return n == 1; });
  RequireOk(io.Stop(), "stop");
  world.RequireEmpty();
}
TEST(Gate, EverybodyIsLetInOnceAndAlone) { RunScenario(&EverybodyIsLetInOnceAndAlone); }

// B20: of cancellation and hand-off exactly one wins; a waiter that was cancelled does not have the place.
void CancellationAndHandOffExcludeEachOther(Choices& choices) {
  Gate world(choices);
  std::stop_source stop;
  absl::StatusOr<NormalGrant> holder = world.gate.Begin(JobClass::kModify, {});
  Thread waiter([&] {
    const AcquireOptions options{.stop = stop.get_token()};
    const absl::StatusOr<NormalGrant> grant = world.gate.Begin(JobClass::kModify, options);
    Require(grant.ok() || grant.status().code() == absl::StatusCode::kCancelled, "let in or cancelled");
    if (grant.ok()) world.Inside();
  });
  Thread canceller([&] { stop.request_stop(); });
  holder->End();
  {
    const absl::StatusOr<NormalGrant> next = world.gate.Begin(JobClass::kQuery, {});
    RequireOk(next.status(), "the next one");
    world.Inside();
  }
  waiter.join();
  canceller.join();
  world.RequireEmpty();
}
TEST(Gate, CancellationAndHandOffExcludeEachOther) { RunScenario(&CancellationAndHandOffExcludeEachOther, 3000); }

// B19: death and abort fire the token with which a nested request waits, in a thread and in a coroutine.
void ANestedRequestHearsOfAbortAndDeath(Choices& choices) {
  Gate world(choices);
  IOThread io("io", {.clock = &world.threads.clock(), .poller = world.threads.NewPoller()});
  const bool dies = choices.OneIn(2);
  absl::StatusOr<AsyncGrant> job = world.gate.BeginAsync(AsyncKind::kSave, {});
  absl::StatusOr<NormalGrant> query = world.gate.Begin(JobClass::kQuery, {});
  const AcquireOptions options{.stop = job->stop_token()};
  const auto check = [dies](const absl::Status& status) {
    Require(status.code() == absl::StatusCode::kCancelled || (dies && status.code() == absl::StatusCode::kAborted),
            "the request hears of the end");
  };
  Shared<int> finished;
  struct Coroutine {
    static Co<void> Run(Gate& world, const AsyncGrant& job, const AcquireOptions& options, absl::Status& status,
                        Shared<int>& finished) {
      {
        const absl::StatusOr<NestedGrant> step = co_await world.gate.AwaitNested(job, options);
        status = step.status();
      }
      finished.Update([](int& n) { ++n; });
    }
  };
  absl::Status status;
  io.context().Post("step", [&] { Spawn("step", Coroutine::Run(world, *job, options, status, finished)); });
  Thread waiter([&] { check(world.gate.BeginNested(*job, options).status()); });
  if (dies) {
    Require(world.gate.EndLife(), "it lived");
  } else {
    RequireOk(world.gate.RequestAbort(job->id()), "abort");
  }
  waiter.join();
  finished.Await([](int n) { return n == 1; });
  check(status);
  query->End();
  job->End();
  RequireOk(io.Stop(), "stop");
  world.RequireEmpty();
}
TEST(Gate, ANestedRequestHearsOfAbortAndDeath) { RunScenario(&ANestedRequestHearsOfAbortAndDeath, 2000); }

// B11, B21: a deadline and a hand-off meet; and an abort that was accepted is not passed by (D3).
void ADeadlineOrAHandOff(Choices& choices) {
  Gate world(choices);
  absl::StatusOr<NormalGrant> holder = world.gate.Begin(JobClass::kModify, {});
  const TimePoint deadline = SaturatingAdd(world.threads.clock().Now(), microseconds(10));
  Thread waiter([&] {
    const absl::StatusOr<NormalGrant> grant = world.gate.Begin(JobClass::kModify, {.deadline = deadline});
    if (grant.ok()) return world.Inside();
    Require(grant.status().code() == absl::StatusCode::kDeadlineExceeded, "let in or too late");
    Require(world.threads.clock().Now() >= deadline, "not before the deadline");
  });
  for (uint32_t i = choices.Below(40); i > 0; --i) SpinPoint();
  holder->End();
  waiter.join();
  world.RequireEmpty();
}
TEST(Gate, ADeadlineOrAHandOff) { RunScenario(&ADeadlineOrAHandOff, 2000); }

void AnAcceptedAbortIsNotPassedBy(Choices& choices) {
  Gate world(choices);
  absl::StatusOr<AsyncGrant> job = world.gate.BeginAsync(AsyncKind::kSave, {});
  Atomic<bool> accepted{false};
  Thread client([&] { accepted = world.gate.RequestAbort(job->id()).ok(); });
  bool committed = true;
  for (const gate::SavePhase phase : {gate::SavePhase::kPause, gate::SavePhase::kWrite, gate::SavePhase::kCommit}) {
    committed = committed && job->SetPhaseNumber(static_cast<gate::PhaseNumber>(phase)).ok();
  }
  client.join();
  Require(committed != accepted.load(), "either it is committed, or the abort was accepted");
  job->End();
}
TEST(Gate, AnAcceptedAbortIsNotPassedBy) { RunScenario(&AnAcceptedAbortIsNotPassedBy, 2000); }

}  // namespace
}  // namespace jobcore::threads
