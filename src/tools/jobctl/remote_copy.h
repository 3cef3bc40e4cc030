// SPDX-License-Identifier: Apache-2.0
//
// Starting jobs that copy in a daemon: nodes of it to other nodes.

#ifndef JOBCORE_TOOLS_JOBCTL_REMOTE_COPY_H_
#define JOBCORE_TOOLS_JOBCTL_REMOTE_COPY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/jobctl/qmp_client.h"

namespace jobctl {

struct RemoteCopy {
  std::vector<std::string> nodes = {};  // source, target, source, target, …
  bool mirror = false;                  // else a backup
  bool group = false;                   // all or nothing
  bool finalize = true;                 // by themselves
  bool keep = false;                    // concluded jobs stay until they are dismissed
  bool write_blocking = false;          // a mirror's clients wait for the target, too
  int64_t bytes_per_second = 0;         // of each job; 0: no limit
};

// The ids of the jobs: what their targets are called. An error: those before the one that failed have been started,
// unless they are a group.
absl::StatusOr<std::vector<std::string>> StartCopies(QmpClient& client, const RemoteCopy& copy);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_REMOTE_COPY_H_
