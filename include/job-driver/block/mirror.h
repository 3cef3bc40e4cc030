// SPDX-License-Identifier: Apache-2.0
//
// A mirror job: makes one node the copy of another while clients go on writing to that one, and in the end, if asked
// to, lets them go on with the copy instead.
//
//   const JobSpec spec = {.id = "mirror0"};
//   const block::MirrorOptions options = {.source = disk, .target = copy};
//   absl::StatusOr<JobRef> job = co_await block::CreateMirror(core, spec, options);   // g++-12: no braces in here
//   StartJob(**job);
//   …                                        // READY: the copy lags behind by no more than what is in flight
//   monitor::Complete(**job)                 // switch over: the users of `disk` are users of `copy` from then on
//   monitor::Cancel(**job, kSoft)            // or: a copy of one moment, and nobody is switched
//
// Nothing that was acknowledged to a client is lost by the switch. What is written until then is tracked, in WAITING
// and PENDING, too, where clients go on writing freely. Then, in one drained section, opened by the core before the
// first Prepare of the group: what is still missing is copied, the copy is flushed, and, at the commit, everybody is
// switched. A request that has to wait meanwhile reaches the new node.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_MIRROR_H_
#define JOBCORE_JOB_DRIVER_BLOCK_MIRROR_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "job-common/coroutine.h"
#include "job-common/error_policy.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-driver/block/node.h"
#include "job-driver/job_driver.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI::block {

// How a copy becomes known to those who look for it once this process has gone: under its name, for example.
class MirrorPublisher {
 public:
  virtual ~MirrorPublisher() = default;

  // --- In the core's main context; nobody writes to either node meanwhile ---

  // The copy is whole, and flushed. From the end of this on it is to be found, whatever happens to this process: so
  // what is acknowledged to users who are switched over cannot be lost with it. An error fails the job; then nothing
  // is to be found.
  virtual Co<absl::Status> Publish() = 0;
  // That was too early: the group aborts. As before. Users wait for the end of it; it must not hang.
  virtual Co<void> Revoke() = 0;
};

struct MirrorOptions {
  enum class Sync : unsigned char {
    kFull,  // all of the source
    kNone,  // only what is written from now on: the target has the rest already
  };
  enum class CopyMode : unsigned char {
    kBackground,     // clients do not wait for the target; it lags behind
    kWriteBlocking,  // once a client's write is acknowledged it is in the target, too, if that works
  };

  std::shared_ptr<Node> source = nullptr;
  std::shared_ptr<Node> target = nullptr;  // as large as the source
  Sync sync = Sync::kFull;
  CopyMode copy_mode = CopyMode::kBackground;
  uint64_t granularity = uint64_t{64} << 10;  // bytes; a power of two from 512 to 64 MiB: what is copied at least
  size_t buffer_bytes = size_t{16} << 20;     // in flight at most, but always one piece
  int in_flight = 16;                         // pieces; 1 to 256
  OnError on_source_error = OnError::kReport;
  OnError on_target_error = OnError::kReport;
  bool unmap = true;                                     // zeros of the source become holes of the target
  std::shared_ptr<MirrorPublisher> publisher = nullptr;  // null: the copy can be found anyway
};

// The job begins to track writes in a drained section over the source, which is opened for that, or has been opened by
// the caller: so that several jobs are about the same moment. `spec` needs no resources and no context; these are set:
// it lives where the source does.
//   InvalidArgument      no source or target, both the same or one upon the other, not of one size, bad numbers; the
//                        source is not drained
//   FailedPrecondition   another user is in the way: see EdgeOptions. A node is not source and target of jobs at a
//                        time; several jobs may copy one source
//   and as CreateJob, and DrainedSection::Open
//
// The job: progress counts bytes; what clients write while it runs adds to the total. It is READY when all has been
// copied once and what has been written since fits into buffer_bytes, so however fast clients write, as long as copying
// is faster. A paused one has no request in flight, but for what clients write in write-blocking mode. It can be
// completed unless the users of the source cannot be switched, which the reply says. At its end they wait for what has
// been written since READY, for a flush of it, and until it has been published, but no longer than
// JobSpec::drain_timeout (then the job fails), nor when it is force-cancelled meanwhile. A request that hangs cannot be
// taken back: by then it is decided that nobody is switched, but the job is ABORTING until the request has ended, and
// nothing that it uses goes before. Once a completion has been accepted it switches, though somebody may cancel it
// softly afterwards. Force-cancel, and any failure, leave the source as it was, and the target in part.
absl::StatusOr<JobRef> CreateMirror(JobCore& core, JobSpec spec, const MirrorOptions& options,
                                    const DrainedSection& section) JOBCORE_EXCLUDES(job_mutex);
[[nodiscard]] Co<absl::StatusOr<JobRef>> CreateMirror(JobCore& core, JobSpec spec, MirrorOptions options,
                                                      TimePoint deadline = kNoDeadline) JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_MIRROR_H_
