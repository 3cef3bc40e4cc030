// SPDX-License-Identifier: Apache-2.0
//
// `jobctl backup`: runs backups as jobs of this process, shows them, and ends when they have.

#ifndef JOBCORE_TOOLS_JOBCTL_BACKUP_COMMAND_H_
#define JOBCORE_TOOLS_JOBCTL_BACKUP_COMMAND_H_

#include <cstddef>
#include <string>
#include <vector>

#include "job-driver/block/file_backup.h"

namespace jobctl {

// What jobctl exits with.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;        // nothing has been written
inline constexpr int kExitCancelled = 130;  // as if ended by SIGINT

struct BackupCommand {
  std::vector<std::string> paths;  // source, target, source, target, …
  bool group = false;              // all or nothing
  bool ask_to_finalize = false;
  bool force = false;
  bool sync = true;  // targets outlive a power failure
  bool json = false;
  int64_t bytes_per_second = 0;  // of each job; 0: no limit
  double watchdog_seconds = 0;   // zero: none
  int io_threads = 1;
  int in_flight = jobcore::FileBackupOptions().in_flight;
  size_t chunk_bytes = jobcore::FileBackupOptions().chunk_bytes;
  enum class Engine { kAuto, kUring, kThreads } engine = Engine::kAuto;
};

// On the main thread of a process that has no other thread yet. Returns the exit status.
int RunBackup(const BackupCommand& command);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_BACKUP_COMMAND_H_
