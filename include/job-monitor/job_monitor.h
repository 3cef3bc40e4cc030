// SPDX-License-Identifier: Apache-2.0
//
// What a controller of jobs calls. The caller holds job_mutex, so that finding a job and acting on it are one
// step:
//
//   JobLock lock(core);
//   Job* job = monitor::Find(core, "backup0");
//   if (job == nullptr) return absl::NotFoundError("Job not found");
//   return monitor::Pause(*job);
//
// No verb opens a gap in the lock: it validates, records, and lets the rest happen elsewhere, later. Each
// returns FailedPrecondition if the job's state does not allow it; the message begins with the wire text (Job 'j'
// in state 's' cannot accept command verb 'v', unless another is given below) and goes on, after ';', with what
// would work.
//
// Waiting for what a verb leads to, cancelling everything, and shutting down: job_wait.h.

#ifndef JOBCORE_JOB_MONITOR_JOB_MONITOR_H_
#define JOBCORE_JOB_MONITOR_JOB_MONITOR_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/job_status.h"
#include "job-common/verb_reply.h"

namespace jobcore::inline JOBCORE_ABI::monitor {

// The reason of a pause that a person asked for.
inline constexpr std::string_view kUserPause = "user";
// The reason of a pause that an I/O error has led to (JobContext::HandleError).
inline constexpr std::string_view kErrorPause = "error";

// Null: no such job, or it is internal, or it has been dismissed. Constant time.
Job* Find(JobCore& core, std::string_view id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
Job* Find(JobCore& core, uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// The members of a group (JobInfo::group), oldest first; of those, the ones that Find finds. Looks at every job.
std::vector<Job*> FindGroup(JobCore& core, uint64_t group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// The job parks at its next pause point, and stays parked until every reason has been resumed. A sleeping or
// yielding job parks at once. "Job is already paused" if that reason is given already. Reasons that begin with
// "drain:" are the resources' own and can be neither given nor taken back here (InvalidArgument).
absl::Status Pause(Job& job, std::string_view reason = kUserPause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
// Takes one reason back. "Can't resume a job that was not paused" if it was not given. kUserPause, given or not,
// takes kErrorPause with it: a person who resumes a job has seen to its error. Without kErrorPause its io-status is ok.
absl::Status Resume(Job& job, std::string_view reason = kUserPause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// The job goes to `target`, another I/O thread's context or the main one, at its next pause point, once its Pause
// hook has been called; a sleeping, yielding or parked job at once, without leaving its sleep or its pause. No
// event. `reply`: OK when it is there; Cancelled if another Move came first, FailedPrecondition if its Run ended first.
// FailedPrecondition: its Run has ended; `target` has been stopped.
absl::Status Move(Job& job, AioContext& target, VerbReply reply = {}) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// Asks the job to stop; the rest of its group is cancelled with it. Idempotent; force after soft is stronger.
//   not started            kForce, kSoft: aborted at once
//   running or paused      kForce: leaves its pause, its next pause point says Cancelled
//                          kSoft: the same, unless it is ready and can finish consistently: then it does, and
//                          succeeds (a paused one after it has been resumed)
//   waiting or pending     kForce: aborted, with its group. kSoft: the same, but refused if the job could have
//                          been cancelled softly (it has already finished consistently)
//   committing             refused: "Job 'j' is committing"
absl::Status Cancel(Job& job, CancelMode mode = CancelMode::kForce) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// Asks a ready job to finish; a paused one will when it is resumed. `reply` comes from the driver's Complete
// hook, or says that the job finished first.
// "The active block job 'j' cannot be completed" if the driver can't, or a cancel has been asked for.
absl::Status Complete(Job& job, VerbReply reply = {}) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// Asks the driver for a change. `reply` comes from its Change hook, once Run has begun, in the order of requests; or
// says that the job finished or was cancelled first.
absl::Status Change(Job& job, JobOptions options, VerbReply reply = {}) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// Limits the work of the job to so many units per second from now on; 0: no limit. Its driver must ask for leave
// (JobContext::Throttle). InvalidArgument "Parameter 'speed' expects a non-negative value".
absl::Status SetSpeed(Job& job, int64_t units_per_second) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// Finalises the whole group of a pending job. `reply` comes when the group has concluded: OK if it committed,
// Aborted with the reason if not. Joins a finalisation that is under way.
absl::Status Finalize(Job& job, VerbReply reply = {}) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// Forgets a concluded job: its id is free again. `job` is not to be used after this without a JobRef.
absl::Status Dismiss(Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::monitor

#endif  // JOBCORE_JOB_MONITOR_JOB_MONITOR_H_
