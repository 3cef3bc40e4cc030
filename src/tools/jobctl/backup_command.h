// SPDX-License-Identifier: Apache-2.0
//
// `jobctl backup`: copies files, such as disk images.

#ifndef JOBCORE_TOOLS_JOBCTL_BACKUP_COMMAND_H_
#define JOBCORE_TOOLS_JOBCTL_BACKUP_COMMAND_H_

#include <cstddef>

#include "job-driver/block/file_backup.h"
#include "tools/jobctl/session.h"

namespace jobctl {

struct BackupCommand {
  SessionOptions session = {.in_flight = jobcore::FileBackupOptions().in_flight};
  bool force = false;
  bool sync = true;  // targets outlive a power failure
  size_t chunk_bytes = jobcore::FileBackupOptions().chunk_bytes;
};

// As RunSession.
int RunBackup(const BackupCommand& command);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_BACKUP_COMMAND_H_
