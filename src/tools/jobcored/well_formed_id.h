// SPDX-License-Identifier: Apache-2.0
//
// What the names of nodes, objects and exports look like on the wire: as those of jobs.

#ifndef JOBCORE_TOOLS_JOBCORED_WELL_FORMED_ID_H_
#define JOBCORE_TOOLS_JOBCORED_WELL_FORMED_ID_H_

#include <algorithm>
#include <string_view>

#include "absl/strings/ascii.h"

namespace jobcored {

// A letter, then letters, digits, '-', '.', '_'.
inline bool IsWellFormedId(std::string_view id) {
  if (id.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(id.front()))) return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_WELL_FORMED_ID_H_
