// SPDX-License-Identifier: Apache-2.0
//
// `jobctl --connect SOCKET watch`: shows the jobs of a daemon until those that were asked for have ended.

#ifndef JOBCORE_TOOLS_JOBCTL_WATCH_COMMAND_H_
#define JOBCORE_TOOLS_JOBCTL_WATCH_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/jobctl/qmp_client.h"

namespace jobctl {

struct WatchOptions {
  std::vector<std::string> ids = {};  // empty: all jobs, for ever
  bool complete_ready = false;        // those of them that get ready are told to complete
};

// The exit status: how the jobs have ended, the worst of them. NotFound: there is no such job, and there was none.
absl::StatusOr<int> Watch(QmpClient& client, const WatchOptions& options);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_WATCH_COMMAND_H_
