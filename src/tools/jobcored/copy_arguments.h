// SPDX-License-Identifier: Apache-2.0
//
// The arguments of jobs that copy, and what the library is to be asked for because of them. The checks are those of the
// reference, with its texts.

#ifndef JOBCORE_TOOLS_JOBCORED_COPY_ARGUMENTS_H_
#define JOBCORE_TOOLS_JOBCORED_COPY_ARGUMENTS_H_

#include "absl/status/statusor.h"
#include "job-common/job_mutex.h"
#include "job-driver/block/backup.h"
#include "job-driver/block/mirror.h"
#include "job-driver/job_driver.h"
#include "qmp/arguments.h"
#include "qmp/schema.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {

extern const jobcore::qmp::Type kBackupArguments;
extern const jobcore::qmp::Type kMirrorArguments;

template <typename Options>
struct CopyRequest {
  jobcore::JobSpec spec;
  Options options;
};

absl::StatusOr<CopyRequest<jobcore::block::BackupOptions>> ReadBackup(Daemon& daemon, jobcore::qmp::Arguments args)
    JOBCORE_EXCLUDES(jobcore::job_mutex);
absl::StatusOr<CopyRequest<jobcore::block::MirrorOptions>> ReadMirror(Daemon& daemon, jobcore::qmp::Arguments args)
    JOBCORE_EXCLUDES(jobcore::job_mutex);

// What all commands that start jobs take: "job-id", "speed", "auto-finalize", "auto-dismiss".
absl::StatusOr<jobcore::JobSpec> ReadJobSpec(jobcore::qmp::Arguments args);

// "Cannot find device='x' nor node-name='x'"
absl::StatusOr<NodeRegistry::NodePtr> FindNode(Daemon& daemon, const std::string& name);

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_COPY_ARGUMENTS_H_
