// SPDX-License-Identifier: Apache-2.0
//
// A backup job: copies one regular file, such as a disk image, to a new file.
//
//   absl::StatusOr<std::unique_ptr<JobDriver>> backup =
//       MakeFileBackup({.source = "disk0.img", .target = "/backup/disk0.img", .engine = engine.get()});
//   if (!backup.ok()) return backup.status();              // bad input; nothing has been written
//   CreateJob(core, {.id = "disk0", .context = &io.context()}, *std::move(backup));
//
// The target appears under its name at the commit of the job's group, complete and on stable storage (`sync`), or not
// at all. Until then the copy is a hidden file beside it, `.<name>.jobcore-XXXXXX`, which a job that ends by
// itself always takes along; only a killed process leaves one behind.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_FILE_BACKUP_H_
#define JOBCORE_JOB_DRIVER_BLOCK_FILE_BACKUP_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

struct FileBackupOptions {
  std::string source = {};
  std::string target = {};               // a file's name, not a directory's
  bool force = false;                    // replaces a target that exists (a symbolic link itself)
  int in_flight = 4;                     // chunks copied at the same time: 1 to kMaxInFlight
  size_t chunk_bytes = size_t{1} << 20;  // kMinChunkBytes to kMaxChunkBytes
  IoEngine* engine = nullptr;            // does the I/O; outlives the job
  bool copy_offload = true;              // lets the engine copy; false: reads and writes
  bool sync = true;                      // false: for copies that need not outlive a power failure

  static constexpr int kMaxInFlight = 256;
  static constexpr size_t kMinChunkBytes = 4096;
  static constexpr size_t kMaxChunkBytes = size_t{64} << 20;
  static constexpr size_t kSyncWindow = size_t{32} << 20;  // bytes; see `sync` below
};

// Checks all that can be checked beforehand, opens the source and the target's directory, and writes nothing.
// Any thread; may block for a moment.
//   NotFound            the source or the target's directory is missing
//   InvalidArgument     source or target is a directory, a device, …; both are the same file; bad numbers
//   AlreadyExists       the target exists, without `force`
//   PermissionDenied    the source cannot be read, or the directory not be written
//   ResourceExhausted   the target's file system has not as much room as the source takes
//
// The job: progress counts bytes of data; holes of the source are not read, and are holes of the target. It
// holds up to in_flight × chunk_bytes of memory while it runs, if it has to read and write by itself. A paused one
// has no request in flight. It fails if the source changes meanwhile (size or time of modification). Of the mode, the
// permission bits are copied. Force-cancel ends it after the requests in flight; a soft cancel does the same. It
// publishes the details "source", "target" and "temporary" (the hidden file).
//
// With `copy_offload`, the engine copies (CopyRange): file servers by themselves, where they can; and file systems that
// can (XFS, Btrfs, …) let the target share the source's blocks until either is written to: quick, but not a second copy
// on the medium. Where that fails, the job falls back to reading and writing.
//
// With `sync`, the kernel begins to write each chunk to the medium when it has been copied. When kSyncWindow bytes more
// have been copied, the job waits until the chunk has been written, and takes it out of the page cache. So the copy
// never fills the page cache at others' expense, progress is never far ahead of the medium, and Prepare has little to
// wait for; whoever reads the target afterwards reads it from the medium. (Where the kernel cannot do so, Prepare
// writes all.) Commit syncs the directory. Without `sync`, the target is complete for all who read it, but after a
// crash of the system or a power failure it may be there without its content.
absl::StatusOr<std::unique_ptr<JobDriver>> MakeFileBackup(FileBackupOptions options);

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_DRIVER_BLOCK_FILE_BACKUP_H_
