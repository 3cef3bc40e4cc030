// SPDX-License-Identifier: Apache-2.0
//
// What a job spends its time on: accounted at its transitions and when pause reasons come and go, all under
// job_mutex; driver code pays nothing.

#include "job-common/job_times.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "job/job_account.h"
#include "job/job_ops.h"
#include "job/rate_estimate.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

// Entered from the job's own code, which may have run for long since its loop's turn began.
bool FollowsDriverCode(JobStatus to) {
  return to == JobStatus::kReady || IsPaused(to) || to == JobStatus::kWaiting || to == JobStatus::kAborting ||
         to == JobStatus::kConcluded;
}

}  // namespace

TimePoint JobOps::Now(const JobCore& core) {
  // A loop's cached time saves a clock read; it is the current one only inside of a callback.
  const AioContext* here = AioContext::Current();
  const bool cached =
      here != nullptr && AioContext::CurrentCallback() != nullptr && &here->clock() == &core.main_context_->clock();
  if (!cached) return ReadClock(core);
  return core.latest_time_ = std::max(core.latest_time_, here->now());
}

// Once per critical section: those are short, and no driver's code runs in them.
TimePoint JobOps::ReadClock(const JobCore& core) {
  if (!std::exchange(core.clock_read_, true)) {
    core.latest_time_ = std::max(core.latest_time_, core.main_context_->clock().Now());
  }
  return core.latest_time_;
}

internal::JobAccount& JobOps::Account(Job& job) {
  if (job.account_ == nullptr) job.account_ = std::make_unique<internal::JobAccount>();
  return *job.account_;
}

Nanoseconds& JobOps::TimeIn(Job& job, JobStatus status) {
  if (status == JobStatus::kRunning) return job.running_time_;
  if (internal::JobAccount::Keeps(status)) return Account(job).TimeIn(status);
  return job.in_status_[static_cast<size_t>(status) - Job::kFirstTimed];
}

TimePoint JobOps::AccountTransition(Job& job, JobStatus from, JobStatus to) {
  const TimePoint now = FollowsDriverCode(to) ? ReadClock(job.core_) : Now(job.core_);
  const TimePoint since = std::exchange(job.status_since_, now);
  if (from == JobStatus::kUndefined) {
    job.created_at_ = now;
  } else if (from == JobStatus::kCreated) {
    job.left_created_at_ = now;
  } else {
    TimeIn(job, from) += now - since;
    if (to == JobStatus::kConcluded) job.has_concluded_ = true;
    if (IsPaused(to) || IsCompleted(to)) job.rate_.reset();
  }
  return now;
}

void JobOps::GetTimes(const Job& job, TimePoint now, JobTimes& times) {
  const auto instant = [&core = job.core_](TimePoint time) { return Instant{time, core.WallTimeOf(time)}; };
  times.created = instant(job.created_at_);
  times.started.reset();
  times.concluded.reset();
  if (job.started_) times.started = instant(job.left_created_at_);
  if (job.has_concluded_) {  // when it had spent its time in all states before
    const Nanoseconds in_concluded = job.in_status_[static_cast<size_t>(JobStatus::kConcluded) - Job::kFirstTimed];
    times.concluded = instant(job.status_since_ - in_concluded);
  }
  static constexpr std::array<Nanoseconds, 3> kNone{};
  const internal::JobAccount* const account = job.account_.get();
  const auto& [paused, ready, standby] = account != nullptr ? account->in_status : kNone;
  const auto& [waiting, pending, aborting, concluded] = job.in_status_;
  const Nanoseconds created = job.status_ != JobStatus::kCreated ? job.left_created_at_ - job.created_at_ : kNone[0];
  times.in_status = {kNone[0], created, job.running_time_, paused,    ready,   standby,
                     waiting,  pending, aborting,          concluded, kNone[0]};
  if (job.status_ != JobStatus::kNull) times.in_status[static_cast<size_t>(job.status_)] += now - job.status_since_;
  if (account != nullptr) {
    account->reasons.CopyTimesTo(now, times.pauses);
  } else if (!times.pauses.empty()) {
    times.pauses.clear();
  }
  times.throttled = job.throttling_ != nullptr ? ThrottledTime(job) : Nanoseconds(0);
  times.waiting = WaitingTime(job, times, now);
}

double JobOps::Rate(const Job& job, TimePoint now, const ProgressSnapshot& progress, const JobTimes& times) {
  if (job.status_ != JobStatus::kRunning && job.status_ != JobStatus::kReady) return 0;
  if (job.rate_ == nullptr) job.rate_ = std::make_unique<internal::RateEstimate>();
  return job.rate_->Update(now, progress.current, times.Running());
}

bool JobOps::HasReason(const Job& job, std::string_view reason) {
  return job.account_ != nullptr && job.account_->reasons.contains(reason);
}

void JobOps::VoidReasons(Job& job) {
  if (job.account_ != nullptr) job.account_->reasons.Clear(Now(job.core_));
}

WallTime JobCore::WallTimeOf(TimePoint time) const { return created_.wall + (time - created_.time); }

}  // namespace jobcore::inline JOBCORE_ABI
