// SPDX-License-Identifier: Apache-2.0
//
// Looking at jobs. One record is consistent in itself; a page of records is taken in one critical section; all
// jobs are taken page by page, so that no query, however long, stalls a job.

#ifndef JOBCORE_JOB_MONITOR_JOB_QUERY_H_
#define JOBCORE_JOB_MONITOR_JOB_QUERY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "job-common/clock.h"
#include "job-common/error_policy.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/job_outcome.h"
#include "job-common/job_status.h"
#include "job-common/job_times.h"
#include "job-common/progress.h"

namespace jobcore::inline JOBCORE_ABI::monitor {

struct JobInfo {
  std::string id;
  uint64_t number = 0;
  uint64_t group = 0;  // jobs with the same number here succeed or fail together
  std::string type;
  std::string context;  // name of the AioContext in which its driver runs
  JobStatus status = JobStatus::kUndefined;
  std::vector<std::string> pause_reasons;
  bool cancelling = false;  // a cancel, soft or force, has been asked for
  bool auto_finalize = true;
  bool auto_dismiss = true;
  ReadyCapabilities capabilities;  // once it has become ready
  ProgressUnit unit = ProgressUnit::kBytes;
  ProgressSnapshot progress;
  // Units per second, of late: over the last second or two, if it is looked at that often; else since it was looked
  // at before; at first, and again after a pause, over the whole time that it ran. 0 unless it runs.
  double rate = 0;
  // How long the rest will take at that rate; none: unknown, or nothing is left of a job that is ready.
  std::optional<Nanoseconds> eta;
  std::optional<JobOutcome> outcome;
  std::shared_ptr<const JobDetails> details;  // null: none
  int64_t speed = 0;                          // limit in units per second; 0: none
  IoStatus io_status = IoStatus::kOk;         // why it has been stopped by an error
  uint64_t last_event = 0;                    // sequence number of the last event of this job that is included here
  TimePoint status_since{};                   // on the clock of the core's main context
  JobTimes times;
};

// One job.
JobInfo Query(const Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// Newest first, as the reference lists them. Value-initialised: before the newest.
struct QueryCursor {
  uint64_t before = UINT64_MAX;  // creation number
};
inline constexpr size_t kMaxPage = 64;

// Up to `max` (at most kMaxPage) visible jobs older than the cursor, which advances; fewer than that: the end.
// A job that lives throughout a walk with one cursor is seen exactly once.
std::vector<JobInfo> QueryPage(const JobCore& core, QueryCursor& cursor, size_t max = kMaxPage)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
// The same in place of what `page` holds, with its memory: who looks again and again allocates next to nothing.
void QueryPage(const JobCore& core, QueryCursor& cursor, std::vector<JobInfo>& page, size_t max = kMaxPage)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// All visible jobs, newest first; takes the mutex for a page at a time. Each record is as of the moment of its
// page (see JobInfo::last_event).
std::vector<JobInfo> SnapshotJobs(JobCore& core) JOBCORE_EXCLUDES(job_mutex);
// The same in place of what `all` holds, with its memory.
void SnapshotJobs(JobCore& core, std::vector<JobInfo>& all) JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::monitor

#endif  // JOBCORE_JOB_MONITOR_JOB_QUERY_H_
