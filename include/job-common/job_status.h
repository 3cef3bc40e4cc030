// SPDX-License-Identifier: Apache-2.0
//
// The states of a job, the verbs that control it, and what is allowed when. The two tables are a wire contract
// taken from QEMU's job layer (job_status_transition, job_verb_permission in job.c); they are checked here, at
// compile time, for the properties that the rest of the library relies on.

#ifndef JOBCORE_JOB_COMMON_JOB_STATUS_H_
#define JOBCORE_JOB_COMMON_JOB_STATUS_H_

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

enum class JobStatus : unsigned char {
  kUndefined,  // not yet created; never visible
  kCreated,    // exists, not started
  kRunning,    // its driver runs
  kPaused,     // parked, was running
  kReady,      // runs, and may be completed on demand
  kStandby,    // parked, was ready
  kWaiting,    // its Run succeeded; others of its group have not finished
  kPending,    // the whole group has succeeded and is not finalised yet
  kAborting,   // failed or cancelled
  kConcluded,  // finished; only the record is left
  kNull,       // dismissed
};
inline constexpr size_t kJobStatusCount = 11;

enum class JobVerb : unsigned char {
  kCancel,
  kPause,
  kResume,
  kSetSpeed,
  kComplete,
  kDismiss,
  kFinalize,
  kChange,
};
inline constexpr size_t kJobVerbCount = 8;

enum class CancelMode : unsigned char {
  kSoft,   // finish early, but consistently, if the job can (ReadyCapabilities::soft_cancel); else as kForce
  kForce,  // stop now
};

// Wire names, in the order of the enums.
inline constexpr std::array<std::string_view, kJobStatusCount> kJobStatusNames = {
    "undefined", "created", "running",  "paused",    "ready", "standby",
    "waiting",   "pending", "aborting", "concluded", "null"};
inline constexpr std::array<std::string_view, kJobVerbCount> kJobVerbNames = {
    "cancel", "pause", "resume", "set-speed", "complete", "dismiss", "finalize", "change"};

constexpr std::string_view JobStatusName(JobStatus status) { return kJobStatusNames[static_cast<size_t>(status)]; }
constexpr std::string_view JobVerbName(JobVerb verb) { return kJobVerbNames[static_cast<size_t>(verb)]; }
constexpr std::optional<JobStatus> ParseJobStatus(std::string_view name) {
  for (size_t i = 0; i < kJobStatusCount; ++i)
    if (kJobStatusNames[i] == name) return static_cast<JobStatus>(i);
  return std::nullopt;
}

