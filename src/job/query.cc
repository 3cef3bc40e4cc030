// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/job_query.h"

#include <algorithm>

#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI::monitor {

JobInfo Query(const Job& job) {
  job.core().mutex().AssertHeld("monitor::Query");
  return JobOps::Info(job, JobOps::Now(job.core()));
}

std::vector<JobInfo> QueryPage(const JobCore& core, QueryCursor& cursor, size_t max) {
  core.mutex().AssertHeld("monitor::QueryPage");
  max = std::min(max, kMaxPage);
  std::vector<JobInfo> page;
  const auto& jobs = JobOps::Jobs(core);
  page.reserve(std::min(max, jobs.size()));
  const TimePoint now = JobOps::Now(core);
  auto next = jobs.lower_bound(cursor.before);
  while (next != jobs.begin() && page.size() < max) {
    --next;
    cursor.before = next->first;
    page.push_back(JobOps::Info(*next->second, now));
  }
  return page;
}

std::vector<JobInfo> SnapshotJobs(JobCore& core) {
  std::vector<JobInfo> all;
  QueryCursor cursor;
  for (;;) {
    std::vector<JobInfo> page;
    {
      JobLock lock(core);
      page = QueryPage(core, cursor);
    }
    const bool end = page.size() < kMaxPage;
    all.insert(all.end(), std::make_move_iterator(page.begin()), std::make_move_iterator(page.end()));
    if (end) return all;
  }
}

}  // namespace jobcore::inline JOBCORE_ABI::monitor
