// SPDX-License-Identifier: Apache-2.0

#include "aio/check.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"

namespace jobcore::inline JOBCORE_ABI::internal {

void Die(absl::string_view message) {
  const std::string line = absl::StrCat("jobcore: ", message, "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);  // one call: lines of two threads do not mix
  std::abort();
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
