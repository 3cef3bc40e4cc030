// SPDX-License-Identifier: Apache-2.0
//
// Whoever has started the daemon, such as systemd, and wants to know when it can be used: sd_notify(3).

#ifndef JOBCORE_TOOLS_JOBCORED_SUPERVISOR_H_
#define JOBCORE_TOOLS_JOBCORED_SUPERVISOR_H_

#include <string_view>

#include "absl/status/status.h"

namespace jobcored {

// Sends it to the datagram socket that $NOTIFY_SOCKET names; OK if nobody is interested. `state`: "READY=1", say.
absl::Status NotifySupervisor(std::string_view state);

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_SUPERVISOR_H_
