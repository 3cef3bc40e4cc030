// SPDX-License-Identifier: Apache-2.0
//
// NewImage: an image file that goes away again unless it is kept.

#ifndef JOBCORE_TOOLS_JOBCTL_NEW_IMAGE_H_
#define JOBCORE_TOOLS_JOBCTL_NEW_IMAGE_H_

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "job-common/io_engine.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"

namespace jobctl {

class NewImage {
 public:
  // A hole of `size` bytes, made by a create job. `mode`: as in CreateImageOptions. On a thread that may wait.
  // AlreadyExists, and as that job fails.
  static absl::StatusOr<NewImage> Create(jobcore::JobCore& core, jobcore::IoEngine& engine, std::string filename,
                                         uint64_t size, unsigned mode, bool sync) JOBCORE_EXCLUDES(jobcore::job_mutex);
  NewImage(NewImage&& other) noexcept : filename_(std::move(other.filename_)), file_(other.file_) {
    other.filename_.clear();
  }
  NewImage& operator=(NewImage&&) = delete;
  ~NewImage() { Remove(); }

  void Keep() { filename_.clear(); }
  // Unless somebody has put another file there, or it is kept.
  void Remove();

 private:
  NewImage(std::string filename, const struct stat& file) : filename_(std::move(filename)), file_(file) {}

  std::string filename_;  // empty: nothing to remove
  struct stat file_;
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_NEW_IMAGE_H_
