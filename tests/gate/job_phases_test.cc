// SPDX-License-Identifier: Apache-2.0
//
// Phases, aborts, owners and recovery of asynchronous jobs. D: the letter of the project's list of cases for them.

#include "job-monitor/job_phases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "gate/gate_world.h"

namespace jobcore::gate {
namespace {

using testing::HasSubstr;
using enum JobClass;

constexpr absl::StatusCode kRefused = absl::StatusCode::kFailedPrecondition;

template <typename Phase>
constexpr PhaseNumber N(Phase phase) {
  return static_cast<PhaseNumber>(phase);
}

// The names are a wire contract.
TEST(Phases, NamesAreFoundAgain) {
  for (const AsyncKind kind : kAsyncKinds) {
    EXPECT_EQ(ParseAsyncKind(ToString(kind)), kind);
    const KindInfo& info = InfoOf(kind);
    EXPECT_EQ(info.kind, kind);
    EXPECT_EQ(info.version, 1);
    for (size_t phase = 0; phase < info.phases.size(); ++phase) {
      EXPECT_EQ(ParsePhase(kind, info.phases[phase].name), phase);
    }
  }
  for (size_t c = 0; c < kJobClassNames.size(); ++c) {
    EXPECT_EQ(ParseJobClass(kJobClassNames[c]), static_cast<JobClass>(c));
  }
  EXPECT_FALSE(ParseAsyncKind("none").has_value());
  EXPECT_FALSE(ParsePhase(AsyncKind::kSave, "perform3").has_value());
  EXPECT_FALSE(ParseJobClass("async").has_value());
}

// D6: for every pair of phases of every kind, the edge is accepted if it is in the graph, and otherwise refused with
// both names.
TEST(Phases, EveryPairOfPhasesIsAnEdgeOrRefused) {
  for (const AsyncKind kind : kAsyncKinds) {
    const size_t n = InfoOf(kind).phases.size();
    for (PhaseNumber from = 0; from < n; ++from) {
      for (PhaseNumber to = 0; to < n; ++to) {
        GateWorld world;
        absl::StatusOr<RecoveryGrant> recovery = world.gate.HoldForRecovery();
        absl::StatusOr<AsyncGrant> job =
            world.gate.Restore(*recovery, {.id = {1, 1}, .kind = kind, .phase = from, .allowed = kOnlyDestroy});
        ASSERT_TRUE(job.ok());
        const absl::Status status = job->SetPhaseNumber(to);
        EXPECT_EQ(status.ok(), InfoOf(kind).HasEdge(from, to));
        EXPECT_EQ(job->phase_number(), status.ok() ? to : from);
        if (status.ok()) continue;
        EXPECT_EQ(status.code(), kRefused);
        EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(InfoOf(kind).phases[from].name)));
        EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(InfoOf(kind).phases[to].name)));
      }
    }
  }
}

// D6, D7, D8
TEST(Phases, AMigrationSkipsNothingAndDoesNotGoBackButByItsOwnWay) {
  using Phase = MigrationOutPhase;
  GateWorld world;
  auto& asked = world.AskAsync("migrate", AsyncKind::kMigrationOut);
  absl::StatusOr<AsyncJob<AsyncKind::kMigrationOut>> migration =
      std::move(**asked.grant).As<AsyncKind::kMigrationOut>();
  ASSERT_TRUE(migration.ok());
  ASSERT_TRUE((migration->Advance<Phase::kNone, Phase::kBegin3>().ok()));
  EXPECT_EQ(migration->SetPhase(Phase::kConfirm3).message(),
            "'migration out' does not go from phase begin3 to confirm3, but to perform3, confirm3_cancelled");
  EXPECT_EQ((migration->Advance<Phase::kPerform3, Phase::kPerform3Done>().message()),
            "'migration out' is in phase begin3, not in perform3");
  ASSERT_TRUE((migration->Advance<Phase::kBegin3, Phase::kPerform3>().ok()));
  EXPECT_EQ(migration->SetPhase(Phase::kBegin3).message(), "migration protocol going backwards perform3 => begin3");
  ASSERT_TRUE(migration->SetPhase(Phase::kPostcopyFailed).ok());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(migration->SetPhase(Phase::kBeginResume).ok());
    ASSERT_TRUE(migration->SetPhase(Phase::kPerformResume).ok());
    ASSERT_TRUE(migration->SetPhase(Phase::kPostcopyFailed).ok());
  }
  EXPECT_EQ(migration->phase(), Phase::kPostcopyFailed);
}

