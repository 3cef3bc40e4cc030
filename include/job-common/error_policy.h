// SPDX-License-Identifier: Apache-2.0
//
// What becomes of a job when one of its reads or writes fails. The names are wire names; the table is a wire
// contract taken from QEMU's block jobs.

#ifndef JOBCORE_JOB_COMMON_ERROR_POLICY_H_
#define JOBCORE_JOB_COMMON_ERROR_POLICY_H_

#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <string_view>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

// What is to be done about errors, as whoever starts a job chooses it.
enum class OnError : unsigned char {
  kReport,  // the job fails
  kIgnore,  // the job goes on, in its driver's way (tries again, or skips)
  kStop,    // the job pauses until it is resumed; then its driver tries again
  kEnospc,  // stop if there is no space left, report anything else
  kAuto,    // as the driver thinks best: the same as kEnospc
};
inline constexpr size_t kOnErrorCount = 5;

// What is done about one error. (The first three of OnError, as the decision knows no others.)
enum class ErrorAction : unsigned char { kReport, kIgnore, kStop };
inline constexpr size_t kErrorActionCount = 3;

enum class IoOperation : unsigned char { kRead, kWrite };
inline constexpr size_t kIoOperationCount = 2;

// Why a job has been stopped by an error.
enum class IoStatus : unsigned char {
  kOk,       // it has not
  kFailed,   // an error other than:
  kNoSpace,  // no space left
};
inline constexpr size_t kIoStatusCount = 3;

// Wire names, in the order of the enums.
inline constexpr std::array<std::string_view, kOnErrorCount> kOnErrorNames = {"report", "ignore", "stop", "enospc",
                                                                              "auto"};
inline constexpr std::array<std::string_view, kErrorActionCount> kErrorActionNames = {"report", "ignore", "stop"};
inline constexpr std::array<std::string_view, kIoOperationCount> kIoOperationNames = {"read", "write"};
inline constexpr std::array<std::string_view, kIoStatusCount> kIoStatusNames = {"ok", "failed", "nospace"};

constexpr std::string_view OnErrorName(OnError policy) { return kOnErrorNames[static_cast<size_t>(policy)]; }
constexpr std::string_view ErrorActionName(ErrorAction action) {
  return kErrorActionNames[static_cast<size_t>(action)];
}
constexpr std::string_view IoOperationName(IoOperation op) { return kIoOperationNames[static_cast<size_t>(op)]; }
constexpr std::string_view IoStatusName(IoStatus status) { return kIoStatusNames[static_cast<size_t>(status)]; }

constexpr std::optional<OnError> ParseOnError(std::string_view name) {
  for (size_t i = 0; i < kOnErrorCount; ++i)
    if (kOnErrorNames[i] == name) return static_cast<OnError>(i);
  return std::nullopt;
}

namespace internal {

struct ErrorRow {
  ErrorAction no_space;
  ErrorAction other;
};
inline constexpr std::array<ErrorRow, kOnErrorCount> kErrorActions = {{
    /* report */ {ErrorAction::kReport, ErrorAction::kReport},
    /* ignore */ {ErrorAction::kIgnore, ErrorAction::kIgnore},
    /* stop   */ {ErrorAction::kStop, ErrorAction::kStop},
    /* enospc */ {ErrorAction::kStop, ErrorAction::kReport},
    /* auto   */ {ErrorAction::kStop, ErrorAction::kReport},
}};

}  // namespace internal

// What `policy` says about an errno.
constexpr ErrorAction DecideAction(OnError policy, int error) {
  const internal::ErrorRow& row = internal::kErrorActions[static_cast<size_t>(policy)];
  return error == ENOSPC ? row.no_space : row.other;
}
constexpr IoStatus IoStatusOf(int error) { return error == ENOSPC ? IoStatus::kNoSpace : IoStatus::kFailed; }

namespace internal {

// The plain policies mean what they are called, whatever the error; the others stop for lack of space only.
consteval bool PoliciesMeanWhatTheirNamesSay() {
  for (int error : {EIO, ENOSPC, EPERM, 0}) {
    for (size_t i = 0; i < kErrorActionCount; ++i) {
      if (kOnErrorNames[i] != kErrorActionNames[i]) return false;
      if (DecideAction(static_cast<OnError>(i), error) != static_cast<ErrorAction>(i)) return false;
    }
    for (OnError policy : {OnError::kEnospc, OnError::kAuto})
      if (DecideAction(policy, error) != (error == ENOSPC ? ErrorAction::kStop : ErrorAction::kReport)) return false;
  }
  return true;
}

static_assert(static_cast<size_t>(OnError::kAuto) + 1 == kOnErrorCount);
static_assert(static_cast<size_t>(ErrorAction::kStop) + 1 == kErrorActionCount);
static_assert(static_cast<size_t>(IoOperation::kWrite) + 1 == kIoOperationCount);
static_assert(static_cast<size_t>(IoStatus::kNoSpace) + 1 == kIoStatusCount);
static_assert(PoliciesMeanWhatTheirNamesSay());

}  // namespace internal

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_ERROR_POLICY_H_
