// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/new_image.h"

#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "block/file_error.h"
#include "job-driver/block/create_image.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_wait.h"

namespace jobctl {

using namespace jobcore;

absl::StatusOr<NewImage> NewImage::Create(JobCore& core, IoEngine& engine, std::string filename, uint64_t size,
                                          unsigned mode, bool sync) {
  auto driver =
      block::MakeCreateImage({.filename = filename, .size = size, .mode = mode, .sync = sync, .engine = &engine});
  if (!driver.ok()) return driver.status();
  const absl::StatusOr<JobRef> job = CreateJob(core, {.internal = true}, *std::move(driver));
  if (!job.ok()) return job.status();
  StartJob(**job).IgnoreError();
  const absl::StatusOr<JobOutcome> outcome = monitor::WaitFor(*job);
  if (!outcome.ok()) return outcome.status();
  if (!outcome->succeeded()) return outcome->ToStatus();
  struct stat file{};
  if (stat(filename.c_str(), &file) != 0) return internal::FileError("cannot look at", filename, errno);
  return NewImage(std::move(filename), file);
}

void NewImage::Remove() {
  struct stat now{};
  if (filename_.empty() || lstat(filename_.c_str(), &now) != 0) return;
  if (now.st_dev == file_.st_dev && now.st_ino == file_.st_ino) unlink(filename_.c_str());
  filename_.clear();
}

}  // namespace jobctl
