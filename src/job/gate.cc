// SPDX-License-Identifier: Apache-2.0
//
// Where a job stops: pause points, sleeps, yields, and the gate that stands between the driver and its next
// step while the job is to be paused. All in the job's context.

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/probe.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {

// Parks the job, unless it need not park any more: then false, and nothing has changed. `how`: see Job::Suspension.
bool JobOps::Park(Job& job, CoHandle self, Job::Suspension how) {
  JobLock lock(job.core_);
  // One that is to move does so before it parks: a parked job can be resumed from anywhere.
  if (!job.word_.must_park() || job.word_.move_requested()) {
    internal::Reached(job.word_.must_park() ? "park.move_first" : "park.not_any_more");
    return false;
  }
  job.suspended_ = self.handle;
  job.suspension_ = how;
  SetStatus(job, Parked(job.status_));
  job.word_.Park();
  self.SuspendIn(kParked);
  return true;
}

class JobOps::ParkAwaiter {
 public:
  explicit ParkAwaiter(Job& job) : job_(job) {}
  bool await_ready() const noexcept { return false; }
  // Called by the compiler, from where clang cannot follow the negative capability; at run time CoRoot sees to
  // it that no coroutine suspends with the mutex held.
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return Park(job_, CoHandle::Of(self), Job::Suspension::kPlain);
  }
  void await_resume() const noexcept {}

 private:
  Job& job_;
};

// Takes the job to the top of its loop, and from there to the context that it is to move to.
class JobOps::MoveAwaiter {
 public:
  explicit MoveAwaiter(Job& job) : job_(job) {}
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> self) {
    job_.suspended_ = CoHandle::Of(self, "move to another context").handle;
    job_.suspension_ = Job::Suspension::kMove;
    PostResume(job_);
  }
  void await_resume() const noexcept {}

 private:
  Job& job_;
};

// Suspends until anything at all wakes the job. True: its sleep is over (it was woken, or time is up).
class JobOps::IdleAwaiter {
 public:
  IdleAwaiter(Job& job, TimePoint deadline) : job_(job), deadline_(deadline) {}
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) {
    return TrySuspend(job_, CoHandle::Of(self), Job::Suspension::kPlain, deadline_);
  }
  bool await_resume() const { return SleepIsOver(job_, /*timer_fired=*/false); }

 private:
  Job& job_;
  const TimePoint deadline_;
};

// A wake-up that ended a sleep of a hook was meant for Run as well: it ends Run's sleep, the present or the next.
void JobOps::PassOnWakeUp(Job& job) {
  if (!std::exchange(job.hook_woken_, false)) return;
  internal::Reached("gate.wake_up_passed_on");
  (void)job.word_.TakeByEnter();  // the job runs: only leaves the bit
}

namespace {

Co<void> Throw(std::exception_ptr exception) {
  std::rethrow_exception(exception);
  co_return;
}

}  // namespace

// What a hook throws that is no coroutine itself, it throws where it is awaited, as the others do.
Co<void> JobOps::CallPauseHook(Job& job) {
  job.in_hook_ = Job::Hook::kPause;
  try {
    return job.driver_->Pause(Face(job));
  } catch (...) {
    return Throw(std::current_exception());
  }
}

// What stands between the driver and its next step while it is to be paused, and then until its sleep, which a pause
// or a move has cut into, is over. Begins with what the Pause hook has returned.
Co<void> JobOps::Gate(Job& job, Co<void> pause_hook, TimePoint deadline, bool slept) {
  for (;;) {
    co_await std::move(pause_hook);
    job.in_hook_ = Job::Hook::kNone;
    while (job.word_.must_halt()) {
      if (job.word_.move_requested()) co_await MoveAwaiter(job);
      co_await ParkAwaiter(job);
    }
    job.in_hook_ = Job::Hook::kResume;
    co_await job.driver_->Resume(Face(job));
    job.in_hook_ = Job::Hook::kNone;
    PassOnWakeUp(job);
    while (!job.word_.must_halt()) {
      if (slept || job.word_.force_cancelled()) co_return;
      slept = co_await IdleAwaiter(job, deadline);
    }
    pause_hook = CallPauseHook(job);
  }
}

// Puts the gate between the driver, suspended as `self`, and its next step: the end of its sleep, unless it has
// `slept`. Reached from await_suspend, too (see ParkAwaiter).
void JobOps::Halt(Job& job, CoHandle self, TimePoint deadline, bool slept) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  Co<void> pause_hook = CallPauseHook(job);
  if (pause_hook.trivial()) {
    // Nothing has to run before the job parks: it needs no frame while it is parked.
    job.in_hook_ = Job::Hook::kNone;
    job.wake_at_ = deadline;
    job.slept_ = slept;
    if (Park(job, self, Job::Suspension::kHalted)) return;
  }
  StartGate(job, self, std::move(pause_hook), deadline, slept);
}

void JobOps::StartGate(Job& job, CoHandle self, Co<void> pause_hook, TimePoint deadline, bool slept) {
  job.gate_ = Gate(job, std::move(pause_hook), deadline, slept);
  job.gate_.StartWithin(*self.root, self.handle);
}

void JobOps::ResumeHalted(Job& job) { StartGate(job, Suspended(job), Co<void>(), job.wake_at_, job.slept_); }

// A job that was paused before its start. No hooks: its driver does not run yet.
Co<absl::Status> JobOps::ParkThenRun(Job& job) {
  internal::Reached("run.paused_before");
  while (job.word_.must_halt()) {
    if (job.word_.move_requested()) co_await MoveAwaiter(job);
    co_await ParkAwaiter(job);
  }
  if (job.word_.force_cancelled()) co_return absl::CancelledError();
  co_return co_await EnterRun(job);
}

