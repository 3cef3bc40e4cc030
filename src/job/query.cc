// SPDX-License-Identifier: Apache-2.0
//
// A page of records is filled in under the mutex, so it has to be quick: nothing is allocated that the records have
// room for already.

#include "job-monitor/job_query.h"

#include <algorithm>
#include <optional>
#include <span>

#include "job/job_account.h"
#include "job/job_ops.h"
#include "job/rate_estimate.h"

namespace jobcore::inline JOBCORE_ABI {

void JobOps::GetInfo(const Job& job, TimePoint now, monitor::JobInfo& info) {
  info.id = job.id_;
  info.number = job.number_;
  info.group = GroupOf(job);
  // Most jobs are as the one before that the record is of.
  if (info.type != job.type_) info.type = job.type_;
  if (const std::string& context = job.context().name(); info.context != context) info.context = context;
  info.status = job.status_;
  if (job.account_ != nullptr) {
    job.account_->reasons.CopyTo(info.pause_reasons);
  } else if (!info.pause_reasons.empty()) {
    info.pause_reasons.clear();
  }
  info.cancelling = job.word_.cancel_requested();
  info.auto_finalize = job.auto_finalize_;
  info.auto_dismiss = job.auto_dismiss_;
  info.capabilities = job.capabilities_;
  info.unit = job.progress_.unit();
  info.progress = job.progress_.Get();
  GetTimes(job, now, info.times);
  info.rate = Rate(job, now, info.progress, info.times);
  const bool at_rest = IsReady(job.status_) && info.progress.current == info.progress.total;
  info.eta = at_rest ? std::nullopt : internal::TimeLeft(info.progress, info.rate);
  if (job.outcome_.has_value()) {
    info.outcome = *job.outcome_;
  } else {
    info.outcome.reset();
  }
  if (info.details != job.details_) info.details = job.details_;
  info.speed = job.throttling_ != nullptr ? static_cast<int64_t>(job.throttling_->allowance.speed()) : 0;
  info.io_status = job.io_status_;
  info.last_event = job.last_event_;
  info.status_since = job.status_since_;
}

namespace monitor {
namespace {

struct Filled {
  size_t count;
  bool more;  // jobs older than these
};

// Fills in `page` from the cursor on, newest first.
Filled Fill(const JobCore& core, QueryCursor& cursor, std::span<JobInfo> page)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
  const auto& jobs = JobOps::Jobs(core);
  const TimePoint now = JobOps::Now(core);
  const auto oldest = jobs.begin();
  auto next = jobs.LowerBound(cursor.before);
  size_t count = 0;
  for (; next != oldest && count < page.size(); ++count) {
    --next;
    cursor.before = next->number;
    JobOps::GetInfo(*next->job, now, page[count]);
  }
  return {.count = count, .more = next != oldest};
}

}  // namespace

JobInfo Query(const Job& job) {
  job.core().mutex().AssertHeld("monitor::Query");
  JobInfo info;
  JobOps::GetInfo(job, JobOps::Now(job.core()), info);
  return info;
}

void QueryPage(const JobCore& core, QueryCursor& cursor, std::vector<JobInfo>& page, size_t max) {
  core.mutex().AssertHeld("monitor::QueryPage");
  page.resize(std::min({max, kMaxPage, core.job_count()}));
  page.resize(Fill(core, cursor, page).count);
}

std::vector<JobInfo> QueryPage(const JobCore& core, QueryCursor& cursor, size_t max) {
  std::vector<JobInfo> page;
  QueryPage(core, cursor, page, max);
  return page;
}

void SnapshotJobs(JobCore& core, std::vector<JobInfo>& all) {
  size_t size;
  {
    JobLock lock(core);
    size = core.job_count();
  }
  all.reserve(size + kMaxPage);
  QueryCursor cursor;
  size = 0;
  for (bool more = true; more;) {
    // The records are made while the mutex is free; no sooner than they are needed, so that they are still in the
    // cache.
    if (all.size() < size + kMaxPage) all.resize(size + kMaxPage);
    JobLock lock(core);
    const Filled page = Fill(core, cursor, std::span(all).subspan(size, kMaxPage));
    size += page.count;
    more = page.more;
  }
  all.resize(size);
}

std::vector<JobInfo> SnapshotJobs(JobCore& core) {
  std::vector<JobInfo> all;
  SnapshotJobs(core, all);
  return all;
}

}  // namespace monitor
}  // namespace jobcore::inline JOBCORE_ABI
