// SPDX-License-Identifier: Apache-2.0
//
// What can be done to an object, and what may be done to it meanwhile: the classes of normal jobs, the kinds of
// asynchronous ones, and the sets of classes that are allowed beside those. All of it is data of the compiler: a set
// that leaves out `destroy`, or that names what is not a class, does not compile.
//
// The names are those of libvirt's job conditions, and go to journals and to clients: they never change. Neither do
// the numbers; new ones come at the end.

#ifndef JOBCORE_JOB_MONITOR_JOB_KINDS_H_
#define JOBCORE_JOB_MONITOR_JOB_KINDS_H_

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::gate {

// Of a normal job: it has the object's monitor to itself, for a short time.
enum class JobClass : unsigned char {
  kQuery = 0,       // reads, changes nothing
  kDestroy = 1,     // ends the object; always allowed
  kSuspend = 2,     // stops its processors
  kModify = 3,      // may change its state
  kAbort = 4,       // aborts the asynchronous job that runs
  kTune = 5,        // changes the parameters of an outgoing migration
  kModifySafe = 6,  // handles what the object reports, and has to be possible in the middle of a migration
};
inline constexpr std::array<std::string_view, 7> kJobClassNames = {
    "query", "destroy", "suspend", "modify", "abort", "migration operation", "modify migration safe"};

// Of an asynchronous job: a long activity of many steps, each of which has the monitor to itself (a nested job).
enum class AsyncKind : unsigned char {
  kMigrationOut = 1,
  kMigrationIn = 2,
  kSave = 3,
  kDump = 4,
  kSnapshot = 5,
  kStart = 6,
  kBackup = 7,
};
inline constexpr std::array<std::string_view, 7> kAsyncKindNames = {"migration out", "migration in", "save",  "dump",
                                                                    "snapshot",      "start",        "backup"};
inline constexpr std::array<AsyncKind, 7> kAsyncKinds = {
    AsyncKind::kMigrationOut, AsyncKind::kMigrationIn, AsyncKind::kSave,  AsyncKind::kDump,
    AsyncKind::kSnapshot,     AsyncKind::kStart,       AsyncKind::kBackup};

constexpr std::string_view ToString(JobClass c) { return kJobClassNames[static_cast<size_t>(c)]; }
constexpr std::string_view ToString(AsyncKind kind) { return kAsyncKindNames[static_cast<size_t>(kind) - 1]; }
constexpr std::optional<JobClass> ParseJobClass(std::string_view name) {
  for (size_t i = 0; i < kJobClassNames.size(); ++i) {
    if (kJobClassNames[i] == name) return static_cast<JobClass>(i);
  }
  return std::nullopt;
}
constexpr std::optional<AsyncKind> ParseAsyncKind(std::string_view name) {
  for (const AsyncKind kind : kAsyncKinds) {
    if (ToString(kind) == name) return kind;
  }
  return std::nullopt;
}

// The classes of normal jobs that may run beside an asynchronous one. `destroy` is in each.
class JobClassSet {
 public:
  // Sets are written in programs, not made up by them.
  template <std::same_as<JobClass>... Classes>
  static consteval JobClassSet Of(Classes... classes) {
    return JobClassSet((Bit(classes) | ... | 0u));
  }
  // What a journal has kept; nothing if it names classes that this version does not know.
  static constexpr std::optional<JobClassSet> FromBits(uint32_t bits) {
    if ((bits >> kJobClassNames.size()) != 0) return std::nullopt;
    return JobClassSet(bits);
  }

  consteval JobClassSet operator|(JobClassSet other) const { return JobClassSet(bits_ | other.bits_); }
  constexpr bool Contains(JobClass c) const { return (bits_ & Bit(c)) != 0; }
  constexpr uint32_t bits() const { return bits_; }
  constexpr bool operator==(const JobClassSet&) const = default;

 private:
  static constexpr uint32_t Bit(JobClass c) { return uint32_t{1} << static_cast<unsigned>(c); }
  explicit constexpr JobClassSet(uint32_t bits) : bits_(bits | Bit(JobClass::kDestroy)) {}
  uint32_t bits_;
};

inline constexpr JobClassSet kOnlyDestroy = JobClassSet::Of();
inline constexpr JobClassSet kDefaultAllowed = JobClassSet::Of(JobClass::kQuery, JobClass::kAbort);

static_assert(kOnlyDestroy.Contains(JobClass::kDestroy) && kDefaultAllowed.Contains(JobClass::kDestroy));
static_assert(!kDefaultAllowed.Contains(JobClass::kModify));

}  // namespace jobcore::inline JOBCORE_ABI::gate

#endif  // JOBCORE_JOB_MONITOR_JOB_KINDS_H_
