// SPDX-License-Identifier: Apache-2.0
//
// A file of commands that are carried out before anybody can connect: as monitors send them, one after the other.

#ifndef JOBCORE_TOOLS_JOBCORED_CONFIG_FILE_H_
#define JOBCORE_TOOLS_JOBCORED_CONFIG_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "job-common/job_mutex.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {

// On the main thread, outside of its loop. Stops at the first one that fails; the error says which one, and where it
// is:
//   'start.json', line 3: blockdev-add: Could not open 'a.img': No such file or directory
absl::Status RunConfigFile(Daemon& daemon, const std::string& path) JOBCORE_EXCLUDES(jobcore::job_mutex);

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_CONFIG_FILE_H_
