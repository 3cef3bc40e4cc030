// SPDX-License-Identifier: Apache-2.0
//
// A job's speed limit: how it is set, by monitors, and how the job waits for it, in its own context. The two meet in
// the job's word. Whoever changes the speed writes the allowance under job_mutex, then the bit *speed changed*, which
// takes the job out of idle; the job consumes the bit, reads the allowance, and only becomes idle if the bit is still
// clear. So no change is missed, and while there is none the job looks at its own copy, without the mutex.

#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/probe.h"
#include "job-monitor/job_monitor.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {

// As IdleAwaiter of gate.cc, until the request may start, or there is something else to look at.
class JobOps::ThrottleAwaiter {
 public:
  explicit ThrottleAwaiter(Job& job) : job_(job) {}
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) {
    return TrySuspendThrottled(job_, CoHandle::Of(self), Job::Suspension::kPlain);
  }
  void await_resume() const { EndThrottledWait(job_); }

 private:
  Job& job_;
};

void JobOps::TakeOverSpeed(Job& job) {
  JobLock lock(job.core_);
  job.throttling_->limit.Adopt(job.throttling_->allowance);
}

// True, and the units are taken: the work may start. Reached from await_suspend, which the compiler calls from where
// clang cannot follow the negative capability (see ParkAwaiter in gate.cc).
bool JobOps::ThrottleIsOver(Job& job, uint64_t units) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (!job.word_.limited()) return true;
  internal::Throttling& t = *job.throttling_;
  t.units = units;
  if (job.word_.ConsumeSpeedChange()) {
    internal::Reached("throttle.speed_changed");
    TakeOverSpeed(job);
  }
  t.looked_at = job.context().clock().Now();
  t.start = t.limit.StartTime(t.looked_at);
  if (t.start > t.looked_at) return false;
  t.limit.Take(t.looked_at, t.units);
  return true;
}

bool JobOps::TrySuspendThrottled(Job& job, CoHandle self, Job::Suspension how) {
  internal::Throttling& t = *job.throttling_;
  if (!TrySuspend(job, self, how, t.start, /*throttled=*/true)) return false;
  t.BeginWait(t.looked_at);
  return true;
}

void JobOps::EndThrottledWait(Job& job) { job.throttling_->EndWait(job.context().clock().Now()); }

bool JobOps::SuspendForThrottle(Job& job, CoHandle self, uint64_t units) {
  if (self.root != &job.run_root_) {
    internal::Die(
        absl::StrCat("job '", job.id_, "': Throttle in a coroutine that Run does not await; put it into Run itself"));
  }
  for (;;) {
    if (job.word_.force_cancelled()) return false;
    if (job.word_.must_halt() && !job.InHook()) {
      job.gate_ = ThrottleOn(job, units);
      job.gate_.StartWithin(*self.root, self.handle);
      return true;
    }
    if (ThrottleIsOver(job, units)) return false;
    if (TrySuspendThrottled(job, self, Job::Suspension::kThrottle)) return true;
  }
}

// Something has woken the job: time, a pause, a change of speed, or somebody whom it does not concern.
void JobOps::ResumeThrottled(Job& job) {
  EndThrottledWait(job);
  const CoHandle self = Suspended(job);
  if (!SuspendForThrottle(job, self, job.throttling_->units)) self.Resume();
}

// A wait that a pause has come into: parks, then waits for what is still owed, as often as it takes.
Co<void> JobOps::ThrottleOn(Job& job, uint64_t units) {
  internal::Reached("throttle.paused");
  for (;;) {
    if (job.word_.must_halt()) {
      Co<void> pause_hook = CallPauseHook(job);
      co_await Gate(job, std::move(pause_hook), kNoDeadline, /*slept=*/true);
      continue;
    }
    if (job.word_.force_cancelled()) co_return;
    if (ThrottleIsOver(job, units)) co_return;
    co_await ThrottleAwaiter(job);
  }
}

Nanoseconds JobOps::ThrottledTime(const Job& job) {
  if (job.throttling_ == nullptr) return Nanoseconds(0);
  const int64_t waited = job.throttling_->waited.load(std::memory_order_relaxed);
  if (waited >= 0) return Nanoseconds(waited);
  return Nanoseconds(waited) + job.context().clock().Now().time_since_epoch();
}

absl::Status JobOps::SetSpeed(Job& job, int64_t speed) {
  if (absl::Status status = CheckVerb(job, JobVerb::kSetSpeed); !status.ok()) return status;
  if (absl::Status status = CheckSpeed(job.id_, speed); !status.ok()) return status;
  ApplySpeed(job, static_cast<uint64_t>(speed));
  return absl::OkStatus();
}

void JobOps::ApplySpeed(Job& job, uint64_t speed) {
  if (speed == (job.throttling_ != nullptr ? job.throttling_->allowance.speed() : 0)) return;
  if (job.throttling_ == nullptr) job.throttling_ = std::make_unique<internal::Throttling>();
  job.throttling_->allowance.SetSpeed(job.context().clock().Now(), speed);
  NoteChange(job.core_);
  if (job.word_.RequestSpeedChange(/*limited=*/speed != 0)) DeferResume(job);
}

absl::Status JobOps::CheckSpeed(std::string_view id, int64_t speed) {
  if (speed >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("Parameter 'speed' expects a non-negative value; for job '", Absl(id),
                                                 "' it is ", speed, ", and 0 means no limit"));
}

// --- job-driver/job_context.h ---

bool JobContext::ThrottleAwaiter::Suspend(CoHandle self) { return JobOps::SuspendForThrottle(job_, self, units_); }
absl::Status JobContext::ThrottleAwaiter::Result() const { return JobOps::LeaveGate(job_); }

// --- job-monitor/job_monitor.h ---

absl::Status monitor::SetSpeed(Job& job, int64_t units_per_second) {
  job.core().mutex().AssertHeld("monitor::SetSpeed");
  return JobOps::SetSpeed(job, units_per_second);
}

}  // namespace jobcore::inline JOBCORE_ABI
