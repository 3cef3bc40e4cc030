// SPDX-License-Identifier: Apache-2.0
//
// The paths of a command line as pairs, and names for their jobs.

#ifndef JOBCORE_TOOLS_JOBCTL_PAIRS_H_
#define JOBCORE_TOOLS_JOBCTL_PAIRS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace jobctl {

struct Pair {
  std::string id;  // of the job: the target's name without its extension, made valid and unique
  std::string source;
  std::string target;
};

// InvalidArgument: an odd number, two pairs with one target, a target that is the source of another pair.
absl::StatusOr<std::vector<Pair>> MakePairs(const std::vector<std::string>& paths);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_PAIRS_H_
