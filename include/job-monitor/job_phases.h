// SPDX-License-Identifier: Apache-2.0
//
// The phases of asynchronous jobs: for each kind a graph, known to the compiler. An edge that is not in it does not
// compile where both ends are known (AsyncJob::Advance), and is refused with both names where they are not.
//
// A phase says what may be done beside the job, and what becomes of it if somebody wants it aborted or its owner is
// lost. What becomes of it after a crash is the journal's to say. It is entered *before* its effect: who reads it
// knows that the effect may have happened, and that those of the phases behind it have not.
//
// Names and numbers go to journals: they never change. `version` of a kind is raised when the meaning of one does.

#ifndef JOBCORE_JOB_MONITOR_JOB_PHASES_H_
#define JOBCORE_JOB_MONITOR_JOB_PHASES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "job-common/fwd.h"
#include "job-monitor/job_kinds.h"

namespace jobcore::inline JOBCORE_ABI::gate {

// By number, within one kind; 0 is "none", in which each job begins.
using PhaseNumber = unsigned char;

// What happens to a request to abort the job.
enum class AbortRule : unsigned char {
  kAccepted,    // the job cannot enter any further phase but those of the way back
  kTooLate,     // it is past the cut
  kPostcopy,    // both sides have a part of the object: accepted from those who say that they know (AbortOptions)
  kUseDestroy,  // there is nothing to go back to
  kImpossible,  // what it is doing cannot be interrupted
};

// What is to become of a job that nobody owns at present, if nobody comes to adopt it.
enum class OwnerLost : unsigned char {
  kNotParked,       // it has to have an owner
  kRollBack,        // undo it
  kKeepUnattended,  // leave it running; the end will be reported
  kKill,            // end the object
};

struct PhaseInfo {
  std::string_view name;
  JobClassSet allowed;  // beside the job, while it is in this phase
  AbortRule abort = AbortRule::kAccepted;
  OwnerLost owner_lost = OwnerLost::kNotParked;
  bool way_back = false;  // can be entered by a job that has been aborted, or whose object has died
  uint32_t next = 0;      // a bit for each phase that can follow
};

// --- The phases of each kind ---

enum class MigrationOutPhase : PhaseNumber {
  kNone = 0,
  kPerform2 = 1,
  kBegin3 = 2,
  kPerform3 = 3,
  kPerform3Done = 4,       // all has been sent; who runs it is the other side's to say
  kConfirm3Cancelled = 5,  // it goes on here
  kConfirm3 = 6,           // it runs over there
  kPostcopyFailed = 7,
  kBeginResume = 8,
  kPerformResume = 9,
  kConfirmResume = 10,
};
enum class MigrationInPhase : PhaseNumber {
  kNone = 0,
  kPrepare = 1,
  kFinish2 = 2,
  kFinish3 = 3,
  kPostcopyFailed = 4,
  kPrepareResume = 5,
  kFinishResume = 6,
};
enum class SavePhase : PhaseNumber { kNone = 0, kPause = 1, kWrite = 2, kCommit = 3, kRollBack = 4 };
enum class DumpPhase : PhaseNumber { kNone = 0, kWrite = 1, kWriteMemory = 2, kCommit = 3, kRollBack = 4 };
enum class SnapshotPhase : PhaseNumber {
  kNone = 0,
  kMemory = 1,  // of the running object: the others have to wait before it, and not in it
  kDisks = 2,
  kCommit = 3,
  kRollBack = 4,
  kDelete = 5,
  kDeleteMetadata = 6,
};
enum class StartPhase : PhaseNumber { kNone = 0, kLaunch = 1 };
enum class BackupPhase : PhaseNumber { kNone = 0, kPrepare = 1, kCopy = 2, kCommit = 3, kRollBack = 4 };

namespace detail {

template <typename... Phases>
consteval uint32_t Next(Phases... phases) {
  return ((uint32_t{1} << static_cast<unsigned>(phases)) | ... | 0u);
}

inline constexpr JobClassSet kBesideMigrationOut =
    kDefaultAllowed | JobClassSet::Of(JobClass::kSuspend, JobClass::kTune, JobClass::kModifySafe);
inline constexpr JobClassSet kBesideMigrationIn = JobClassSet::Of(JobClass::kModifySafe);
inline constexpr JobClassSet kBesideSnapshot = kDefaultAllowed | JobClassSet::Of(JobClass::kSuspend, JobClass::kTune);
inline constexpr JobClassSet kBesideBackup = kDefaultAllowed | JobClassSet::Of(JobClass::kSuspend, JobClass::kModify);

template <AsyncKind kKind>
struct Graph;

template <>
struct Graph<AsyncKind::kMigrationOut> {
  using Phase = MigrationOutPhase;
  static constexpr uint16_t kVersion = 1;
  static constexpr bool kRefusedBesideItself = true;
  static constexpr std::array<PhaseInfo, 11> kPhases = {{
      {.name = "none", .allowed = kBesideMigrationOut, .next = Next(Phase::kPerform2, Phase::kBegin3)},
      {.name = "perform2", .allowed = kBesideMigrationOut},
      {.name = "begin3",
       .allowed = kBesideMigrationOut,
       .owner_lost = OwnerLost::kRollBack,
       .next = Next(Phase::kPerform3, Phase::kConfirm3Cancelled)},
      {.name = "perform3",
       .allowed = kBesideMigrationOut,
       .next = Next(Phase::kPerform3Done, Phase::kConfirm3Cancelled, Phase::kPostcopyFailed)},
      {.name = "perform3_done",
       .allowed = kBesideMigrationOut,
       .abort = AbortRule::kTooLate,
       .owner_lost = OwnerLost::kRollBack,
       .next = Next(Phase::kConfirm3, Phase::kConfirm3Cancelled, Phase::kPostcopyFailed)},
      {.name = "confirm3_cancelled",
       .allowed = kBesideMigrationOut,
       .way_back = true,
       .next = Next(Phase::kPostcopyFailed)},
      {.name = "confirm3",
       .allowed = kBesideMigrationOut,
       .abort = AbortRule::kTooLate,
       .next = Next(Phase::kPostcopyFailed)},
      {.name = "postcopy_failed",
       .allowed = kBesideMigrationOut,
       .abort = AbortRule::kPostcopy,
       .owner_lost = OwnerLost::kKeepUnattended,
       .way_back = true,
       .next = Next(Phase::kBeginResume)},
      {.name = "begin_resume",
       .allowed = kBesideMigrationOut,
       .abort = AbortRule::kPostcopy,
       .owner_lost = OwnerLost::kKeepUnattended,
       .next = Next(Phase::kPerformResume, Phase::kPostcopyFailed)},
      {.name = "perform_resume",
       .allowed = kBesideMigrationOut,
       .abort = AbortRule::kPostcopy,
       .owner_lost = OwnerLost::kKeepUnattended,
       .next = Next(Phase::kConfirmResume, Phase::kPostcopyFailed)},
      {.name = "confirm_resume",
       .allowed = kBesideMigrationOut,
       .abort = AbortRule::kTooLate,
       .next = Next(Phase::kPostcopyFailed)},
  }};
};

template <>
struct Graph<AsyncKind::kMigrationIn> {
  using Phase = MigrationInPhase;
  static constexpr uint16_t kVersion = 1;
  static constexpr bool kRefusedBesideItself = true;
  static constexpr std::array<PhaseInfo, 7> kPhases = {{
      {.name = "none", .allowed = kBesideMigrationIn, .abort = AbortRule::kUseDestroy, .next = Next(Phase::kPrepare)},
      {.name = "prepare",
       .allowed = kBesideMigrationIn,
       .abort = AbortRule::kUseDestroy,
       .owner_lost = OwnerLost::kKill,
       .next = Next(Phase::kFinish2, Phase::kFinish3)},
      {.name = "finish2", .allowed = kBesideMigrationIn, .abort = AbortRule::kUseDestroy},
      {.name = "finish3",
       .allowed = kBesideMigrationIn,
       .abort = AbortRule::kUseDestroy,
       .next = Next(Phase::kPostcopyFailed)},
      {.name = "postcopy_failed",
       .allowed = kBesideMigrationIn,
       .abort = AbortRule::kUseDestroy,
       .owner_lost = OwnerLost::kKeepUnattended,
       .way_back = true,
       .next = Next(Phase::kPrepareResume)},
      {.name = "prepare_resume",
       .allowed = kBesideMigrationIn,
       .abort = AbortRule::kUseDestroy,
       .owner_lost = OwnerLost::kKeepUnattended,
       .next = Next(Phase::kFinishResume, Phase::kPostcopyFailed)},
      {.name = "finish_resume",
       .allowed = kBesideMigrationIn,
       .abort = AbortRule::kUseDestroy,
       .next = Next(Phase::kPostcopyFailed)},
  }};
};

template <>
struct Graph<AsyncKind::kSave> {
  using Phase = SavePhase;
  static constexpr uint16_t kVersion = 1;
  static constexpr bool kRefusedBesideItself = false;
  static constexpr std::array<PhaseInfo, 5> kPhases = {{
      {.name = "none", .allowed = kDefaultAllowed, .next = Next(Phase::kPause)},
      {.name = "pause", .allowed = kDefaultAllowed, .next = Next(Phase::kWrite, Phase::kRollBack)},
      {.name = "write", .allowed = kDefaultAllowed, .next = Next(Phase::kCommit, Phase::kRollBack)},
      {.name = "commit", .allowed = kDefaultAllowed, .abort = AbortRule::kTooLate},
      {.name = "rollback", .allowed = kDefaultAllowed, .way_back = true},
  }};
};

template <>
struct Graph<AsyncKind::kDump> {
  using Phase = DumpPhase;
  static constexpr uint16_t kVersion = 1;
  static constexpr bool kRefusedBesideItself = false;
  static constexpr std::array<PhaseInfo, 5> kPhases = {{
      {.name = "none", .allowed = kDefaultAllowed, .next = Next(Phase::kWrite, Phase::kWriteMemory)},
      {.name = "write", .allowed = kDefaultAllowed, .next = Next(Phase::kCommit, Phase::kRollBack)},
      {.name = "write_memory",
       .allowed = kDefaultAllowed,
       .abort = AbortRule::kImpossible,
       .next = Next(Phase::kCommit, Phase::kRollBack)},
      {.name = "commit", .allowed = kDefaultAllowed, .abort = AbortRule::kTooLate},
      {.name = "rollback", .allowed = kDefaultAllowed, .way_back = true},
  }};
};

template <>
struct Graph<AsyncKind::kSnapshot> {
  using Phase = SnapshotPhase;
  static constexpr uint16_t kVersion = 1;
  static constexpr bool kRefusedBesideItself = false;
  static constexpr std::array<PhaseInfo, 7> kPhases = {{
      {.name = "none", .allowed = kOnlyDestroy, .next = Next(Phase::kMemory, Phase::kDisks, Phase::kDelete)},
      {.name = "memory", .allowed = kBesideSnapshot, .next = Next(Phase::kDisks, Phase::kRollBack)},
      {.name = "disks", .allowed = kOnlyDestroy, .next = Next(Phase::kCommit, Phase::kRollBack)},
      {.name = "commit", .allowed = kOnlyDestroy, .abort = AbortRule::kTooLate},
      {.name = "rollback", .allowed = kDefaultAllowed, .way_back = true},
      {.name = "delete", .allowed = kDefaultAllowed, .next = Next(Phase::kDeleteMetadata, Phase::kRollBack)},
      {.name = "delete_metadata", .allowed = kDefaultAllowed, .abort = AbortRule::kTooLate},
  }};
};

template <>
struct Graph<AsyncKind::kStart> {
  using Phase = StartPhase;
  static constexpr uint16_t kVersion = 1;
  static constexpr bool kRefusedBesideItself = false;
  static constexpr std::array<PhaseInfo, 2> kPhases = {{
      {.name = "none", .allowed = kOnlyDestroy, .abort = AbortRule::kUseDestroy, .next = Next(Phase::kLaunch)},
      {.name = "launch", .allowed = kOnlyDestroy, .abort = AbortRule::kUseDestroy},
  }};
};

template <>
struct Graph<AsyncKind::kBackup> {
  using Phase = BackupPhase;
  static constexpr uint16_t kVersion = 1;
  static constexpr bool kRefusedBesideItself = false;
  static constexpr std::array<PhaseInfo, 5> kPhases = {{
      {.name = "none", .allowed = kBesideBackup, .next = Next(Phase::kPrepare)},
      {.name = "prepare", .allowed = kBesideBackup, .next = Next(Phase::kCopy, Phase::kRollBack)},
      {.name = "copy",
       .allowed = kBesideBackup,
       .owner_lost = OwnerLost::kRollBack,
       .next = Next(Phase::kCommit, Phase::kRollBack)},
      {.name = "commit", .allowed = kBesideBackup, .abort = AbortRule::kTooLate},
      {.name = "rollback", .allowed = kBesideBackup, .way_back = true},
  }};
};

}  // namespace detail

// --- All kinds, by name or number ---

struct KindInfo {
  AsyncKind kind;
  uint16_t version;                   // of its phases
  bool refused_beside_itself;         // a second one is refused at once, it does not wait for the first
  std::span<const PhaseInfo> phases;  // by number

