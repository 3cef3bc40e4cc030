// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/backup_command.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "job-driver/job_driver.h"
#include "tools/jobctl/work.h"

namespace jobctl {
namespace {

using namespace jobcore;

class BackupWork final : public Work {
 public:
  explicit BackupWork(const BackupCommand& command) : command_(command) {}

  std::vector<absl::Status> Open(const Means& means) override {
    core_ = &means.core;
    std::vector<absl::Status> wrong;
    for (const Pair& pair : means.pairs) {
      auto driver = MakeFileBackup({.source = pair.source,
                                    .target = pair.target,
                                    .force = command_.force,
                                    .in_flight = command_.session.in_flight,
                                    .chunk_bytes = command_.chunk_bytes,
                                    .engine = &means.engine,
                                    .sync = command_.sync});
      if (driver.ok()) {
        drivers_.push_back(*std::move(driver));
      } else {
        wrong.push_back(driver.status());
      }
    }
    return wrong;
  }

  absl::StatusOr<JobRef> CreateJob(size_t index, JobSpec spec) override {
    return jobcore::CreateJob(*core_, spec, std::move(drivers_[index]));
  }

 private:
  const BackupCommand& command_;
  JobCore* core_ = nullptr;
  std::vector<std::unique_ptr<JobDriver>> drivers_;
};

}  // namespace

int RunBackup(const BackupCommand& command) {
  return RunSession(command.session, std::make_unique<BackupWork>(command));
}

}  // namespace jobctl
