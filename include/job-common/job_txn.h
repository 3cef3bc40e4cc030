// SPDX-License-Identifier: Apache-2.0
//
// JobTxn: a group of jobs that succeed together or fail together. Every job is in exactly one; a job created
// without a group has its own.
//
//   JobTxnBuilder group(core);
//   JobRef a = *CreateJob(core, {.id = "a", .group = &group}, …);
//   JobRef b = *CreateJob(core, {.id = "b", .group = &group}, …);
//   RETURN_IF_ERROR(group.Seal());                   // no more members; only now can the group converge
//   StartJob(*a); StartJob(*b);
//
// Two phases, in the main context, one actor per group, members in order of creation, newest first:
//
//   all Runs succeeded ──> WAITING ──> PENDING ──(finalize)──> every Prepare ──┐
//                                                                              ├─ the cut ─> every Commit, Clean
//   any failure, any cancel before the cut ──> ABORTING ───────────────────────┴──────────> every Abort, Clean
//
// The cut is one critical section after the last Prepare. Before it, a cancel or a failing Prepare turns the
// group to abort; after it, cancel is refused. A failing or cancelled member cancels all others at once;
// members that were never started complete without being started.

#ifndef JOBCORE_JOB_COMMON_JOB_TXN_H_
#define JOBCORE_JOB_COMMON_JOB_TXN_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "job-common/aio_context.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"
#include "job-common/verb_reply.h"

namespace jobcore::inline JOBCORE_ABI {

namespace internal {
struct Finaliser;
}

class JobTxn {
 public:
  enum class Phase : unsigned char {
    kOpen,        // members may join
    kSealed,      // members run, and finish
    kFinalizing,  // the finaliser has been posted, or runs; until the cut the group may still abort
    kDecided,     // past the cut: commits, or aborts
    kDone,        // all members have concluded
  };

  // `references`: how many its creator has from the start.
  JobTxn(JobCore& core, uint64_t number, uint32_t references);
  JobTxn(const JobTxn&) = delete;
  JobTxn& operator=(const JobTxn&) = delete;

  uint64_t number() const { return number_; }  // from the same sequence as the numbers of jobs

 private:
  friend class JobOps;
  friend class JobTxnBuilder;

  struct Release {
    void operator()(JobTxn* txn) const {
      if (txn->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete txn;
    }
  };
  using Handle = std::unique_ptr<JobTxn, Release>;

  // --- Constant after creation ---
  JobCore& core_;
  const uint64_t number_;  // that of its only member, if it is part of that one

  // --- Lock-free ---
  // Of the builder and the members; not used where it is part of a job, as whose references then count.
  internal::Atomic<uint32_t> references_;
  // Written under job_mutex; the finaliser looks at it between two hooks.
  std::atomic<bool> aborting_{false};

  // --- Guarded by job_mutex ---
  Phase phase_ ABSL_GUARDED_BY(job_mutex) = Phase::kOpen;
  bool section_open_ ABSL_GUARDED_BY(job_mutex) = false;  // over what its members want to stand still
  uint32_t unfinished_ ABSL_GUARDED_BY(job_mutex) = 0;    // members whose Run has not ended
  // In order of joining; empty when done. Fixed while phase_ is kFinalizing or kDecided.
  absl::InlinedVector<Job*, 1> members_ ABSL_GUARDED_BY(job_mutex);
  // What few groups have.
  struct Extra {
    std::string abort_reason;  // for those who come too late
    std::vector<VerbReply> finalize_replies;
  };
  std::unique_ptr<Extra> extra_ ABSL_GUARDED_BY(job_mutex);  // made on first use
  // While it runs. Set by the finaliser itself, without the mutex; reset, and so used, with it held.
  std::atomic<const internal::Finaliser*> finaliser_{nullptr};
  JobTxn* next_to_finalise_ = nullptr;  // see JobCore::to_finalise_
};

// Builds a group; a handle, whose state lives in the group. Any thread; several threads may create members
// through one builder at the same time (but not move or destroy it meanwhile).
class JobTxnBuilder {
 public:
  explicit JobTxnBuilder(JobCore& core);
  // Unsealed: aborts the group, in the main context soon after. Legal under job_mutex.
  ~JobTxnBuilder();
  JobTxnBuilder(JobTxnBuilder&&) = default;
  JobTxnBuilder& operator=(JobTxnBuilder&&) = delete;

  // The group is complete. Aborted, with the reason, if it has failed or been cancelled meanwhile: its members
  // are then being wound up. FailedPrecondition if it was sealed before.
  absl::Status Seal() JOBCORE_EXCLUDES(job_mutex);

 private:
  friend class JobOps;
  JobTxn::Handle txn_;  // null: moved from
  bool sealed_ = false;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_TXN_H_
