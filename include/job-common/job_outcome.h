// SPDX-License-Identifier: Apache-2.0
//
// How a job ended: it succeeded, it failed, or it was cancelled. Being cancelled is not a failure.

#ifndef JOBCORE_JOB_COMMON_JOB_OUTCOME_H_
#define JOBCORE_JOB_COMMON_JOB_OUTCOME_H_

#include <memory>
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

// Null, or an outcome that all who have a copy share: what became of a job is said in several events, and its text is
// copied for none of them. To be read like a std::optional, which it converts to. Any thread; reading needs no lock.
class SharedOutcome {
 public:
  SharedOutcome() = default;
  SharedOutcome(JobOutcome outcome);  // NOLINT(google-explicit-constructor)

  bool has_value() const { return value_ != nullptr; }
  explicit operator bool() const { return has_value(); }
  const JobOutcome* get() const { return value_.get(); }
  const JobOutcome& operator*() const { return *value_; }
  const JobOutcome* operator->() const { return value_.get(); }
  operator std::optional<JobOutcome>() const {  // NOLINT(google-explicit-constructor)
    return has_value() ? std::optional<JobOutcome>(*value_) : std::nullopt;
  }

  friend bool operator==(const SharedOutcome& a, const SharedOutcome& b) {
    return a.value_ == b.value_ || (a.has_value() && b.has_value() && *a == *b);
  }
  friend bool operator==(const SharedOutcome& a, const std::optional<JobOutcome>& b) {
    return a.has_value() == b.has_value() && (!a.has_value() || *a == *b);
  }

 private:
  // Those that most jobs have are objects that live forever: such a pointer counts nothing.
  std::shared_ptr<const JobOutcome> value_;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_OUTCOME_H_
