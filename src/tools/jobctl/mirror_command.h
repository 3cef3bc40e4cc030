// SPDX-License-Identifier: Apache-2.0
//
// `jobctl mirror`: copies images while clients write to them, and switches the clients over to the copies.

#ifndef JOBCORE_TOOLS_JOBCTL_MIRROR_COMMAND_H_
#define JOBCORE_TOOLS_JOBCTL_MIRROR_COMMAND_H_

#include <cstdint>
#include <string>

#include "job-common/error_policy.h"
#include "job-driver/block/mirror.h"
#include "tools/jobctl/session.h"

namespace jobctl {

struct MirrorCommand {
  SessionOptions session = {.in_flight = jobcore::block::MirrorOptions().in_flight};  // `writers` are those, too
  bool force = false;
  bool sync = true;     // targets outlive a power failure
  bool direct = false;  // past the page cache
  jobcore::block::MirrorOptions::CopyMode copy_mode = jobcore::block::MirrorOptions().copy_mode;
  uint64_t granularity = jobcore::block::MirrorOptions().granularity;
  jobcore::OnError on_error = jobcore::OnError::kReport;
  std::string ledger = {};  // file for what was acknowledged to the writers; empty: none
};

// As RunSession.
int RunMirror(const MirrorCommand& command);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_MIRROR_COMMAND_H_
