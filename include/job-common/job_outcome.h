// SPDX-License-Identifier: Apache-2.0
//
// How a job ended: it succeeded, it failed, or it was cancelled. Being cancelled is not a failure.

#ifndef JOBCORE_JOB_COMMON_JOB_OUTCOME_H_
#define JOBCORE_JOB_COMMON_JOB_OUTCOME_H_

#include <optional>
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
  static JobOutcome Cancelled(std::string_view message = "cancelled");

  bool succeeded() const { return kind == Kind::kSucceeded; }
  // A Status of the caller's own.
  absl::Status ToStatus() const;
  // "succeeded", "cancelled", or "failed: <message>".
  std::string ToString() const;

  friend bool operator==(const JobOutcome&, const JobOutcome&) = default;
};

namespace internal {

// An optional outcome in a pointer. All successes are one object, so that a job that succeeds allocates nothing.
class OutcomeSlot {
 public:
  OutcomeSlot() = default;
  OutcomeSlot(const OutcomeSlot&) = delete;
  ~OutcomeSlot() { Clear(); }
  OutcomeSlot& operator=(JobOutcome outcome);

  bool has_value() const { return value_ != nullptr; }
  const JobOutcome* get() const { return value_; }
  const JobOutcome& operator*() const { return *value_; }
  const JobOutcome* operator->() const { return value_; }
  void CopyTo(std::optional<JobOutcome>& outcome) const {
    if (has_value()) {
      outcome = *value_;
    } else {
      outcome.reset();
    }
  }

 private:
  void Clear();

  const JobOutcome* value_ = nullptr;  // null: not decided
};

}  // namespace internal

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_OUTCOME_H_
