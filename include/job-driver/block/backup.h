// SPDX-License-Identifier: Apache-2.0
//
// A backup job: copies a node to another one as it is at one moment, while clients go on writing to it.
//
//   const JobSpec spec = {.id = "backup0"};
//   const block::BackupOptions options = {.source = disk, .target = copy};
//   absl::StatusOr<JobRef> job = co_await block::CreateBackup(core, spec, options);   // the moment
//   StartJob(**job);
//
// From that moment on, a client's write first has what it is about to overwrite copied to the target, unless the job
// has been there already. Several nodes at the same moment: open one section over all of them, and create their jobs,
// in one group or not, before it ends.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_BACKUP_H_
#define JOBCORE_JOB_DRIVER_BLOCK_BACKUP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/error_policy.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-driver/block/node.h"
#include "job-driver/job_driver.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI::block {

struct BackupOptions {
  enum class Sync : unsigned char {
    kFull,    // all of the source
    kBitmap,  // what is dirty in `bitmap`: the target has the rest already, from the backup before
    kNone,    // only what clients are about to overwrite, until the job is cancelled
  };
  // What is dirty in `bitmap` when the job has ended, beside what has been written since its moment, if that is
  // recorded.
  enum class BitmapMode : unsigned char {
    kOnSuccess,  // nothing; if the job has failed, what was dirty before
    kNever,      // what was dirty before: a differential backup. Not with kFull
    kAlways,     // what has not been copied, of what was to be; all of it where the copy could not be flushed,
                 // as that of a job that is force-cancelled
  };
  // What becomes of a client's write if what it overwrites cannot be copied.
  enum class OnCopyError : unsigned char {
    kBreakWrite,   // it fails; the backup stays whole
    kBreakBackup,  // it goes on; the job fails
  };

  std::shared_ptr<Node> source = nullptr;
  std::shared_ptr<Node> target = nullptr;  // as large as the source
  Sync sync = Sync::kFull;
  std::string bitmap = {};  // of the source (node_bitmaps.h): busy with the job as long as that has not ended
  BitmapMode bitmap_mode = BitmapMode::kOnSuccess;
  uint64_t granularity = uint64_t{64} << 10;  // bytes; a power of two from 512 to 64 MiB: what is copied at least
  int in_flight = 16;                         // pieces that the job copies at a time; 1 to 256
  OnError on_source_error = OnError::kReport;
  OnError on_target_error = OnError::kReport;
  OnCopyError on_copy_error = OnCopyError::kBreakWrite;
};

// `section` covers the source: what is in it while that lasts is what is backed up. Otherwise one is opened for that.
// `spec` needs no resources and no context; these are set: it lives where the source does.
//   InvalidArgument      no source or target, both the same or one upon the other, not of one size, bad numbers; the
//                        source is not drained; a bitmap that means nothing to such a job, or is needed and missing
//   NotFound             there is no such bitmap
//   FailedPrecondition   another user is in the way: see EdgeOptions; or the bitmap is busy. A node is not source and
//                        target of jobs at a time; several jobs may copy one source
//   and as CreateJob, and DrainedSection::Open
//
// The job: progress counts bytes. A paused one has no request in flight, but for what clients are about to overwrite.
// When Run ends the copy is complete, and on stable storage; with kNone it has no end of its own, and what it has
// copied is there once it has been cancelled. It cannot be cancelled softly. However it ends, clients that are just
// copying for it do so to the end; as long as they do the target is in use. One that is abandoned (AbandonJob) is over
// for them when the last JobRef has gone.
absl::StatusOr<JobRef> CreateBackup(JobCore& core, JobSpec spec, const BackupOptions& options,
                                    const DrainedSection& section) JOBCORE_EXCLUDES(job_mutex);
[[nodiscard]] Co<absl::StatusOr<JobRef>> CreateBackup(JobCore& core, JobSpec spec, BackupOptions options,
                                                      TimePoint deadline = kNoDeadline) JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_BACKUP_H_
