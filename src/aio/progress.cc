// SPDX-License-Identifier: Apache-2.0

#include "job-common/progress.h"

namespace jobcore::inline JOBCORE_ABI {

std::string_view ProgressUnitName(ProgressUnit unit) {
  switch (unit) {
    case ProgressUnit::kBytes:
      return "bytes";
    case ProgressUnit::kItems:
      return "items";
    case ProgressUnit::kSteps:
      return "steps";
  }
  return "unknown";
}

}  // namespace jobcore::inline JOBCORE_ABI
