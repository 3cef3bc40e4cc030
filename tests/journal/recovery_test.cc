// SPDX-License-Identifier: Apache-2.0

#include "job-journal/recovery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "job-journal/gate_recovery.h"
#include "job-journal/ownership.h"
#include "job-monitor/job_gate.h"
#include "journal/journal_folder.h"

namespace jobcore_test {
namespace {

using jobcore::gate::BackupPhase;
using jobcore::gate::JobClass;
using jobcore::gate::JobClassSet;
using jobcore::journal::Edit;
using jobcore::journal::FencingToken;
using jobcore::journal::Journal;
using jobcore::journal::LocalOwnership;
using jobcore::journal::Observed;
using jobcore::journal::Record;
using jobcore::journal::Recover;
using jobcore::journal::RecoveryAction;
using jobcore::journal::RecoveryDriver;
using jobcore::journal::RuleFor;
using jobcore::journal::Slot;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// F1, F2: what must never drift.
constexpr RecoveryAction Rule(jobcore::gate::AsyncKind kind, auto phase, Observed seen) {
  return *RuleFor(static_cast<uint32_t>(kind), static_cast<uint32_t>(phase), seen);
}
using jobcore::gate::AsyncKind;
using jobcore::gate::MigrationInPhase;
using jobcore::gate::MigrationOutPhase;
using jobcore::journal::MirrorPhase;
static_assert(Rule(AsyncKind::kMigrationOut, MigrationOutPhase::kPerform3, Observed::kRunning) ==
              RecoveryAction::kRollBack);
static_assert(Rule(AsyncKind::kMigrationOut, MigrationOutPhase::kPerform3Done, Observed::kDone) ==
              RecoveryAction::kAwaitOther);  // F3
static_assert(Rule(AsyncKind::kMigrationOut, MigrationOutPhase::kConfirm3, Observed::kNothing) ==
              RecoveryAction::kKillObject);  // F4
static_assert(Rule(AsyncKind::kMigrationIn, MigrationInPhase::kPrepare, Observed::kRunning) ==
              RecoveryAction::kKillObject);                                                                 // F5
static_assert(Rule(AsyncKind::kBackup, BackupPhase::kCopy, Observed::kRunning) == RecoveryAction::kAdopt);  // F10
static_assert(Rule(AsyncKind::kBackup, BackupPhase::kCopy, Observed::kPartial) == RecoveryAction::kRollBack);
static_assert(!RuleFor(99, 0, Observed::kDone).has_value());
static_assert(!RuleFor(static_cast<uint32_t>(AsyncKind::kBackup), 99, Observed::kDone).has_value());

// G5: a mirror is rolled forward behind the switch, and back before it; nothing is both.
TEST(RecoveryRules, AMirrorNeverGoesBackFromTheNewSide) {
  for (const Observed seen : jobcore::journal::kAllObserved) {
    const auto rule = [&](MirrorPhase phase) {
      return *RuleFor(jobcore::journal::kMirrorKind, static_cast<uint32_t>(phase), seen);
    };
    EXPECT_NE(rule(MirrorPhase::kCopy), RecoveryAction::kRollForward);
    EXPECT_NE(rule(MirrorPhase::kSwitched), RecoveryAction::kRollBack);
    EXPECT_EQ(rule(MirrorPhase::kSwitching) == RecoveryAction::kRollForward, seen == Observed::kDone);
  }
}

class FakeDriver : public RecoveryDriver {
 public:
  absl::StatusOr<Observed> Probe(const Record& record) override {
    probed.push_back(record.key.object);
    const auto found = seen.find(record.key.object);
    if (found == seen.end()) return absl::DeadlineExceededError("it hangs");
    return found->second;
  }
  absl::Status Apply(const Record& record, RecoveryAction action, FencingToken) override {
    if (die) _exit(kDied);
    applied.emplace_back(record.key.object, action);
    return absl::OkStatus();
  }
  std::vector<std::string> Orphans(std::span<const Record>) override { return {"stray"}; }

