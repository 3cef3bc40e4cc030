// SPDX-License-Identifier: Apache-2.0
//
// `jobctl --connect SOCKET events`: what happens to the jobs of a daemon, a line for each event.

#ifndef JOBCORE_TOOLS_JOBCTL_EVENTS_COMMAND_H_
#define JOBCORE_TOOLS_JOBCTL_EVENTS_COMMAND_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace jobctl {

struct EventsOptions {
  std::string socket;
  bool json = false;
  uint64_t from = 0;  // number of the first one; 0: from now on
  // Where events are numbered, a lost connection is made again, for so long, and they go on where they stopped.
  std::chrono::seconds retry = std::chrono::seconds(10);
};

// Returns when nothing comes any more: why.
absl::Status ShowEvents(const EventsOptions& options);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_EVENTS_COMMAND_H_
