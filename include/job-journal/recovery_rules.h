// SPDX-License-Identifier: Apache-2.0
//
// What becomes of a job whose process has died: for each kind, in each phase, whatever is found of it. Data of the
// compiler: a table without a row for something that can be found, or with two, does not compile.
//
// Two rules are behind all of them. What a client has been told stays true: behind the last phase of the way forward a
// job is finished, before it is undone. And nothing is ended on a guess: where it cannot be told who runs the object,
// or what it is doing, the job waits for somebody who can.

#ifndef JOBCORE_JOB_JOURNAL_RECOVERY_RULES_H_
#define JOBCORE_JOB_JOURNAL_RECOVERY_RULES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "job-common/fwd.h"
#include "job-journal/record.h"
#include "job-monitor/job_kinds.h"
#include "job-monitor/job_phases.h"

namespace jobcore::inline JOBCORE_ABI::journal {

// Numbers go to the journal: they never change.
enum class RecoveryAction : uint8_t {
  kNone = 0,
  kDiscard = 1,         // nothing has been done: forget it
  kRollBack = 2,        // undo it
  kRollForward = 3,     // finish it
  kAdopt = 4,           // it goes on: own it again
  kKeepUnattended = 5,  // it goes on, and nobody can do anything about that
  kKillObject = 6,      // end the object: it runs elsewhere, or was never alive
  kAwaitOther = 7,      // only somebody else knows which side has it
  kQuarantine = 8,      // nothing is known: query and destroy only
};
inline constexpr std::array<std::string_view, 9> kRecoveryActionNames = {
    "none", "discard", "roll back", "roll forward", "adopt", "keep unattended", "kill", "await other", "quarantine"};
constexpr std::string_view ToString(RecoveryAction action) { return kRecoveryActionNames[static_cast<size_t>(action)]; }

// What a driver finds.
enum class Observed : uint8_t {
  kNothing = 0,  // the activity is not there, nor anything that it has made
  kRunning = 1,  // it goes on
  kPartial = 2,  // it does not go on, and has left a part of what it makes
  kDone = 3,     // all that it makes is there
  kFailed = 4,   // it says that it has failed
  kUnknown = 5,  // there is no answer
};
inline constexpr std::array<Observed, 6> kAllObserved = {Observed::kNothing, Observed::kRunning, Observed::kPartial,
                                                         Observed::kDone,    Observed::kFailed,  Observed::kUnknown};
inline constexpr std::array<std::string_view, 6> kObservedNames = {"nothing", "running", "partial",
                                                                   "done",    "failed",  "unknown"};
constexpr std::string_view ToString(Observed seen) { return kObservedNames[static_cast<size_t>(seen)]; }

// A mirror is a job of the core, without a gate: its phases are here. kSwitching is written down before the object
// writes to the new side for the first time: before it the old side is whole, behind it only the new one is.
enum class MirrorPhase : uint8_t { kNone = 0, kCopy = 1, kSwitching = 2, kSwitched = 3 };
inline constexpr uint32_t kMirrorKind = 0x101;

struct RecoveryRule {
  uint8_t phase;
  uint8_t seen;  // a bit for each Observed
  RecoveryAction action;
};

namespace detail {

template <typename... Seen>
consteval uint8_t If(Seen... seen) {
  return static_cast<uint8_t>(((1u << static_cast<unsigned>(seen)) | ... | 0u));
}
template <typename... Seen>
consteval uint8_t Unless(Seen... seen) {
  return static_cast<uint8_t>(0x3f & ~If(seen...));
}
inline constexpr uint8_t kWhatever = 0x3f;

template <typename Phase>
consteval RecoveryRule Row(Phase phase, uint8_t seen, RecoveryAction action) {
  return {static_cast<uint8_t>(phase), seen, action};
}

// Each phase, with each thing that can be found, has one row.
template <size_t kRows>
consteval bool IsComplete(const std::array<RecoveryRule, kRows>& rules, size_t phases) {
  for (size_t phase = 0; phase < phases; ++phase) {
    for (size_t seen = 0; seen < kAllObserved.size(); ++seen) {
      int rows = 0;
      for (const RecoveryRule& rule : rules) rows += rule.phase == phase && (rule.seen >> seen & 1) != 0 ? 1 : 0;
      if (rows != 1) return false;
    }
  }
  for (const RecoveryRule& rule : rules) {
    if (rule.phase >= phases || rule.action == RecoveryAction::kNone) return false;
  }
  return true;
}

using enum RecoveryAction;

inline constexpr auto kMigrationOutRules = [] {
  using P = gate::MigrationOutPhase;
  using S = Observed;
  return std::array{
      Row(P::kNone, kWhatever, kDiscard),
      Row(P::kBegin3, kWhatever, kDiscard),
      // It has not run over there yet, whatever has been sent.
      Row(P::kPerform2, Unless(S::kUnknown), kRollBack),
      Row(P::kPerform2, If(S::kUnknown), kQuarantine),
      Row(P::kPerform3, Unless(S::kUnknown), kRollBack),
      Row(P::kPerform3, If(S::kUnknown), kQuarantine),
      // All has been sent: the other side may have begun to run it.
      Row(P::kPerform3Done, kWhatever, kAwaitOther),
      Row(P::kConfirm3Cancelled, Unless(S::kUnknown), kRollBack),
      Row(P::kConfirm3Cancelled, If(S::kUnknown), kQuarantine),
      Row(P::kConfirm3, kWhatever, kKillObject),
      // Both sides have a part of it.
      Row(P::kPostcopyFailed, kWhatever, kKeepUnattended),
      Row(P::kBeginResume, kWhatever, kKeepUnattended),
      Row(P::kPerformResume, kWhatever, kKeepUnattended),
      Row(P::kConfirmResume, If(S::kDone), kKillObject),
      Row(P::kConfirmResume, Unless(S::kDone), kKeepUnattended),
  };
}();

inline constexpr auto kMigrationInRules = [] {
  using P = gate::MigrationInPhase;
  using S = Observed;
  return std::array{
      Row(P::kNone, kWhatever, kKillObject),
      Row(P::kPrepare, kWhatever, kKillObject),
      // The source is gone by now.
      Row(P::kFinish2, Unless(S::kUnknown, S::kNothing), kRollForward),
      Row(P::kFinish2, If(S::kUnknown, S::kNothing), kQuarantine),
      // Done: it runs here. Otherwise the source has had no confirmation, and runs it.
      Row(P::kFinish3, If(S::kDone), kRollForward),
      Row(P::kFinish3, If(S::kUnknown), kAwaitOther),
      Row(P::kFinish3, Unless(S::kDone, S::kUnknown), kKillObject),
      Row(P::kPostcopyFailed, kWhatever, kKeepUnattended),
      Row(P::kPrepareResume, kWhatever, kKeepUnattended),
      Row(P::kFinishResume, If(S::kDone), kRollForward),
      Row(P::kFinishResume, Unless(S::kDone), kKeepUnattended),
  };
}();

inline constexpr auto kSaveRules = [] {
  using P = gate::SavePhase;
  using S = Observed;
  return std::array{
      Row(P::kNone, kWhatever, kDiscard),
      Row(P::kPause, Unless(S::kUnknown), kRollBack),
      Row(P::kPause, If(S::kUnknown), kQuarantine),
      Row(P::kWrite, Unless(S::kUnknown), kRollBack),
      Row(P::kWrite, If(S::kUnknown), kQuarantine),
      Row(P::kCommit, If(S::kDone, S::kPartial), kRollForward),
      Row(P::kCommit, Unless(S::kDone, S::kPartial), kQuarantine),
      Row(P::kRollBack, Unless(S::kUnknown), kRollBack),
      Row(P::kRollBack, If(S::kUnknown), kQuarantine),
  };
}();

inline constexpr auto kDumpRules = [] {
  using P = gate::DumpPhase;
  using S = Observed;
  return std::array{
      Row(P::kNone, kWhatever, kDiscard),
      Row(P::kWrite, Unless(S::kUnknown), kRollBack),
      Row(P::kWrite, If(S::kUnknown), kQuarantine),
      Row(P::kWriteMemory, Unless(S::kUnknown), kRollBack),
      Row(P::kWriteMemory, If(S::kUnknown), kQuarantine),
      Row(P::kCommit, If(S::kDone, S::kPartial), kRollForward),
      Row(P::kCommit, Unless(S::kDone, S::kPartial), kQuarantine),
      Row(P::kRollBack, Unless(S::kUnknown), kRollBack),
      Row(P::kRollBack, If(S::kUnknown), kQuarantine),
  };
}();

inline constexpr auto kSnapshotRules = [] {
  using P = gate::SnapshotPhase;
  using S = Observed;
  return std::array{
      Row(P::kNone, kWhatever, kDiscard),
      Row(P::kMemory, Unless(S::kUnknown), kRollBack),
      Row(P::kMemory, If(S::kUnknown), kQuarantine),
      Row(P::kDisks, Unless(S::kUnknown), kRollBack),
      Row(P::kDisks, If(S::kUnknown), kQuarantine),
      Row(P::kCommit, If(S::kDone, S::kPartial), kRollForward),
      Row(P::kCommit, Unless(S::kDone, S::kPartial), kQuarantine),
      Row(P::kRollBack, Unless(S::kUnknown), kRollBack),
      Row(P::kRollBack, If(S::kUnknown), kQuarantine),
      // The disks that have not been merged keep the snapshot, and it can be deleted again.
      Row(P::kDelete, Unless(S::kUnknown), kRollBack),
      Row(P::kDelete, If(S::kUnknown), kQuarantine),
      Row(P::kDeleteMetadata, Unless(S::kUnknown), kRollForward),
      Row(P::kDeleteMetadata, If(S::kUnknown), kQuarantine),
  };
}();

inline constexpr auto kStartRules = [] {
  using P = gate::StartPhase;
  return std::array{
      Row(P::kNone, kWhatever, kDiscard),
      Row(P::kLaunch, kWhatever, kKillObject),
  };
}();

inline constexpr auto kBackupRules = [] {
  using P = gate::BackupPhase;
  using S = Observed;
  return std::array{
      Row(P::kNone, kWhatever, kDiscard),
      Row(P::kPrepare, Unless(S::kUnknown), kRollBack),
      Row(P::kPrepare, If(S::kUnknown), kQuarantine),
      // Running: from its bitmap, or because it is another process that copies. All there but not committed is half a
      // backup still: nobody has been told of it.
      Row(P::kCopy, If(S::kRunning), kAdopt),
      Row(P::kCopy, Unless(S::kRunning, S::kUnknown), kRollBack),
      Row(P::kCopy, If(S::kUnknown), kQuarantine),
      Row(P::kCommit, If(S::kDone, S::kPartial), kRollForward),
      Row(P::kCommit, Unless(S::kDone, S::kPartial), kQuarantine),
      Row(P::kRollBack, Unless(S::kUnknown), kRollBack),
      Row(P::kRollBack, If(S::kUnknown), kQuarantine),
  };
}();

inline constexpr auto kMirrorRules = [] {
  using P = MirrorPhase;
  using S = Observed;
  return std::array{
      Row(P::kNone, kWhatever, kDiscard),
      Row(P::kCopy, Unless(S::kUnknown), kRollBack),
      Row(P::kCopy, If(S::kUnknown), kQuarantine),
      // Done: the object is on the new side, and may have written there. Both are never rolled to.
      Row(P::kSwitching, If(S::kDone), kRollForward),
      Row(P::kSwitching, If(S::kUnknown), kQuarantine),
      Row(P::kSwitching, Unless(S::kDone, S::kUnknown), kRollBack),
      Row(P::kSwitched, Unless(S::kUnknown), kRollForward),
      Row(P::kSwitched, If(S::kUnknown), kQuarantine),
  };
}();

template <gate::AsyncKind kKind>
inline constexpr size_t kPhasesOf = gate::kKindInfo<kKind>.phases.size();

static_assert(IsComplete(kMigrationOutRules, kPhasesOf<gate::AsyncKind::kMigrationOut>));
static_assert(IsComplete(kMigrationInRules, kPhasesOf<gate::AsyncKind::kMigrationIn>));
static_assert(IsComplete(kSaveRules, kPhasesOf<gate::AsyncKind::kSave>));
static_assert(IsComplete(kDumpRules, kPhasesOf<gate::AsyncKind::kDump>));
static_assert(IsComplete(kSnapshotRules, kPhasesOf<gate::AsyncKind::kSnapshot>));
static_assert(IsComplete(kStartRules, kPhasesOf<gate::AsyncKind::kStart>));
static_assert(IsComplete(kBackupRules, kPhasesOf<gate::AsyncKind::kBackup>));
static_assert(IsComplete(kMirrorRules, 4));

template <size_t kRows>
constexpr std::optional<RecoveryAction> Find(const std::array<RecoveryRule, kRows>& rules, uint32_t phase,
                                             Observed seen) {
  for (const RecoveryRule& rule : rules) {
    if (rule.phase == phase && (rule.seen >> static_cast<unsigned>(seen) & 1) != 0) return rule.action;
  }
  return std::nullopt;
}

}  // namespace detail

// Nothing: the kind, or the phase, is none that this program knows.
constexpr std::optional<RecoveryAction> RuleFor(uint32_t kind, uint32_t phase, Observed seen) {
  using gate::AsyncKind;
  switch (kind) {
    case static_cast<uint32_t>(AsyncKind::kMigrationOut):
      return detail::Find(detail::kMigrationOutRules, phase, seen);
    case static_cast<uint32_t>(AsyncKind::kMigrationIn):
      return detail::Find(detail::kMigrationInRules, phase, seen);
    case static_cast<uint32_t>(AsyncKind::kSave):
      return detail::Find(detail::kSaveRules, phase, seen);
    case static_cast<uint32_t>(AsyncKind::kDump):
      return detail::Find(detail::kDumpRules, phase, seen);
    case static_cast<uint32_t>(AsyncKind::kSnapshot):
      return detail::Find(detail::kSnapshotRules, phase, seen);
    case static_cast<uint32_t>(AsyncKind::kStart):
      return detail::Find(detail::kStartRules, phase, seen);
    case static_cast<uint32_t>(AsyncKind::kBackup):
      return detail::Find(detail::kBackupRules, phase, seen);
    case kMirrorKind:
      return detail::Find(detail::kMirrorRules, phase, seen);
    default:
      return std::nullopt;
  }
}

}  // namespace jobcore::inline JOBCORE_ABI::journal

#endif  // JOBCORE_JOB_JOURNAL_RECOVERY_RULES_H_