bool JobOps::SuspendAtPausePoint(Job& job, CoHandle self) {
  if (self.root != &job.run_root_) {
    internal::Die(absl::StrCat("job '", job.id_,
                               "': a pause point in a coroutine that Run does not await; put it into Run itself"));
  }
  if (!job.word_.must_halt() || job.InHook()) return false;
  Halt(job, self, kNoDeadline, /*slept=*/true);
  return true;
}

bool JobOps::SuspendForSleep(Job& job, CoHandle self, TimePoint deadline) {
  if (self.root != &job.run_root_) {
    internal::Die(absl::StrCat("job '", job.id_,
                               "': a sleep or yield in a coroutine that Run does not await; put it into Run itself"));
  }
  for (;;) {
    if (job.word_.force_cancelled()) return false;
    const bool woken = job.word_.ConsumeWoken();
    if (job.word_.must_halt() && !job.InHook()) {
      Halt(job, self, deadline, /*slept=*/woken);
      return true;
    }
    if (woken) {
      internal::Reached("sleep.woken_before");
      job.hook_woken_ |= job.InHook();
      return false;
    }
    const auto how = job.InHook() ? Job::Suspension::kHook : Job::Suspension::kYield;
    if (TrySuspend(job, self, how, deadline)) return true;
  }
}

// Makes the job idle until `deadline`. False: a request or a wake-up came first, nothing has changed.
// `throttled`: for a wait that Enter does not end.
bool JobOps::TrySuspend(Job& job, CoHandle self, Job::Suspension how, TimePoint deadline, bool throttled) {
  job.suspended_ = self.handle;
  job.suspension_ = how;
  job.wake_at_ = deadline;
  if (deadline == TimePoint::min()) {  // only to the end of the queue: the word stays running
    self.SuspendIn(kNextTurn);
    PostResume(job);
    return true;
  }
  if (deadline != kNoDeadline) {
    if (job.timer_ == nullptr) {
      job.timer_ = std::make_unique<AioTimer>(job.context(), "sleep of a job", [&job]() JOBCORE_EXCLUDES(job_mutex) {
        // Whoever takes the word resumes the job: if somebody else has, its resumption is on the way.
        if (!job.word_.TakeByTimer()) {
          internal::Reached("sleep.timer_lost");
          return;
        }
        Dispatch(job, /*timer_fired=*/true);
      });
    }
    job.timer_->ArmAt(deadline);
  }
  if (throttled ? job.word_.TryIdleThrottled(job.InHook()) : job.word_.TryIdle(job.InHook())) {
    self.SuspendIn(throttled ? kThrottled : deadline == kNoDeadline ? kYield : kSleep);
    return true;
  }
  internal::Reached("sleep.request_first");
  if (deadline != kNoDeadline) job.timer_->Disarm();
  job.suspension_ = Job::Suspension::kNone;
  return false;
}

bool JobOps::SleepIsOver(Job& job, bool timer_fired) {
  const bool woken = job.word_.ConsumeWoken();
  if (woken && job.InHook()) job.hook_woken_ = true;
  return woken || timer_fired || job.word_.force_cancelled() || job.wake_at_ == TimePoint::min() ||
         (job.wake_at_ != kNoDeadline && job.context().clock().Now() >= job.wake_at_);
}

void JobOps::ResumeHook(Job& job, bool timer_fired) {
  if (!SleepIsOver(job, timer_fired) && TrySuspend(job, Suspended(job), Job::Suspension::kHook, job.wake_at_)) return;
  Suspended(job).Resume();
}

void JobOps::ResumeSleeper(Job& job, bool timer_fired) {
  const bool slept = SleepIsOver(job, timer_fired);
  if (job.word_.must_halt()) {
    internal::Reached("sleep.goes_on");
    Halt(job, Suspended(job), job.wake_at_, slept);
  } else if (slept || !SuspendForSleep(job, Suspended(job), job.wake_at_)) {
    Suspended(job).Resume();
  }
}

absl::Status JobOps::LeaveGate(Job& job) {
  if (!job.gate_.trivial() && job.gate_.done()) {
    Co<void> gate = std::move(job.gate_);
    if (job.InHook()) internal::Reached("gate.hook_threw");
    job.in_hook_ = Job::Hook::kNone;  // a hook that threw has left it set
    PassOnWakeUp(job);
    gate.Take();  // rethrows that into Run
  }
  if (job.word_.force_cancelled()) return absl::CancelledError(absl::StrCat("job '", job.id_, "' was cancelled"));
  return absl::OkStatus();
}

void JobOps::Enter(Job& job) {
  if (job.word_.TakeByEnter()) PostResume(job);
}

// --- job-driver/job_context.h ---

bool JobContext::PausePointAwaiter::Suspend(CoHandle self) { return JobOps::SuspendAtPausePoint(job_, self); }
absl::Status JobContext::PausePointAwaiter::Result() const { return JobOps::LeaveGate(job_); }

bool JobContext::SleepAwaiter::Suspend(CoHandle self) { return JobOps::SuspendForSleep(job_, self, deadline_); }
absl::Status JobContext::SleepAwaiter::await_resume() const { return JobOps::LeaveGate(job_); }

void JobContext::Ready(ReadyCapabilities capabilities) {
  JobLock lock(job_.core());
  JobOps::Ready(job_, capabilities);
}

void JobContext::PublishDetails(JobDetails details) {
  auto shared = std::make_shared<const JobDetails>(std::move(details));
  // The old ones, swapped out, are freed after the mutex.
  JobLock lock(job_.core());
  JobOps::PublishDetails(job_, shared);
}

void Enter(Job& job) { JobOps::Enter(job); }

}  // namespace jobcore::inline JOBCORE_ABI
