// SPDX-License-Identifier: Apache-2.0
//
// Runs a scenario in a child process, and learns how that ended.

#ifndef JOBCORE_TESTING_CHILD_RUN_H_
#define JOBCORE_TESTING_CHILD_RUN_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "job-common/fwd.h"
#include "job-testing/choices.h"

namespace jobcore::inline JOBCORE_ABI::internal {

struct ChildEnd {
  bool failed = false;
  std::string how;                // as in CampaignFailure
  std::string output;             // of the last run
  uint64_t runs = 0;              // begun
  std::vector<uint32_t> choices;  // of the last run

  // What two failures have in common that are the same one: how it ended, and the first line that says why.
  std::string Signature() const;
};

// Calls `scenario(*next(i))` for i = 0, 1, … until `next` returns null or one run fails. `next`, too, runs in the
// child.
ChildEnd RunInChild(absl::FunctionRef<testing::Choices*(uint64_t run)> next,
                    absl::FunctionRef<void(testing::Choices&)> scenario, std::chrono::milliseconds limit_per_run);

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_TESTING_CHILD_RUN_H_
