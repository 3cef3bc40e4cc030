// SPDX-License-Identifier: Apache-2.0

#include "job/cancel_watch.h"

#include <utility>

#include "aio/probe.h"
#include "job-common/job_core.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {

namespace internal {

void CancelWatch::Add(uint64_t job) {
  queue_.push_back({SaturatingAdd(core_.main_context().clock().Now(), delay_), job});
  if (running_++ == 0) PostRun();
}

void CancelWatch::CountOff() {
  if (--running_ != 0) return;
  queue_.clear();
  PostRun();
}

void CancelWatch::PostRun() {
  if (std::exchange(posted_, true)) return;
  JobOps::Defer(core_, core_.main_context(), *this);
}

void CancelWatch::Run(WorkItem& item, Reason reason) {
  CancelWatch& self = static_cast<CancelWatch&>(item);
  if (reason == Reason::kDrop) return;
  {
    JobLock lock(self.core_);
    self.posted_ = false;
  }
  self.Look();
}

void CancelWatch::Look() {
  AioContext& main = core_.main_context();
  const TimePoint now = main.clock().Now();
  TimePoint next = kNoDeadline;
  const std::vector<ListedWait> waits = main.wait_domain().List();  // to name what jobs wait for
  bool more = true;
  while (more) {
    JobLock lock(core_);
    more = LookAtSome(now, next, waits);
  }
  if (next == kNoDeadline) {
    if (timer_ != nullptr) timer_->Disarm();
    return;
  }
  if (timer_ == nullptr) {
    timer_ =
        std::make_unique<AioTimer>(main, "watch of cancelled jobs", [this]() JOBCORE_EXCLUDES(job_mutex) { Look(); });
  }
  timer_->ArmAt(next);
}

bool CancelWatch::LookAtSome(TimePoint now, TimePoint& next, const std::vector<ListedWait>& waits) {
  constexpr int kMost = 64;
  for (int i = 0; i < kMost; ++i) {
    if (queue_.empty()) return false;
    const Entry first = queue_.front();
    if (JobOps::IsWatched(core_, first.job)) {
      if (first.deadline > now) {
        next = first.deadline;
        return false;
      }
      queue_.pop_front();
      JobOps::ReportUnresponsive(core_, first.job, waits);
    } else {
      queue_.pop_front();
    }
  }
  return true;
}

}  // namespace internal

void JobOps::WatchCancelled(Job& job) {
  internal::CancelWatch& watch = *job.core_.cancel_watch_;
  if (job.internal() || !watch.enabled()) return;
  job.watched_ = true;
  watch.Add(job.number_);
}

void JobOps::UnwatchCancelled(Job& job) {
  if (std::exchange(job.watched_, false)) job.core_.cancel_watch_->CountOff();
}

bool JobOps::IsWatched(JobCore& core, uint64_t job) {
  const Job* const found = core.jobs_.Find(job);
  return found != nullptr && found->watched_;
}

void JobOps::ReportUnresponsive(JobCore& core, uint64_t number, const std::vector<ListedWait>& waits) {
  internal::Reached("watch.unresponsive");
  Job& job = *core.jobs_.Find(number);
  JobEvent& event = AppendEvent(job, Now(job.core_));
  event.kind = JobEvent::Kind::kUnresponsive;
  event.waits_for = WaitsFor(job);
  for (const ListedWait& wait : waits) {
    if (wait.chain == &job.run_root_) absl::StrAppend(&event.waits_for, ": '", wait.name, "'");
  }
  UnwatchCancelled(job);
}

}  // namespace jobcore::inline JOBCORE_ABI
