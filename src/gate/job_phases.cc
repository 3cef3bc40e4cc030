// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/job_phases.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gate/text.h"

namespace jobcore::inline JOBCORE_ABI::gate {
namespace {

std::string Followers(const KindInfo& kind, PhaseNumber from) {
  std::string names;
  for (size_t i = 0; i < kind.phases.size(); ++i) {
    if (kind.HasEdge(from, static_cast<PhaseNumber>(i))) {
      absl::StrAppend(&names, names.empty() ? "" : ", ", View(kind.phases[i].name));
    }
  }
  return names.empty() ? "nothing" : names;
}

}  // namespace

absl::Status CheckEdge(AsyncKind kind, PhaseNumber from, PhaseNumber to) {
  const KindInfo& info = InfoOf(kind);
  if (info.HasEdge(from, to)) return absl::OkStatus();
  if (from >= info.phases.size() || to >= info.phases.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", View(info.name()), "' has no phase number ", from >= info.phases.size() ? from : to));
  }
  // The words that are known for it, where there are any.
  if (info.refused_beside_itself && to < from) {
    return absl::FailedPreconditionError(absl::StrCat(
        "migration protocol going backwards ", View(info.phases[from].name), " => ", View(info.phases[to].name)));
  }
  return absl::FailedPreconditionError(absl::StrCat("'", View(info.name()), "' does not go from phase ",
                                                    View(info.phases[from].name), " to ", View(info.phases[to].name),
                                                    ", but to ", Followers(info, from)));
}

}  // namespace jobcore::inline JOBCORE_ABI::gate
