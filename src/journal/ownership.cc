// SPDX-License-Identifier: Apache-2.0

#include "job-journal/ownership.h"

#include "absl/strings/str_cat.h"

namespace jobcore::inline JOBCORE_ABI::journal {

absl::StatusOr<FencingToken> LocalOwnership::Claim(std::string_view object) {
  if (journal_.read_only()) {
    return absl::FailedPreconditionError(
        absl::StrCat("object '", std::string(object), "': a journal that can only be read owns nothing"));
  }
  if (absl::Status owned = journal_.CheckOwned(); !owned.ok()) return owned;
  return FencingToken{journal_.epoch()};
}

absl::Status LocalOwnership::Check(std::string_view object, FencingToken token) const {
  if (token.value != journal_.epoch()) {
    return absl::AbortedError(absl::StrCat("object '", std::string(object), "' is not owned with token ", token.value,
                                           ": this is epoch ", journal_.epoch()));
  }
  return journal_.CheckOwned();
}

// The lock file goes with the journal, not with an object.
absl::Status LocalOwnership::Release(std::string_view, FencingToken) { return absl::OkStatus(); }

}  // namespace jobcore::inline JOBCORE_ABI::journal
