// SPDX-License-Identifier: Apache-2.0
//
// How a job ended: it succeeded, it failed, or it was cancelled. Being cancelled is not a failure.

#ifndef JOBCORE_JOB_COMMON_JOB_OUTCOME_H_
#define JOBCORE_JOB_COMMON_JOB_OUTCOME_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

// A value; immutable once published. Holds code and text rather than an absl::Status, whose reference count
// must not be shared between threads where TSan can't see it.
struct JobOutcome {
  enum class Kind : unsigned char { kSucceeded, kFailed, kCancelled };

  Kind kind = Kind::kSucceeded;
  absl::StatusCode code = absl::StatusCode::kOk;  // kFailed: why; kCancelled: kCancelled
  std::string message;                            // empty on success

  static JobOutcome Succeeded() { return {}; }
  static JobOutcome Failed(const absl::Status& status);
  static JobOutcome Cancelled(std::string_view message);

  bool succeeded() const { return kind == Kind::kSucceeded; }
  // A Status of the caller's own.
  absl::Status ToStatus() const;
  // "succeeded", "cancelled", or "failed: <message>".
  std::string ToString() const;

  friend bool operator==(const JobOutcome&, const JobOutcome&) = default;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_OUTCOME_H_
