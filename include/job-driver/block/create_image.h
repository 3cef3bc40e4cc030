// SPDX-License-Identifier: Apache-2.0
//
// A create job: makes an image file of some size, for file nodes to open.
//
//   absl::StatusOr<std::unique_ptr<JobDriver>> create =
//       MakeCreateImage({.filename = "disk1.img", .size = uint64_t{10} << 30, .engine = engine.get()});
//   if (!create.ok()) return create.status();              // bad input
//   CreateJob(core, {.id = "create1", .context = &io.context()}, *std::move(create));
//
// The image appears under its name at the commit of the job's group, as it is to be, or not at all; until then it is a
// hidden file beside it, as that of a backup (file_backup.h).

#ifndef JOBCORE_JOB_DRIVER_BLOCK_CREATE_IMAGE_H_
#define JOBCORE_JOB_DRIVER_BLOCK_CREATE_IMAGE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::block {

struct CreateImageOptions {
  enum class Preallocation : unsigned char {
    kOff,     // a hole: room is taken when it is written to
    kFalloc,  // room for all of it is set aside
    kFull,    // zeros are written
  };

  std::string filename = {};
  uint64_t size = 0;  // bytes, to 2^63 - 1
  Preallocation preallocation = Preallocation::kOff;
  unsigned mode = 0666;        // permissions, less the process's umask
  bool replace = false;        // an image that exists, and that nobody uses
  bool sync = true;            // false: need not outlive a power failure
  IoEngine* engine = nullptr;  // does the I/O; outlives the job
};

// InvalidArgument: no file name, no engine, a size that no file can have. Any thread; touches no file.
//
// The job finds out the rest when it runs, and fails with
//   NotFound, PermissionDenied, …  the directory cannot be written to
//   AlreadyExists                  there is such a file, without `replace`
//   InvalidArgument                the name is that of a directory, a device, …
//   FailedPrecondition             `replace`: a process, or a node, uses the image
//   ResourceExhausted              no room for what is to be preallocated
//   Unimplemented                  kFalloc: the file system cannot set room aside
// Progress counts bytes that are preallocated. A replaced image keeps nothing of what it was.
absl::StatusOr<std::unique_ptr<JobDriver>> MakeCreateImage(CreateImageOptions options);

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_CREATE_IMAGE_H_