  constexpr std::string_view name() const { return ToString(kind); }
  constexpr bool HasEdge(PhaseNumber from, PhaseNumber to) const {
    return from < phases.size() && to < phases.size() && (phases[from].next >> to & 1) != 0;
  }
};

template <AsyncKind kKind>
inline constexpr KindInfo kKindInfo = {kKind, detail::Graph<kKind>::kVersion,
                                       detail::Graph<kKind>::kRefusedBesideItself, detail::Graph<kKind>::kPhases};

template <AsyncKind kKind>
using PhaseOf = typename detail::Graph<kKind>::Phase;

constexpr const KindInfo& InfoOf(AsyncKind kind) {
  constexpr std::array<const KindInfo*, 7> kAll = {
      &kKindInfo<AsyncKind::kMigrationOut>, &kKindInfo<AsyncKind::kMigrationIn>, &kKindInfo<AsyncKind::kSave>,
      &kKindInfo<AsyncKind::kDump>,         &kKindInfo<AsyncKind::kSnapshot>,    &kKindInfo<AsyncKind::kStart>,
      &kKindInfo<AsyncKind::kBackup>};
  return *kAll[static_cast<size_t>(kind) - 1];
}

constexpr std::optional<PhaseNumber> ParsePhase(AsyncKind kind, std::string_view name) {
  const std::span<const PhaseInfo> phases = InfoOf(kind).phases;
  for (size_t i = 0; i < phases.size(); ++i) {
    if (phases[i].name == name) return static_cast<PhaseNumber>(i);
  }
  return std::nullopt;
}

// OK, or FailedPrecondition with both names and those that could follow.
absl::Status CheckEdge(AsyncKind kind, PhaseNumber from, PhaseNumber to);

namespace detail {

// Each phase has a name of its own and can be reached, and each edge leads somewhere.
consteval bool IsSound(const KindInfo& info) {
  const size_t n = info.phases.size();
  if (n == 0 || n > 32 || info.phases[0].name != "none") return false;
  uint32_t reached = 1;
  for (size_t round = 0; round < n; ++round) {
    for (size_t i = 0; i < n; ++i) {
      if ((reached >> i & 1) != 0) reached |= info.phases[i].next;
    }
  }
  if (reached != (n == 32 ? ~uint32_t{0} : (uint32_t{1} << n) - 1)) return false;
  for (size_t i = 0; i < n; ++i) {
    if (info.phases[i].name.empty() || (info.phases[i].next >> i & 1) != 0) return false;
    for (size_t j = 0; j < i; ++j) {
      if (info.phases[i].name == info.phases[j].name) return false;
    }
  }
  return true;
}
static_assert(IsSound(kKindInfo<AsyncKind::kMigrationOut>) && IsSound(kKindInfo<AsyncKind::kMigrationIn>));
static_assert(IsSound(kKindInfo<AsyncKind::kSave>) && IsSound(kKindInfo<AsyncKind::kDump>));
static_assert(IsSound(kKindInfo<AsyncKind::kSnapshot>) && IsSound(kKindInfo<AsyncKind::kStart>));
static_assert(IsSound(kKindInfo<AsyncKind::kBackup>));
// What must never drift.
static_assert(!kBesideMigrationIn.Contains(JobClass::kQuery), "an incoming object has no state yet to ask for");
static_assert(!kKindInfo<AsyncKind::kMigrationOut>.HasEdge(2, 6), "nothing is confirmed that has not been sent");

}  // namespace detail

}  // namespace jobcore::inline JOBCORE_ABI::gate

#endif  // JOBCORE_JOB_MONITOR_JOB_PHASES_H_
