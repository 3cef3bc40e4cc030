// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_TESTING_SHRINK_H_
#define JOBCORE_TESTING_SHRINK_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// The simplest list that this finds on which `fails` still holds: shorter first (what is missing counts as zeros),
// then with more zeros, then with smaller numbers. `give_up` is asked before each try.
std::vector<uint32_t> Shrink(std::vector<uint32_t> list, absl::FunctionRef<bool(const std::vector<uint32_t>&)> fails,
                             absl::FunctionRef<bool()> give_up);

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_TESTING_SHRINK_H_
