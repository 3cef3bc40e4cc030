// SPDX-License-Identifier: Apache-2.0
//
// The arguments of jobs that copy, and what the library is to be asked for because of them. The checks are those of the
// reference, with its texts.

#ifndef JOBCORE_TOOLS_JOBCORED_COPY_ARGUMENTS_H_
#define JOBCORE_TOOLS_JOBCORED_COPY_ARGUMENTS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "job-common/job.h"
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
  int64_t speed = 0;
  Options options;
};

absl::StatusOr<CopyRequest<jobcore::block::BackupOptions>> ReadBackup(Daemon& daemon, jobcore::qmp::Arguments args)
    JOBCORE_EXCLUDES(jobcore::job_mutex);
absl::StatusOr<CopyRequest<jobcore::block::MirrorOptions>> ReadMirror(Daemon& daemon, jobcore::qmp::Arguments args)
    JOBCORE_EXCLUDES(jobcore::job_mutex);

// What all commands that start jobs take: "job-id", "auto-finalize", "auto-dismiss".
absl::StatusOr<jobcore::JobSpec> ReadJobSpec(jobcore::qmp::Arguments args);

// The speed that a new job is to begin with. As clients of the wire expect it, a job that is refused for its speed has
// been there for a moment: they see it created, and gone.
absl::Status SetFirstSpeed(Daemon& daemon, jobcore::Job& job, int64_t speed) JOBCORE_EXCLUDES(jobcore::job_mutex);

// "Cannot find device='x' nor node-name='x'"
absl::StatusOr<NodeRegistry::NodePtr> FindNode(Daemon& daemon, const std::string& name);

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_COPY_ARGUMENTS_H_