  std::map<std::string, Observed> seen;
  std::vector<std::string> probed;
  std::vector<std::pair<std::string, RecoveryAction>> applied;
  bool die = false;
};

class Recovery : public ::testing::Test {
 protected:
  void SetUp() override { SetFaults({}); }
  jobcore::journal::RecoveryReport Run(Journal& journal, const jobcore::journal::RecoveryOptions& options = {}) {
    LocalOwnership ownership(journal);
    auto report = Recover(journal, ownership, driver_, options);
    EXPECT_TRUE(report.ok()) << report.status();
    return *std::move(report);
  }
  void Write(const Record& record) { ASSERT_TRUE(Commit(*folder_.OpenNow(), Begin(record)).ok()); }

  JournalFolder folder_;
  FakeDriver driver_;
};

// F13 and F11's: the mask is the recorded one.
TEST_F(Recovery, AJobThatRunsOnKeepsItsRecordAndWhatIsAllowedBesideIt) {
  Record record = BackupRecord("vm", 1, BackupPhase::kCopy);
  record.allowed = JobClassSet::Of(JobClass::kSuspend).bits();
  Write(record);
  driver_.seen["vm"] = Observed::kRunning;
  auto journal = folder_.OpenNow();
  const auto report = Run(*journal);
  ASSERT_THAT(report.jobs, SizeIs(1));
  EXPECT_EQ(report.jobs[0].action, RecoveryAction::kAdopt);
  EXPECT_EQ(report.jobs[0].record.allowed, record.allowed);
  EXPECT_EQ(report.jobs[0].record.id, record.id);
  EXPECT_EQ(report.jobs[0].record.token, journal->epoch());
  const auto loaded = journal->Load();
  ASSERT_THAT(loaded->records, SizeIs(1));
  EXPECT_EQ(loaded->records[0].decision, jobcore::journal::Decision{});
}

// D5
TEST_F(Recovery, AJobThatWasBeingAbortedEndsAsThat) {
  Record record = BackupRecord("vm", 1, BackupPhase::kCopy);
  record.abort_requested = true;
  Write(record);
  driver_.seen["vm"] = Observed::kPartial;
  auto journal = folder_.OpenNow();
  Run(*journal);
  const auto loaded = journal->Load();
  ASSERT_THAT(loaded->records, SizeIs(1));
  EXPECT_EQ(loaded->records[0].key.slot, Slot::kResult);
  EXPECT_EQ(loaded->records[0].flags, static_cast<uint64_t>(absl::StatusCode::kCancelled));
}

// E14, F15, G11: what is not known, hangs or has no record concerns nobody else, and is left alone.
TEST_F(Recovery, WhatCannotBeUnderstoodIsQuarantinedAlone) {
  Record unknown = BackupRecord("unknown", 1);
  unknown.kind = 99;
  Record wide = BackupRecord("wide", 1, BackupPhase::kCopy);
  wide.allowed = 1u << 30;
  Write(unknown);
  Write(wide);
  Write(BackupRecord("hangs", 1, BackupPhase::kCopy));
  Write(BackupRecord("fine", 1, BackupPhase::kCopy));
  driver_.seen = {{"unknown", Observed::kRunning}, {"wide", Observed::kRunning}, {"fine", Observed::kPartial}};
  const auto report = Run(*folder_.OpenNow());
  std::map<std::string, RecoveryAction> actions;
  for (const auto& job : report.jobs) actions[job.record.key.object] = job.action;
  EXPECT_EQ(actions["unknown"], RecoveryAction::kQuarantine);
  EXPECT_EQ(actions["wide"], RecoveryAction::kQuarantine);
  EXPECT_EQ(actions["hangs"], RecoveryAction::kQuarantine);
  EXPECT_EQ(actions["fine"], RecoveryAction::kRollBack);
  EXPECT_THAT(driver_.applied, ElementsAre(std::pair<std::string, RecoveryAction>("fine", RecoveryAction::kRollBack)));
  EXPECT_THAT(report.orphans, ElementsAre("stray"));
  EXPECT_THAT(Run(*folder_.OpenNow()).jobs, SizeIs(3));  // F17: still, after the next restart
}

// F14
TEST_F(Recovery, ADecisionIsRepeatedTwiceAndThenGivenUp) {
  Write(BackupRecord("vm", 1, BackupPhase::kCopy));
  driver_.seen["vm"] = Observed::kPartial;
  driver_.die = true;
  for (int death = 1; death <= 3; ++death) {
    ASSERT_EQ(InChild([&] { Run(*folder_.OpenNow()); }), kDied) << death;
    driver_.seen["vm"] = Observed::kNothing;  // what has been half undone looks different: it is not asked for again
  }
  const auto report = Run(*folder_.OpenNow());
  EXPECT_THAT(driver_.probed, IsEmpty());
  ASSERT_THAT(report.jobs, SizeIs(1));
  EXPECT_EQ(report.jobs[0].action, RecoveryAction::kQuarantine);
  EXPECT_THAT(driver_.applied, IsEmpty());
}

// F18
TEST_F(Recovery, WhatLivedInAnEarlierBootIsGone) {
  Record record = BackupRecord("vm", 1);
  record.kind = static_cast<uint32_t>(AsyncKind::kMigrationOut);
  record.phase = static_cast<uint32_t>(MigrationOutPhase::kPostcopyFailed);
  record.started.boot_id = "before";
  Write(record);
  driver_.seen["vm"] = Observed::kRunning;
  const auto report = Run(*folder_.OpenNow(), {.boot_id = "now"});
  EXPECT_EQ(report.jobs[0].action, RecoveryAction::kDiscard);
  EXPECT_THAT(driver_.probed, IsEmpty());
}

// F16, F17
TEST_F(Recovery, GatesAreHeldUntilTheirObjectsAreSettled) {
  Record record = BackupRecord("runs", 1, BackupPhase::kCopy);
  record.allowed = JobClassSet::Of(JobClass::kSuspend).bits();
  Write(record);
  Write(BackupRecord("hangs", 2, BackupPhase::kCopy));
  driver_.seen["runs"] = Observed::kRunning;
  jobcore::gate::JobIds ids(2);
  jobcore::gate::JobGate runs(ids, {.name = "runs"});
  jobcore::gate::JobGate hangs(ids, {.name = "hangs"});
  auto hold_runs = runs.HoldForRecovery();
  auto hold_hangs = hangs.HoldForRecovery();
  ASSERT_TRUE(hold_runs.ok() && hold_hangs.ok());
  const jobcore::gate::AcquireOptions now{.owner = {.api = "client"}, .nowait = true};
  EXPECT_EQ(runs.Begin(JobClass::kQuery, now).status().code(), absl::StatusCode::kUnavailable);
  const auto report = Run(*folder_.OpenNow());
  for (const auto& job : report.jobs) {
    const bool is_runs = job.record.key.object == "runs";
    auto settled =
        jobcore::journal::SettleGate(is_runs ? runs : hangs, std::move(is_runs ? *hold_runs : *hold_hangs), &job);
    ASSERT_TRUE(settled.ok()) << settled.status();
    if (!is_runs) continue;
    ASSERT_TRUE(settled->has_value());
    EXPECT_EQ((*settled)->id(), record.id);
    runs.BeginLife();
    EXPECT_TRUE(runs.Begin(JobClass::kSuspend, now).ok());  // as recorded
    EXPECT_EQ(runs.Begin(JobClass::kModify, now).status().code(), absl::StatusCode::kUnavailable);
  }
  hangs.BeginLife();
  EXPECT_EQ(hangs.Begin(JobClass::kModify, now).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(hangs.Begin(JobClass::kQuery, now).ok());
}

TEST_F(Recovery, ADryRunChangesNothing) {
  Write(BackupRecord("vm", 1, BackupPhase::kCopy));
  driver_.seen["vm"] = Observed::kPartial;
  auto journal = folder_.OpenNow();
  const auto before = journal->Load()->records;
  EXPECT_EQ(Run(*journal, {.dry_run = true}).jobs[0].action, RecoveryAction::kRollBack);
  EXPECT_THAT(driver_.applied, IsEmpty());
  EXPECT_EQ(journal->Load()->records, before);
}

}  // namespace
}  // namespace jobcore_test