TEST(Phases, AJobIsOfOneKind) {
  GateWorld world;
  auto& asked = world.AskAsync("save", AsyncKind::kSave);
  const auto wrong = std::move(**asked.grant).As<AsyncKind::kBackup>();
  EXPECT_EQ(wrong.status().message(), "unexpected asynchronous job 'save', expected 'backup'");
  EXPECT_TRUE(asked.in() && **asked.grant);  // it is where it was
}

// D9: a grant that has gone elsewhere is nobody's.
TEST(Phases, OnlyTheOwnerSetsThem) {
  GateWorld world;
  auto& asked = world.AskAsync("save", AsyncKind::kSave);
  AsyncGrant owner = std::move(**asked.grant);
  EXPECT_EQ((*asked.grant)->SetPhaseNumber(1).code(), kRefused);  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(owner.CheckPhaseNumber(1).ok());
  EXPECT_EQ(owner.phase_number(), 0);
  EXPECT_TRUE(owner.SetPhaseNumber(1).ok());
}

// D13
TEST(Phases, ASecondMigrationIsRefusedAtOnce) {
  GateWorld world;
  auto& out = world.AskAsync("out", AsyncKind::kMigrationOut);
  auto& in = world.AskAsync("in", AsyncKind::kMigrationIn);
  EXPECT_EQ(in.code(), kRefused);
  EXPECT_THAT(in.message(), HasSubstr("another migration job is already running"));
  auto& backup = world.AskAsync("backup", AsyncKind::kBackup);
  EXPECT_TRUE(backup.waits());
  out.End();
  world.Run();
  EXPECT_TRUE(backup.in());
}

// D14: a phase that allows more lets in who waited for that.
TEST(Phases, APhaseThatAllowsMoreLetsInWhoWaitedForIt) {
  GateWorld world;
  auto& snapshot = world.AskAsync("snapshot", AsyncKind::kSnapshot);
  auto& suspend = world.Ask("suspend", kSuspend);
  auto& modify = world.Ask("modify", kModify);
  EXPECT_TRUE(suspend.waits());
  ASSERT_TRUE((*snapshot.grant)->SetPhaseNumber(N(SnapshotPhase::kMemory)).ok());
  world.Run();
  EXPECT_TRUE(suspend.in() && modify.waits());
  suspend.End();
  ASSERT_TRUE((*snapshot.grant)->SetPhaseNumber(N(SnapshotPhase::kDisks)).ok());
  EXPECT_EQ(world.Ask("late", kSuspend, {.nowait = true}).code(), absl::StatusCode::kUnavailable);
  snapshot.End();
  world.Run();
  EXPECT_TRUE(modify.in());
}

// --- Aborts ---

// D1: what an abort does, for each kind and phase; the migrations with and without the word for post-copy.
TEST(Abort, EachPhaseHasItsAnswer) {
  for (const AsyncKind kind : kAsyncKinds) {
    const KindInfo& info = InfoOf(kind);
    for (PhaseNumber phase = 0; phase < info.phases.size(); ++phase) {
      for (const bool postcopy : {false, true}) {
        GateWorld world;
        absl::StatusOr<RecoveryGrant> recovery = world.gate.HoldForRecovery();
        absl::StatusOr<AsyncGrant> job =
            world.gate.Restore(*recovery, {.id = {1, 1}, .kind = kind, .phase = phase, .allowed = kOnlyDestroy});
        const AbortRule rule = info.phases[phase].abort;
        const bool accepted = rule == AbortRule::kAccepted || (rule == AbortRule::kPostcopy && postcopy);
        const absl::Status status = world.gate.RequestAbort({1, 1}, {.postcopy = postcopy});
        EXPECT_EQ(status.code(), accepted ? absl::StatusCode::kOk : kRefused) << status;
        EXPECT_EQ(job->stop_token().stop_requested(), accepted);
        if (!accepted) {
          EXPECT_THAT(std::string(status.message()), HasSubstr("cannot abort '" + std::string(info.name())));
        }
      }
    }
  }
  EXPECT_EQ(InfoOf(AsyncKind::kDump).phases[N(DumpPhase::kWriteMemory)].abort, AbortRule::kImpossible);
  EXPECT_EQ(InfoOf(AsyncKind::kMigrationIn).phases[0].abort, AbortRule::kUseDestroy);
}

