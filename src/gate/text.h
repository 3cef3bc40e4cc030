// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_GATE_TEXT_H_
#define JOBCORE_GATE_TEXT_H_

#include <string_view>

#include "absl/strings/string_view.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::gate {

// Abseil 20220623 has a string_view of its own.
inline absl::string_view View(std::string_view s) { return {s.data(), s.size()}; }

}  // namespace jobcore::inline JOBCORE_ABI::gate

#endif  // JOBCORE_GATE_TEXT_H_
