// SPDX-License-Identifier: Apache-2.0

#include "job-common/job_outcome.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {

JobOutcome JobOutcome::Failed(const absl::Status& status) {
  const std::string message(status.message().data(), status.message().size());
  return {Kind::kFailed, status.code(), message.empty() ? absl::StatusCodeToString(status.code()) : message};
}

JobOutcome JobOutcome::Cancelled(std::string_view message) {
  return {Kind::kCancelled, absl::StatusCode::kCancelled, std::string(message)};
}

absl::Status JobOutcome::ToStatus() const { return absl::Status(code, message); }

std::string JobOutcome::ToString() const {
  switch (kind) {
    case Kind::kSucceeded:
      return "succeeded";
    case Kind::kCancelled:
      return "cancelled";
    case Kind::kFailed:
      break;
  }
  return absl::StrCat("failed: ", message);
}

namespace internal {
namespace {

const JobOutcome& Success() {
  static const JobOutcome& success = *new JobOutcome();
  return success;
}

}  // namespace

OutcomeSlot& OutcomeSlot::operator=(JobOutcome outcome) {
  const JobOutcome* const value = outcome.succeeded() ? &Success() : new JobOutcome(std::move(outcome));
  Clear();
  value_ = value;
  return *this;
}

void OutcomeSlot::Clear() {
  if (value_ != nullptr && !value_->succeeded()) delete value_;
}

}  // namespace internal

absl::Status StatusFromException(absl::string_view where) {
  try {
    throw;
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat(where, " threw an exception: ", e.what()));
  } catch (...) {
    return absl::InternalError(absl::StrCat(where, " threw something that is not a std::exception"));
  }
}

}  // namespace jobcore::inline JOBCORE_ABI
