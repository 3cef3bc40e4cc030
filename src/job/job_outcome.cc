// SPDX-License-Identifier: Apache-2.0

#include "job-common/job_outcome.h"

#include <algorithm>
#include <array>
#include <memory>
#include <span>
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

namespace {

// The outcomes of most jobs: of each there is one object.
std::span<const JobOutcome> Common() {
  static const auto& common = *new std::array{JobOutcome::Succeeded(), JobOutcome::Cancelled()};
  return common;
}

}  // namespace

SharedOutcome::SharedOutcome(JobOutcome outcome) {
  const auto common = std::find(Common().begin(), Common().end(), outcome);
  if (common != Common().end()) {
    value_ = std::shared_ptr<const JobOutcome>(std::shared_ptr<void>(), &*common);
  } else {
    value_ = std::make_shared<const JobOutcome>(std::move(outcome));
  }
}

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
