// SPDX-License-Identifier: Apache-2.0
//
// The history: what became of jobs, dismissed or not. A record is made in the critical section in which its job
// concludes, so that there is no moment at which a concluded job is in neither list. Jobs that were cancelled before
// they were started have one; abandoned and internal ones do not.
//
// Bounded by JobCore::Options::history_count and history_age; the jobs that concluded first go first.

#ifndef JOBCORE_JOB_MONITOR_JOB_HISTORY_H_
#define JOBCORE_JOB_MONITOR_JOB_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/job_outcome.h"
#include "job-common/job_times.h"
#include "job-common/progress.h"
#include "job-monitor/job_query.h"

namespace jobcore::inline JOBCORE_ABI::monitor {

// A job as it was when it concluded. Immutable: to be read, and kept, without the mutex.
struct JobRecord {
  std::string id;
  uint64_t number = 0;
  uint64_t group = 0;  // jobs with the same number here succeeded or failed together
  std::string type;
  std::string context;  // name of the AioContext in which its driver ran at the end
  bool auto_finalize = true;
  bool auto_dismiss = true;
  JobOutcome outcome;
  ProgressUnit unit = ProgressUnit::kBytes;
  ProgressSnapshot progress;
  std::shared_ptr<const JobDetails> details;  // null: none
  JobTimes times;                             // `concluded` is there
};
using JobRecordPtr = std::shared_ptr<const JobRecord>;

// Null: has not concluded, or is not kept (any more). An id may have been used several times: the job that concluded
// last.
JobRecordPtr FindRecord(JobCore& core, uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
JobRecordPtr FindRecord(JobCore& core, std::string_view id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

// Value-initialised: before the job that concluded last.
struct HistoryCursor {
  uint64_t before = UINT64_MAX;  // in the order in which jobs concluded: 1, 2, 3 …
};

// Up to `max` (at most kMaxPage) records, last concluded first, from the cursor on, which advances; fewer than that:
// the end. A record that is kept throughout a walk with one cursor is seen exactly once.
std::vector<JobRecordPtr> HistoryPage(JobCore& core, HistoryCursor& cursor, size_t max = kMaxPage)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::monitor

#endif  // JOBCORE_JOB_MONITOR_JOB_HISTORY_H_