namespace internal {

// Rows: from. Columns: to. Any other transition is a broken invariant.
inline constexpr std::array<std::array<bool, kJobStatusCount>, kJobStatusCount> kTransitions = {{
    //        U  C  R  P  Y  S  W  D  X  E  N
    /* U */ {{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
    /* C */ {{0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1}},
    /* R */ {{0, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0}},
    /* P */ {{0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}},
    /* Y */ {{0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0}},
    /* S */ {{0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}},
    /* W */ {{0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0}},
    /* D */ {{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0}},
    /* X */ {{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0}},
    /* E */ {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
    /* N */ {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
}};

// Rows: verb. Columns: the job's status.
inline constexpr std::array<std::array<bool, kJobStatusCount>, kJobVerbCount> kVerbs = {{
    //                U  C  R  P  Y  S  W  D  X  E  N
    /* cancel    */ {{0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0}},
    /* pause     */ {{0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0}},
    /* resume    */ {{0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0}},
    /* set-speed */ {{0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0}},
    /* complete  */ {{0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0}},
    /* dismiss   */ {{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}},
    /* finalize  */ {{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}},
    /* change    */ {{0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0}},
}};

}  // namespace internal

constexpr bool MayTransition(JobStatus from, JobStatus to) {
  return internal::kTransitions[static_cast<size_t>(from)][static_cast<size_t>(to)];
}
constexpr bool VerbAllowed(JobVerb verb, JobStatus status) {
  return internal::kVerbs[static_cast<size_t>(verb)][static_cast<size_t>(status)];
}

// Ready to be completed on demand.
constexpr bool IsReady(JobStatus s) { return s == JobStatus::kReady || s == JobStatus::kStandby; }
// Parked by a pause.
constexpr bool IsPaused(JobStatus s) { return s == JobStatus::kPaused || s == JobStatus::kStandby; }
// Its Run has ended (or never will start); the group may not have been finalised yet.
constexpr bool IsCompleted(JobStatus s) { return s >= JobStatus::kWaiting; }
// Finalised: the outcome stands.
constexpr bool IsConcluded(JobStatus s) { return s >= JobStatus::kConcluded; }
// The status of the same job while it is parked, and back.
constexpr JobStatus Parked(JobStatus s) { return s == JobStatus::kReady ? JobStatus::kStandby : JobStatus::kPaused; }
constexpr JobStatus Unparked(JobStatus s) { return s == JobStatus::kStandby ? JobStatus::kReady : JobStatus::kRunning; }

namespace internal {

// From every state a job can be in, the end is reachable.
consteval bool EveryStatusReachesNull() {
  std::array<bool, kJobStatusCount> reaches{};
  reaches[static_cast<size_t>(JobStatus::kNull)] = true;
  for (size_t pass = 0; pass < kJobStatusCount; ++pass)
    for (size_t from = 0; from < kJobStatusCount; ++from)
      for (size_t to = 0; to < kJobStatusCount; ++to)
        if (kTransitions[from][to] && reaches[to]) reaches[from] = true;
  for (bool r : reaches)
    if (!r) return false;
  return true;
}
// Outside of the park/unpark pairs a job never goes back.
consteval bool OnlyParkingGoesBack() {
  for (size_t from = 0; from < kJobStatusCount; ++from)
    for (size_t to = 0; to < from; ++to)
      if (kTransitions[from][to] && !IsPaused(static_cast<JobStatus>(from))) return false;
  return true;
}
// A parked job leaves only by being unparked, and what parks can be unparked.
consteval bool ParkingIsSymmetric() {
  for (JobStatus s : {JobStatus::kRunning, JobStatus::kReady}) {
    if (!MayTransition(s, Parked(s)) || Unparked(Parked(s)) != s) return false;
    for (size_t to = 0; to < kJobStatusCount; ++to)
      if (MayTransition(Parked(s), static_cast<JobStatus>(to)) != (static_cast<JobStatus>(to) == s)) return false;
  }
  return true;
}
// The two tables agree: a verb is allowed exactly where what it leads to can still happen.
consteval bool VerbsFollowTransitions() {
  for (size_t i = 0; i < kJobStatusCount; ++i) {
    const JobStatus s = static_cast<JobStatus>(i);
    const JobStatus running = IsPaused(s) ? Unparked(s) : s;
    const bool exists = s != JobStatus::kUndefined;
    // cancel: the job, unparked first, can be aborted, and is not being aborted already.
    const bool can_abort = exists && s != JobStatus::kAborting && MayTransition(running, JobStatus::kAborting);
    if (VerbAllowed(JobVerb::kCancel, s) != can_abort) return false;
    // pause, resume, set-speed, change: its Run has not ended.
    for (JobVerb v : {JobVerb::kPause, JobVerb::kResume, JobVerb::kSetSpeed, JobVerb::kChange})
      if (VerbAllowed(v, s) != (exists && !IsCompleted(s))) return false;
    if (VerbAllowed(JobVerb::kComplete, s) != IsReady(s)) return false;
    // finalize: it can conclude without having been aborted. dismiss: it has concluded.
    const bool can_conclude = s != JobStatus::kAborting && MayTransition(s, JobStatus::kConcluded);
    if (VerbAllowed(JobVerb::kFinalize, s) != can_conclude) return false;
    if (VerbAllowed(JobVerb::kDismiss, s) != (s == JobStatus::kConcluded)) return false;
  }
  return true;
}

static_assert(static_cast<size_t>(JobStatus::kNull) + 1 == kJobStatusCount);
static_assert(static_cast<size_t>(JobVerb::kChange) + 1 == kJobVerbCount);
static_assert(EveryStatusReachesNull());
static_assert(OnlyParkingGoesBack());
static_assert(ParkingIsSymmetric());
static_assert(VerbsFollowTransitions());
static_assert(!MayTransition(JobStatus::kPaused, JobStatus::kAborting), "a cancelled paused job is unparked first");
static_assert(!MayTransition(JobStatus::kWaiting, JobStatus::kConcluded),
              "no job concludes before its group converged");

}  // namespace internal

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_STATUS_H_
