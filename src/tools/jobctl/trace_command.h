// SPDX-License-Identifier: Apache-2.0
//
// `jobctl --connect SOCKET trace`: what jobs have been at, and what threads have run, as time lines for Perfetto.

#ifndef JOBCORE_TOOLS_JOBCTL_TRACE_COMMAND_H_
#define JOBCORE_TOOLS_JOBCTL_TRACE_COMMAND_H_

#include <string>

#include "absl/status/status.h"
#include "tools/jobctl/qmp_client.h"

namespace jobctl {

// Of what the daemon still knows. Unimplemented: it does not number its events, and so keeps none.
absl::Status WriteTrace(QmpClient& client, const std::string& filename);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_TRACE_COMMAND_H_