// D2
TEST(Abort, AnAbortHitsTheJobThatItWasMeantForOrNone) {
  GateWorld world;
  EXPECT_EQ(world.gate.RequestAbort({}).code(), kRefused);
  auto& first = world.AskAsync("first", AsyncKind::kSave);
  const JobId id = (*first.grant)->id();
  first.End();
  EXPECT_EQ(world.gate.RequestAbort(id).code(), absl::StatusCode::kNotFound);
  auto& second = world.AskAsync("second", AsyncKind::kSave);
  EXPECT_EQ(world.gate.RequestAbort(id).code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE((*second.grant)->stop_token().stop_requested());
  EXPECT_TRUE(world.gate.RequestAbort({}).ok());
  EXPECT_TRUE((*second.grant)->stop_token().stop_requested());
}

// D3: an abort that has been accepted keeps the job from going on, from the first phase to the cut.
TEST(Abort, WhatHasBeenAcceptedIsNotPassedBy) {
  GateWorld world;
  auto& asked = world.AskAsync("backup", AsyncKind::kBackup);
  AsyncGrant& job = **asked.grant;
  ASSERT_TRUE(job.SetPhaseNumber(N(BackupPhase::kPrepare)).ok());
  ASSERT_TRUE(world.gate.RequestAbort(job.id()).ok());
  ASSERT_TRUE(world.gate.RequestAbort(job.id()).ok());
  const absl::Status refusal = job.SetPhaseNumber(N(BackupPhase::kCopy));
  EXPECT_EQ(refusal.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(refusal.message(), "job 'backup' canceled by client");
  EXPECT_TRUE(world.gate.Info().async->abort_requested);
  EXPECT_TRUE(job.SetPhaseNumber(N(BackupPhase::kRollBack)).ok());
}

TEST(Abort, AfterTheCutItIsRefused) {
  GateWorld world;
  auto& asked = world.AskAsync("backup", AsyncKind::kBackup);
  AsyncGrant& job = **asked.grant;
  for (const BackupPhase phase : {BackupPhase::kPrepare, BackupPhase::kCopy, BackupPhase::kCommit}) {
    ASSERT_TRUE(job.SetPhaseNumber(N(phase)).ok());
  }
  EXPECT_EQ(world.gate.RequestAbort(job.id()).message(), "cannot abort 'backup' in phase commit: too late");
  EXPECT_FALSE(job.stop_token().stop_requested());
}

// A12: nothing but the way back when the object has died.
TEST(Abort, AJobWhoseObjectHasDiedGoesBackOnly) {
  GateWorld world;
  auto& asked = world.AskAsync("save", AsyncKind::kSave);
  AsyncGrant& job = **asked.grant;
  ASSERT_TRUE(job.SetPhaseNumber(N(SavePhase::kPause)).ok());
  world.gate.EndLife();
  EXPECT_EQ(job.SetPhaseNumber(N(SavePhase::kWrite)).code(), absl::StatusCode::kAborted);
  world.gate.BeginLife();
  EXPECT_EQ(job.SetPhaseNumber(N(SavePhase::kWrite)).code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(job.SetPhaseNumber(N(SavePhase::kRollBack)).ok());
}

// The one kind whose object is dead when it begins.
TEST(Abort, AStartSurvivesTheBeginningOfALife) {
  GateWorld world;
  world.gate.EndLife();
  EXPECT_EQ(world.AskAsync("early", AsyncKind::kStart).code(), absl::StatusCode::kAborted);
  auto& start = world.AskAsync("start", AsyncKind::kStart, {.may_be_dead = true});
  ASSERT_TRUE(start.in());
  world.gate.BeginLife();
  EXPECT_TRUE((*start.grant)->SetPhaseNumber(N(StartPhase::kLaunch)).ok());
}

// --- Owners ---

// D10, D12: a job without an owner has a policy, and is adopted by who knows in which phase it is.
TEST(Park, AParkedJobIsAdoptedByWhoKnowsItsPhase) {
  using Phase = MigrationOutPhase;
  GateWorld world;
  auto& asked = world.AskAsync("begin", AsyncKind::kMigrationOut, {.owner = {.task = 1}});
  AsyncGrant& job = **asked.grant;
  const JobId id = job.id();
  EXPECT_EQ(job.Park(OwnerLost::kRollBack).code(), kRefused);  // not in phase none
  EXPECT_TRUE(job);
  ASSERT_TRUE(job.SetPhaseNumber(N(Phase::kBegin3)).ok());
  EXPECT_EQ(job.Park(OwnerLost::kNotParked).code(), kRefused);
  EXPECT_EQ(world.gate.Adopt(id, N(Phase::kBegin3), {.api = "thief"}).status().code(), kRefused);
  ASSERT_TRUE(job.Park(OwnerLost::kRollBack).ok());
  EXPECT_FALSE(job);
  EXPECT_EQ(world.gate.Info().async->parked, OwnerLost::kRollBack);
  EXPECT_EQ(world.gate.Adopt(id, N(Phase::kPerform3), {.api = "perform"}).status().message(),
            "'migration out' is in phase begin3, not in perform3");
  EXPECT_EQ(world.gate.Adopt({9, 9}, 0, {}).status().code(), absl::StatusCode::kNotFound);
  absl::StatusOr<AsyncGrant> adopted = world.gate.Adopt(id, N(Phase::kBegin3), {.api = "perform", .task = 2});
  ASSERT_TRUE(adopted.ok());
  EXPECT_EQ(adopted->id(), id);
  EXPECT_EQ(world.gate.Info().async->api, "perform");
  EXPECT_TRUE(adopted->SetPhaseNumber(N(Phase::kPerform3)).ok());
  ASSERT_TRUE(world.gate.RequestAbort(id).ok());
  EXPECT_TRUE(adopted->stop_token().stop_requested());
}

// D11: what becomes of a migration whose client goes away between its calls.
TEST(Park, ThePolicyOfEachPhaseIsThatOfTheProtocol) {
  const auto out = [](MigrationOutPhase p) { return InfoOf(AsyncKind::kMigrationOut).phases[N(p)].owner_lost; };
  EXPECT_EQ(out(MigrationOutPhase::kBegin3), OwnerLost::kRollBack);
  EXPECT_EQ(out(MigrationOutPhase::kPerform3Done), OwnerLost::kRollBack);
  EXPECT_EQ(out(MigrationOutPhase::kPostcopyFailed), OwnerLost::kKeepUnattended);
  EXPECT_EQ(out(MigrationOutPhase::kBeginResume), OwnerLost::kKeepUnattended);
  EXPECT_EQ(out(MigrationOutPhase::kPerformResume), OwnerLost::kKeepUnattended);
  EXPECT_EQ(InfoOf(AsyncKind::kMigrationIn).phases[N(MigrationInPhase::kPrepare)].owner_lost, OwnerLost::kKill);
}

// --- Recovery ---

// F15, F16: nobody is let in before recovery is done; those who do not want to wait are told who it is.
TEST(Recovery, NobodyIsLetInBeforeItIsDone) {
  JobIds ids(2);
  GateWorld world;
  world.gate.EndLife();  // as after a restart: nobody knows
  absl::StatusOr<RecoveryGrant> recovery = world.gate.HoldForRecovery();
  ASSERT_TRUE(recovery.ok());
  EXPECT_EQ(world.gate.HoldForRecovery().status().code(), kRefused);
  auto& query = world.Ask("query", kQuery);
  auto& destroy = world.Ask("destroy", kDestroy);
  auto& agent = world.AskAgent("agent");
  auto& impatient = world.Ask("impatient", kQuery, {.nowait = true});
  EXPECT_TRUE(query.waits() && destroy.waits() && agent.waits());
  EXPECT_EQ(impatient.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(impatient.message(), HasSubstr("(held by monitor=recovery)"));
  absl::StatusOr<AsyncGrant> backup =
      world.gate.Restore(*recovery, {.id = {1, 5},
                                     .kind = AsyncKind::kBackup,
                                     .phase = N(BackupPhase::kCopy),
                                     .allowed = InfoOf(AsyncKind::kBackup).phases[N(BackupPhase::kCopy)].allowed,
                                     .owner = {.api = "BackupBegin"}});
  ASSERT_TRUE(backup.ok());
  EXPECT_EQ(world.gate.Restore(*recovery, {.id = {1, 6}, .kind = AsyncKind::kSave}).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(world.gate.Restore(*recovery, {.id = {1, 6}, .kind = AsyncKind::kSave, .phase = 77}).status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(backup->Park(OwnerLost::kRollBack).ok());
  world.gate.BeginLife();
  recovery->End();
  world.Run();
  EXPECT_TRUE(destroy.in() && agent.in() && query.waits());
  destroy.End();
  world.Run();
  EXPECT_TRUE(query.in());
  absl::StatusOr<AsyncGrant> adopted = world.gate.Adopt({1, 5}, N(BackupPhase::kCopy), {.api = "BackupEnd"});
  EXPECT_TRUE(adopted.ok());
}

TEST(Recovery, IfTheObjectIsDeadThenThatIsWhatWaitersAreTold) {
  GateWorld world;
  world.gate.EndLife();
  absl::StatusOr<RecoveryGrant> recovery = world.gate.HoldForRecovery();
  auto& query = world.Ask("query", kQuery);
  auto& start = world.AskAsync("start", AsyncKind::kStart, {.may_be_dead = true});
  recovery->End();
  world.Run();
  EXPECT_EQ(query.code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(start.in());
}

// F13: what the record allows counts, until the next phase.
TEST(Recovery, WhatTheRecordAllowsIsAllowed) {
  GateWorld world;
  absl::StatusOr<RecoveryGrant> recovery = world.gate.HoldForRecovery();
  absl::StatusOr<AsyncGrant> job = world.gate.Restore(
      *recovery, {.id = {1, 1}, .kind = AsyncKind::kSave, .phase = 1, .allowed = JobClassSet::Of(kSuspend)});
  recovery->End();
  EXPECT_EQ(world.Ask("query", kQuery, {.nowait = true}).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(world.Ask("suspend", kSuspend, {.nowait = true}).in());
}

// D5: an abort that was recorded before the crash is still one.
TEST(Recovery, AnAbortSurvives) {
  GateWorld world;
  absl::StatusOr<RecoveryGrant> recovery = world.gate.HoldForRecovery();
  absl::StatusOr<AsyncGrant> job = world.gate.Restore(*recovery, {.id = {1, 1},
                                                                  .kind = AsyncKind::kSave,
                                                                  .phase = N(SavePhase::kWrite),
                                                                  .allowed = kDefaultAllowed,
                                                                  .abort_requested = true});
  EXPECT_TRUE(job->stop_token().stop_requested());
  EXPECT_EQ(job->SetPhaseNumber(N(SavePhase::kCommit)).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(job->SetPhaseNumber(N(SavePhase::kRollBack)).ok());
}

// E14, F17: in quarantine it can be looked at and destroyed.
TEST(Recovery, InQuarantineThereIsQueryAndDestroyOnly) {
  GateWorld world;
  world.gate.EndLife();
  absl::StatusOr<RecoveryGrant> recovery = world.gate.HoldForRecovery();
  auto& modify = world.Ask("modify", kModify);
  auto& query = world.Ask("query", kQuery, {.may_be_dead = true});
  world.gate.Quarantine(*std::move(recovery), "the record cannot be read");
  world.Run();
  EXPECT_EQ(modify.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(query.in());
  EXPECT_EQ(world.gate.Info().quarantine, "the record cannot be read");
  EXPECT_EQ(world.AskAsync("start", AsyncKind::kStart, {.may_be_dead = true}).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(world.AskAgent("agent").code(), absl::StatusCode::kDataLoss);
  auto& destroy = world.Ask("destroy", kDestroy);
  query.End();
  world.Run();
  ASSERT_TRUE(destroy.in());
  destroy.End();
  world.gate.ReleaseQuarantine();
  EXPECT_TRUE(world.AskAsync("start", AsyncKind::kStart, {.may_be_dead = true}).in());
}

}  // namespace
}  // namespace jobcore::gate
