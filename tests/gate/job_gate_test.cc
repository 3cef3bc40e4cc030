// SPDX-License-Identifier: Apache-2.0
//
// Who is let in, in which order, and what the others are told; in virtual time. The letters are those of the project's
// list of cases: A the sequences that the design starts from, B the rules, C death and destroy.

#include "job-monitor/job_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <stop_token>
#include <string>
#include <thread>

#include "gate/gate_world.h"
#include "job-monitor/gate_destroy.h"
#include "job-monitor/gated_monitor.h"

namespace jobcore::gate {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::EndsWith;
using testing::HasSubstr;
using enum JobClass;

constexpr absl::StatusCode kBusy = absl::StatusCode::kUnavailable;

// A1, A2: the place is taken while the job works, and free after it.
TEST(JobGate, ANormalJobHasThePlaceToItselfUntilItEnds) {
  GateWorld world;
  auto& first = world.Ask("1", kModify);
  ASSERT_TRUE(first.in());
  EXPECT_EQ(world.gate.Info().monitor->api, "1");
  auto& second = world.Ask("2", kModify);
  EXPECT_TRUE(second.waits());
  EXPECT_EQ(world.gate.Info().queued, 2u);
  first.End();
  world.Run();
  ASSERT_TRUE(second.in());
  second.End();
  EXPECT_EQ(world.gate.Info().queued, 0u);
  EXPECT_FALSE(world.gate.Info().monitor.has_value());
}

// A3, A4, B1: beside each kind exactly those classes are let in that its first phase allows.
TEST(JobGate, BesideAnAsynchronousJobAreThoseThatItAllows) {
  for (const AsyncKind kind : kAsyncKinds) {
    GateWorld world;
    auto& job = world.AskAsync("job", kind);
    ASSERT_TRUE(job.in());
    for (size_t c = 0; c < kJobClassNames.size(); ++c) {
      const JobClass job_class = static_cast<JobClass>(c);
      SCOPED_TRACE(std::string(ToString(kind)) + " and " + std::string(ToString(job_class)));
      auto& other = world.Ask("other", job_class, {.nowait = true});
      const bool allowed = InfoOf(kind).phases[0].allowed.Contains(job_class);
      EXPECT_EQ(other.code(), allowed ? absl::StatusCode::kOk : kBusy);
      if (other.in()) other.End();
    }
    auto& later = world.Ask("later", kModify);
    if (later.waits()) {
      job.End();
      world.Run();
    }
    EXPECT_TRUE(later.in());
  }
}

// A5: who waits for the place is not let in beside an asynchronous job that came before him and excludes him.
TEST(JobGate, ARequestThatWaitedIsLookedAtAgainWhenAnAsynchronousJobHasBegun) {
  GateWorld world;
  auto& query = world.Ask("query", kQuery);
  auto& async = world.AskAsync("async", AsyncKind::kSave);
  auto& modify = world.Ask("modify", kModify);
  EXPECT_TRUE(async.waits() && modify.waits());
  query.End();
  world.Run();
  EXPECT_TRUE(async.in());
  EXPECT_TRUE(modify.waits());
  async.End();
  world.Run();
  EXPECT_TRUE(modify.in());
}

// A6, A7: asynchronous jobs come one after the other, and begin when no normal job is there; then that place is free.
TEST(JobGate, AsynchronousJobsComeOneAfterTheOther) {
  GateWorld world;
  auto& modify = world.Ask("modify", kModify);
  auto& a = world.AskAsync("a", AsyncKind::kBackup);
  auto& b = world.AskAsync("b", AsyncKind::kSave);
  EXPECT_TRUE(a.waits());
  modify.End();
  world.Run();
  EXPECT_TRUE(a.in() && b.waits());
  auto& query = world.Ask("query", kQuery);
  EXPECT_TRUE(query.in());
  query.End();
  a.End();
  world.Run();
  EXPECT_TRUE(b.in());
}

// A13: all whom the end of an asynchronous job lets in, and each in his turn.
TEST(JobGate, TheEndOfAnAsynchronousJobLosesNobody) {
  GateWorld world;
  auto& job = world.AskAsync("job", AsyncKind::kStart);
  auto& q = world.Ask("q", kQuery);
  auto& r = world.Ask("r", kQuery);
  auto& s = world.AskAsync("s", AsyncKind::kSave);
  job.End();
  world.Run();
  EXPECT_TRUE(q.in() && r.waits() && s.waits());
  q.End();
  world.Run();
  EXPECT_TRUE(r.in() && s.waits());
  r.End();
  world.Run();
  EXPECT_TRUE(s.in());
  EXPECT_EQ(world.order, "jqrs");
}

// A8, A10: the owner's steps, and others' between them.
TEST(JobGate, BetweenTheStepsOfAnAsynchronousJobOthersGetTheMonitor) {
  GateWorld world;
  int channel = 0;
  GatedMonitor<int> monitor(world.gate, channel);
  auto& job = world.AskAsync("job", AsyncKind::kBackup);
  auto& step = world.AskNested("step", **job.grant);
  ASSERT_TRUE(step.in());
  auto& query = world.Ask("query", kQuery);
  EXPECT_TRUE(query.waits());
  {
    auto session = monitor.Enter(**step.grant);
    ASSERT_TRUE(session.ok());
    **session = 1;
    EXPECT_EQ(monitor.Enter(**step.grant).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  step.End();
  world.Run();
  EXPECT_TRUE(query.in());
  auto& next = world.AskNested("next", **job.grant);
  EXPECT_TRUE(next.waits());
  query.End();
  world.Run();
  EXPECT_TRUE(next.in());
  EXPECT_EQ(channel, 1);
}

// A9, C2, C4: whoever waits hears of the death, and nothing stays taken.
TEST(JobGate, WhoeverWaitsHearsOfTheDeathAtOnce) {
  GateWorld world;
  auto& job = world.AskAsync("job", AsyncKind::kBackup);
  auto& query = world.Ask("query", kQuery);
  auto& step = world.AskNested("step", **job.grant, {.deadline = world.After(seconds(5))});
  auto& modify = world.Ask("modify", kModify, {.deadline = world.After(seconds(5))});
  auto& cleanup = world.Ask("cleanup", kDestroy, {.may_be_dead = true});
  const TimePoint before = world.loop.clock().Now();
  EXPECT_TRUE(world.gate.EndLife());
  EXPECT_FALSE(world.gate.EndLife());
  world.Run();
  EXPECT_EQ(world.loop.clock().Now(), before);
  EXPECT_EQ(step.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(modify.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(modify.message(), HasSubstr("object is no longer running"));
  EXPECT_TRUE((*job.grant)->stop_token().stop_requested());
  EXPECT_TRUE(cleanup.waits());
  query.End();
  world.Run();
  EXPECT_TRUE(cleanup.in());
  EXPECT_EQ(world.gate.Info().async->api, "job");
}

// C5: what was granted in one life is worth nothing in the next.
TEST(JobGate, AGrantOfOneLifeDoesNotReachIntoTheNext) {
  GateWorld world;
  int channel = 0;
  GatedMonitor<int> monitor(world.gate, channel);
  auto& modify = world.Ask("modify", kModify);
  const uint64_t life = (*modify.grant)->incarnation();
  auto& pinned = world.Ask("pinned", kQuery, {.may_be_dead = true, .incarnation = life});
  EXPECT_TRUE(world.gate.StillValid(**modify.grant));
  world.gate.EndLife();
  world.gate.BeginLife();
  EXPECT_FALSE(world.gate.StillValid(**modify.grant));
  EXPECT_EQ(monitor.Enter(**modify.grant).status().code(), absl::StatusCode::kAborted);
  world.Run();
  EXPECT_EQ(pinned.code(), absl::StatusCode::kAborted);
  modify.End();
  EXPECT_EQ(world.Ask("late", kQuery, {.incarnation = life}).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(world.Ask("new", kQuery, {.incarnation = life + 1}).in());
  EXPECT_FALSE(world.gate.EndLife(life));
  EXPECT_TRUE(world.gate.live());
}

// B2, B3: destroy is always allowed.
TEST(JobGate, DestroyIsInEachSet) {
  EXPECT_TRUE(JobClassSet::FromBits(0)->Contains(kDestroy));
  EXPECT_FALSE(JobClassSet::FromBits(1u << 7).has_value());  // unknown: refused, not ignored
  GateWorld world;
  auto& job = world.AskAsync("job", AsyncKind::kStart);
  EXPECT_TRUE(job.in());
  EXPECT_TRUE(world.Ask("destroy", kDestroy).in());
}

// B4, B5: the agent's place has nothing to do with the others.
TEST(JobGate, AgentJobsTakeNoNoticeOfTheOthers) {
  GateWorld world;
  auto& migration = world.AskAsync("migration", AsyncKind::kMigrationIn);
  auto& agent = world.AskAgent("agent");
  EXPECT_TRUE(agent.in());
  auto& second = world.AskAgent("second", {.deadline = world.After(seconds(1))});
  EXPECT_TRUE(second.waits());
  EXPECT_TRUE(world.Ask("safe", kModifySafe).in());
  world.RunFor(seconds(1));
  EXPECT_EQ(second.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(second.message(), HasSubstr("(held by agent=agent)"));
  auto& third = world.AskAgent("third");
  agent.End();
  world.Run();
  EXPECT_TRUE(third.in());
  EXPECT_TRUE(migration.in());
}

// B6, B7, B8: the limit counts who is in and who waits; destroy and asynchronous jobs do not care about it.
TEST(JobGate, TheQueueHasALimit) {
  GateWorld world({.max_queued = 2});
  auto& holder = world.Ask("holder", kModify);
  auto& waiter = world.Ask("waiter", kModify, {.deadline = world.After(milliseconds(1))});
  auto& third = world.Ask("third", kQuery);
  EXPECT_EQ(third.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(third.message(), "cannot acquire state change lock (held by monitor=holder) due to max_queued limit");
  EXPECT_EQ(world.gate.Info().queued, 2u);
  auto& destroy = world.Ask("destroy", kDestroy);
  auto& async = world.AskAsync("async", AsyncKind::kSave);
  EXPECT_TRUE(destroy.waits() && async.waits());
  world.RunFor(milliseconds(1));
  EXPECT_EQ(waiter.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(world.Ask("fourth", kQuery).code(), absl::StatusCode::kResourceExhausted);  // B8
  holder.End();
  world.Run();
  destroy.End();
  world.Run();
  EXPECT_TRUE(async.in());
  EXPECT_EQ(world.gate.Info().queued, 1u);
}

// B9, B10: the error says who, for how long, and in which phase.
TEST(JobGate, AnErrorNamesTheHolder) {
  GateWorld world;
  auto& migration = world.AskAsync("migrateIn", AsyncKind::kMigrationIn, {.owner = {.task = 12}});
  ASSERT_TRUE((*migration.grant)->SetPhaseNumber(static_cast<PhaseNumber>(MigrationInPhase::kPrepare)).ok());
  auto& query = world.Ask("query", kQuery, {.deadline = world.After(milliseconds(1500))});
  world.RunFor(seconds(2));
  EXPECT_EQ(query.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(query.message(),
            "cannot acquire state change lock (held by monitor=migrateIn) for 1.500 s: migration in, phase prepare");
  const std::optional<HolderInfo> holder = HolderOf(query.grant->status());
  ASSERT_TRUE(holder.has_value());
  EXPECT_EQ(holder->slot, Slot::kAsync);
  EXPECT_EQ(holder->api, "migrateIn");
  EXPECT_EQ(holder->task, 12u);
  EXPECT_EQ(holder->what, "migration in");
  EXPECT_EQ(holder->phase, "prepare");
  EXPECT_EQ(holder->job, (*migration.grant)->id());
  EXPECT_EQ(holder->held_for, milliseconds(1500));
  // It would be let in beside the migration: the one in the way is somebody else.
  auto& event = world.Ask("event", kModifySafe);
  auto& destroy = world.Ask("destroy", kDestroy, {.deadline = world.After(seconds(1))});
  world.RunFor(seconds(1));
  EXPECT_THAT(destroy.message(), HasSubstr("(held by monitor=event)"));
  EXPECT_THAT(destroy.message(), EndsWith(": modify migration safe"));
  EXPECT_FALSE(HolderOf(absl::InternalError("other")).has_value());
  event.End();
}

// B11: who has to wait twice has one deadline.
TEST(JobGate, TheDeadlineIsOfTheWholeWait) {
  GateWorld world;
  auto& query = world.Ask("query", kQuery);
  auto& async = world.AskAsync("async", AsyncKind::kSave);
  const TimePoint deadline = world.After(seconds(30));
  auto& modify = world.Ask("modify", kModify, {.deadline = deadline});
  world.RunFor(seconds(29));
  query.End();
  world.Run();
  EXPECT_TRUE(async.in() && modify.waits());
  world.RunFor(seconds(1));
  EXPECT_EQ(modify.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(world.loop.clock().Now(), deadline);
  EXPECT_THAT(modify.message(), HasSubstr("held by monitor=async"));
}

// B12, B21
TEST(JobGate, NobodyWaitsWhoDoesNotWantTo) {
  GateWorld world;
  const TimePoint past = world.loop.clock().Now() - seconds(1);
  auto& holder = world.Ask("holder", kModify, {.deadline = past});
  EXPECT_TRUE(holder.in());
  EXPECT_EQ(world.Ask("query", kQuery, {.nowait = true}).code(), kBusy);
  EXPECT_EQ(world.Ask("late", kQuery, {.deadline = past}).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(world.gate.Info().queued, 1u);
}

// B13, B14
TEST(JobGate, ATaskDoesNotWaitForItself) {
  GateWorld world;
  const AcquireOptions mine{.owner = {.task = 1}};
  auto& job = world.AskAsync("job", AsyncKind::kSave, mine);
  EXPECT_EQ(world.Ask("modify", kModify, mine).code(), absl::StatusCode::kFailedPrecondition);
  auto& query = world.Ask("query", kQuery, mine);
  EXPECT_TRUE(query.in());
  auto& again = world.Ask("again", kQuery, mine);
  EXPECT_EQ(again.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(again.message(), HasSubstr("would wait for itself: it is 'query' by query"));
  EXPECT_EQ(world.AskNested("step", **job.grant, mine).code(), absl::StatusCode::kFailedPrecondition);
  auto& other = world.Ask("other", kQuery, {.owner = {.task = 2}});
  EXPECT_TRUE(other.waits());
  query.End();
  world.Run();
}

// B15, D4: the order among those who wait.
TEST(JobGate, DestroyComesFirstThenAbortThenNestedThenTheOthersInTurn) {
  GateWorld world;
  auto& job = world.AskAsync("job", AsyncKind::kBackup);
  auto& holder = world.Ask("holder", kModify);
  world.order.clear();
  world.Ask("1", kModify);
  world.Ask("2", kQuery);
  world.AskNested("N", **job.grant);
  world.Ask("A", kAbort);
  world.Ask("D", kDestroy);
  holder.End();
  world.Run();
  world.normal[4].End();  // D
  world.Run();
  world.normal[3].End();  // A
  world.Run();
  world.nested[0].End();
  world.Run();
  world.normal[1].End();
  world.Run();
  EXPECT_EQ(world.order, "DAN12");
}

// B16: overtaking has a bound.
TEST(JobGate, NobodyIsOvertakenWithoutEnd) {
  GateWorld world({.overtake_limit = 3});
  auto& job = world.AskAsync("job", AsyncKind::kBackup);
  auto& holder = world.Ask("holder", kModify);
  auto& modest = world.Ask("modest", kModify);
  auto* step = &world.AskNested("N", **job.grant);
  world.order.clear();
  holder.End();
  world.Run();
  for (int i = 0; i < 5 && modest.waits(); ++i) {
    auto& next = world.AskNested("N", **job.grant);
    step->End();
    world.Run();
    step = &next;
  }
  EXPECT_EQ(world.order, "NNNm");
  modest.End();
  world.Run();
  EXPECT_EQ(world.order, "NNNmN");
}

// B16: queries that keep coming do not overtake at all.
TEST(JobGate, AModifyIsBehindThoseOnlyWhoCameBefore) {
  GateWorld world;
  auto* in = &world.Ask("q", kQuery);
  auto* next = &world.Ask("q", kQuery);
  auto& modify = world.Ask("modify", kModify);
  for (int i = 0; i < 2; ++i) {
    auto* later = &world.Ask("q", kQuery);
    in->End();
    world.Run();
    in = next;
    next = later;
  }
  EXPECT_TRUE(modify.in());
}

// B17: who waits for an asynchronous job to end is in nobody's way.
TEST(JobGate, WhoIsNotAllowedBesideTheJobDelaysNobodyWhoIs) {
  GateWorld world;
  auto& job = world.AskAsync("job", AsyncKind::kSave);
  auto& modify = world.Ask("modify", kModify);
  for (int i = 0; i < 100; ++i) {
    auto& query = world.Ask("q", kQuery);
    ASSERT_TRUE(query.in());
    query.End();
  }
  EXPECT_TRUE(modify.waits());
  job.End();
  world.Run();
  EXPECT_TRUE(modify.in());
}

// B18
TEST(JobGate, AWaitCanBeCancelled) {
  GateWorld world;
  std::stop_source stop;
  auto& holder = world.Ask("holder", kModify);
  auto& cancelled = world.Ask("cancelled", kModify, {.stop = stop.get_token()});
  auto& behind = world.Ask("behind", kModify);
  stop.request_stop();
  world.Run();
  EXPECT_EQ(cancelled.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(behind.waits());
  EXPECT_EQ(world.Ask("late", kQuery, {.stop = stop.get_token()}).code(), absl::StatusCode::kCancelled);
  holder.End();
  world.Run();
  EXPECT_TRUE(behind.in());
}

// B19: the token of a nested request is that of its own job, which the gate itself fires.
TEST(JobGate, ANestedRequestCanWaitWithTheTokenOfItsOwnJob) {
  for (const bool dies : {false, true}) {
    GateWorld world;
    auto& job = world.AskAsync("job", AsyncKind::kSave);
    auto& query = world.Ask("query", kQuery);
    auto& step = world.AskNested("step", **job.grant, {.stop = (*job.grant)->stop_token()});
    EXPECT_TRUE(step.waits());
    if (dies) {
      world.gate.EndLife();
    } else {
      EXPECT_TRUE(world.gate.RequestAbort((*job.grant)->id()).ok());
    }
    world.Run();
    EXPECT_EQ(step.code(), dies ? absl::StatusCode::kAborted : absl::StatusCode::kCancelled);
    query.End();
  }
}

// B20: whoever has been let in, but has not heard of it, is in, whatever else happens to him.
TEST(JobGate, WhatComesAfterTheAnswerChangesNothing) {
  GateWorld world;
  std::stop_source stop;
  auto& holder = world.Ask("holder", kModify);
  auto& waiter = world.Ask("waiter", kModify, {.deadline = world.After(hours(1)), .stop = stop.get_token()});
  holder.End();
  stop.request_stop();
  world.gate.EndLife();
  world.RunFor(hours(2));
  ASSERT_TRUE(waiter.in());
  EXPECT_FALSE(world.gate.StillValid(**waiter.grant));
}

// B22
TEST(JobGate, AnObjectThatIsRemovedIsNotFound) {
  GateWorld world;
  auto& holder = world.Ask("holder", kModify);
  auto& waiter = world.Ask("waiter", kModify, {.may_be_dead = true});
  world.gate.Remove();
  world.Run();
  EXPECT_EQ(waiter.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(world.Ask("late", kDestroy).code(), absl::StatusCode::kNotFound);
  holder.End();
  EXPECT_EQ(world.gate.Info().queued, 0u);
}

// B26
TEST(JobGate, ADiscardedJobLetsTheOthersIn) {
  GateWorld world;
  auto& job = world.AskAsync("job", AsyncKind::kBackup);
  auto& step = **job.grant;
  ASSERT_TRUE(step.SetPhaseNumber(1).ok() && step.SetPhaseNumber(2).ok());
  const JobId id = step.id();
  EXPECT_EQ(world.gate.Discard(id).code(), absl::StatusCode::kFailedPrecondition);
  auto& save = world.AskAsync("save", AsyncKind::kSave);
  ASSERT_TRUE(step.Park(OwnerLost::kRollBack).ok());
  EXPECT_TRUE(world.gate.Discard(id).ok());
  world.Run();
  EXPECT_TRUE(save.in());
  EXPECT_EQ(world.gate.Info().queued, 1u);
  EXPECT_EQ(world.gate.Discard(id).code(), absl::StatusCode::kNotFound);
}

// C2
TEST(JobGate, ANestedJobIsOfTheJobThatRuns) {
  GateWorld world;
  JobGate elsewhere(world.ids);
  elsewhere.BeginLife();
  auto& job = world.AskAsync("job", AsyncKind::kSave);
  const auto foreign = elsewhere.BeginAsync(AsyncKind::kSave, {.nowait = true});
  ASSERT_TRUE(foreign.ok());
  auto& step = world.AskNested("step", *foreign);
  EXPECT_EQ(step.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(step.message(), HasSubstr(ToString((*job.grant)->id())));
}

// The same gate serves threads that block; and a home thread, whose loop would stand still, is refused.
TEST(JobGate, AThreadBlocksAndAHomeThreadIsRefused) {
  JobIds ids(1);
  JobGate gate(ids);
  gate.BeginLife();
  auto holder = gate.Begin(kModify, {.owner = {.api = "holder"}});
  ASSERT_TRUE(holder.ok());
  auto late = gate.Begin(kModify, {.deadline = Clock::System().Now() + milliseconds(1)});
  EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded);
  std::stop_source stop;
  std::thread first([&] {
    auto grant = gate.Begin(kModify, {.owner = {.api = "first"}});
    EXPECT_TRUE(grant.ok());
  });
  std::thread second([&] {
    auto grant = gate.Begin(kModify, {.stop = stop.get_token()});
    EXPECT_EQ(grant.status().code(), absl::StatusCode::kCancelled);
  });
  while (gate.Info().waiting != 2) std::this_thread::yield();
  stop.request_stop();
  second.join();
  holder->End();
  first.join();
  const support::VirtualLoop loop;
  EXPECT_EQ(gate.Begin(kModify, {}).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(gate.Begin(kModify, {.nowait = true}).ok());
}

// C7: a holder that is stuck is broken, and then the place is taken.
TEST(Destroy, TheObjectIsEndedBeforeItsPlaceIsTaken) {
  GateWorld world;
  auto& stuck = world.Ask("stuck", kModify);
  bool killed = false;
  AcquireOptions options{.owner = {.api = "destroy"}};
  std::optional<absl::StatusOr<NormalGrant>> destroy;
  struct Coroutines {
    static Co<absl::Status> Kill(GateWorld& world, bool& killed) {
      EXPECT_TRUE(world.gate.being_destroyed());  // C10: who hears of the end elsewhere stands back
      killed = true;
      co_return absl::OkStatus();
    }
    static Co<void> Destroy(GateWorld& world, bool& killed, const AcquireOptions& options,
                            std::optional<absl::StatusOr<NormalGrant>>& result) {
      Co<absl::Status> kill = Kill(world, killed);
      result = co_await AwaitDestroy(world.gate, std::move(kill), options);
    }
  };
  Spawn("destroy", Coroutines::Destroy(world, killed, options, destroy));
  EXPECT_TRUE(killed);
  EXPECT_FALSE(world.gate.live());
  EXPECT_TRUE(world.gate.being_destroyed());
  EXPECT_FALSE(destroy.has_value());
  stuck.End();  // its call has failed
  world.Run();
  ASSERT_TRUE(destroy.has_value() && destroy->ok());
  EXPECT_FALSE(world.gate.being_destroyed());
}

// C8, C9
TEST(Destroy, AFailedKillChangesNothingAndTheSecondOfTwoIsTold) {
  JobIds ids(1);
  JobGate gate(ids);
  gate.BeginLife();
  const auto fails = [] { return absl::InternalError("cannot kill"); };
  EXPECT_EQ(BeginDestroy(gate, fails, {}).status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(gate.live());
  EXPECT_FALSE(gate.being_destroyed());
  EXPECT_EQ(gate.Info().queued, 0u);
  const auto overtaken = [&] {
    EXPECT_TRUE(BeginDestroy(gate, [] { return absl::OkStatus(); }, {}).ok());
    return absl::OkStatus();
  };
  EXPECT_EQ(BeginDestroy(gate, overtaken, {}).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(BeginDestroy(gate, [] { return absl::OkStatus(); }, {}).status().code(), absl::StatusCode::kAborted);
  // One that has not begun to live can be ended, too.
  EXPECT_TRUE(BeginDestroy(gate, [] { return absl::OkStatus(); }, {.may_be_dead = true}).ok());
}

TEST(JobGateDeathTest, AGrantOutlivesItsSessionAndTheGateItsGrants) {
  JobIds ids(1);
  int channel = 0;
  EXPECT_DEATH(
      {
        JobGate gate(ids);
        gate.BeginLife();
        GatedMonitor<int> monitor(gate, channel);
        auto grant = gate.Begin(kModify, {});
        auto session = monitor.Enter(*grant);
        grant->End();
      },
      "a grant ends before its monitor session");
  EXPECT_DEATH(
      {
        auto gate = std::make_unique<JobGate>(ids, JobGate::Options{.name = "disk0"});
        gate->BeginLife();
        auto grant = gate->Begin(kModify, {});
        gate.reset();
      },
      "JobGate 'disk0' ends while somebody is in it");
}

TEST(JobIds, SortAsTheyWereGivenAndSurviveBeingWrittenDown) {
  JobIds before(1);
  JobIds after(2);
  const JobId first = before.Next();
  const JobId second = before.Next();
  const JobId third = after.Next();
  EXPECT_LT(first, second);
  EXPECT_LT(second, third);
  EXPECT_LT(ToString(second), ToString(third));
  EXPECT_EQ(ParseJobId(ToString(second)), second);
  EXPECT_FALSE(ParseJobId("12").has_value());
  EXPECT_FALSE(ParseJobId(std::string(31, '0') + "g").has_value());
  EXPECT_FALSE(JobId());
  EXPECT_TRUE(first);
}

}  // namespace
}  // namespace jobcore::gate
