// SPDX-License-Identifier: Apache-2.0
//
// JobContext: what a running job's code calls.
//
//   Co<absl::Status> Run(JobContext& job) override {
//     job.progress().SetRemaining(size_);
//     while (std::optional<Block> block = co_await Next()) {
//       if (absl::Status s = co_await job.PausePoint(); !s.ok()) co_return s;
//       …
//       job.progress().Advance(block->size());
//     }
//     co_return absl::OkStatus();
//   }

#ifndef JOBCORE_JOB_DRIVER_JOB_CONTEXT_H_
#define JOBCORE_JOB_DRIVER_JOB_CONTEXT_H_

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/error_policy.h"
#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-common/job_mutex.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI {

// Lives as long as its job. Unless it says otherwise, everything is for the job's context only; the awaitables
// are for Run and what Run awaits, one at a time, not for coroutines spawned beside it. Each of them may return in
// another context than it was called in, if the job has been moved meanwhile.
class JobContext {
 public:
  explicit JobContext(Job& job) : job_(job) {}  // made by the core
  JobContext(const JobContext&) = delete;
  JobContext& operator=(const JobContext&) = delete;

  class PausePointAwaiter;
  class SleepAwaiter;
  class ThrottleAwaiter;

  // Where the job may be stopped: if it is to pause, runs the driver's Pause hook, parks until it is resumed,
  // and runs the Resume hook. Hold nothing here that whoever pauses the job could need.
  // Ok: go on. Cancelled: force-cancelled, return soon. A load and a branch when nobody asks for anything.
  [[nodiscard]] PausePointAwaiter PausePoint();

  // Suspends the job until `deadline`, until it is woken by Enter, or cancelled; zero lets everybody else run.
  // It is a pause point too. A pause does not cut the sleep short, nor does it extend it. A wake-up that came
  // since the last yield or sleep ends it at once: loop on what you wait for.
  [[nodiscard]] SleepAwaiter Sleep(Nanoseconds duration);
  [[nodiscard]] SleepAwaiter SleepUntil(TimePoint deadline);
  // Suspends the job until Enter, or until it is cancelled; an earlier wake-up ends it at once, as above.
  [[nodiscard]] SleepAwaiter Yield();

  // Before each piece of work: waits until so many units of it may start under the job's speed limit (rate_limit.h
  // says what is promised). Nothing but time pays what is owed: Enter, a pause, a resume neither cut the wait short
  // nor extend it; a change of speed counts from its moment. It is a pause point too. A wake-up is left for the
  // next yield or sleep. A load and a branch when there is no limit.
  // Ok: go on. Cancelled: force-cancelled; the units are not counted.
  [[nodiscard]] ThrottleAwaiter Throttle(uint64_t units);

  // An I/O request has failed with this errno: says what `policy` makes of it, after an event has told of it.
  // kStop: the job has the pause reason "error" now (once, however many requests fail) and an io-status; try the
  // request again after the next pause point. kReport: let Run fail with it. kIgnore: go on.
  // Also from coroutines beside Run.
  [[nodiscard]] ErrorAction HandleError(IoOperation operation, OnError policy, int error) JOBCORE_EXCLUDES(job_mutex);

  // The job can be completed on demand from now on: RUNNING -> READY. Called again, changes the capabilities
  // only.
  void Ready(ReadyCapabilities capabilities = {}) JOBCORE_EXCLUDES(job_mutex);

  // Replaces what queries show of this job beyond the common fields.
  void PublishDetails(JobDetails details) JOBCORE_EXCLUDES(job_mutex);

  // A request of the job's own to one of its resources: during Run to one of JobSpec::resources, from Prepare to
  // Clean (or, if the group aborts, to Abort; in the main context) to one of still_at_end. Counts as in flight and is
  // never parked: the job itself is paused when one of its resources is drained.
  // Job code never awaits Resource::Admit for a resource of its own: it would wait for itself.
  // Cancelled: force-cancelled, while the resource is drained. FailedPrecondition: not one of these, or the job is
  // parked for a drain (what runs beside Run must have come to an end in the Pause hook).
  absl::StatusOr<Admission> Admit(Resource& resource) JOBCORE_EXCLUDES(job_mutex);

  Progress& progress() { return job_.progress_; }

  // --- Any thread ---

  // Told to stop. A pause point says the same.
  bool force_cancelled() const { return job_.word_.force_cancelled(); }
  // Told to stop, or (soft) to finish early: only a job whose capabilities include that sees the difference.
  bool cancel_requested() const { return job_.word_.cancel_requested(); }
  // A pause has been asked for: the next pause point will park.
  bool pause_requested() const { return job_.word_.pause_requested(); }

  const std::string& id() const { return job_.id(); }
  Job& job() const { return job_; }
  AioContext& context() const { return job_.context(); }

 private:
  Job& job_;
};

// Wakes a job that yields or sleeps; the next yield of a job that does neither ends at once. A parked job
// stays parked; a job that is not started, or has finished, is left alone. Any thread that holds a JobRef (or
// runs in the job's context); lock-free, legal under job_mutex.
void Enter(Job& job);

class [[nodiscard]] JobContext::PausePointAwaiter {
 public:
  explicit PausePointAwaiter(Job& job) : job_(job) {}
  bool await_ready() const noexcept { return !job_.word_.NeedsAttention(); }
  template <std::derived_from<internal::CoPromiseBase> Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) {
    attended_ = true;
    return Suspend(CoHandle::Of(self));
  }
  absl::Status await_resume() const {
    if (attended_) [[unlikely]]
      return Result();
    return absl::OkStatus();
  }

 private:
  bool Suspend(CoHandle self);
  absl::Status Result() const;
  Job& job_;
  bool attended_ = false;  // somebody wanted something
};

class [[nodiscard]] JobContext::SleepAwaiter {
 public:
  SleepAwaiter(Job& job, TimePoint deadline) : job_(job), deadline_(deadline) {}
  bool await_ready() const noexcept { return false; }
  template <std::derived_from<internal::CoPromiseBase> Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) {
    return Suspend(CoHandle::Of(self));
  }
  // Ok: slept, or was woken. Cancelled: force-cancelled.
  absl::Status await_resume() const;

 private:
  bool Suspend(CoHandle self);
  Job& job_;
  const TimePoint deadline_;
};

class [[nodiscard]] JobContext::ThrottleAwaiter {
 public:
  ThrottleAwaiter(Job& job, uint64_t units) : job_(job), units_(units) {}
  bool await_ready() const noexcept { return !job_.word_.NeedsThrottling(); }
  template <std::derived_from<internal::CoPromiseBase> Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) {
    attended_ = true;
    return Suspend(CoHandle::Of(self));
  }
  absl::Status await_resume() const {
    if (attended_) [[unlikely]]
      return Result();
    return absl::OkStatus();
  }

 private:
  bool Suspend(CoHandle self);
  absl::Status Result() const;
  Job& job_;
  const uint64_t units_;
  bool attended_ = false;  // there is a limit, or somebody wanted something
};

inline JobContext::ThrottleAwaiter JobContext::Throttle(uint64_t units) { return ThrottleAwaiter(job_, units); }
inline JobContext::PausePointAwaiter JobContext::PausePoint() { return PausePointAwaiter(job_); }
inline JobContext::SleepAwaiter JobContext::Yield() { return SleepAwaiter(job_, kNoDeadline); }
inline JobContext::SleepAwaiter JobContext::SleepUntil(TimePoint deadline) { return SleepAwaiter(job_, deadline); }
inline JobContext::SleepAwaiter JobContext::Sleep(Nanoseconds duration) {
  // Zero and less: due already, whatever the time is.
  return SleepAwaiter(
      job_, duration <= Nanoseconds::zero() ? TimePoint::min() : SaturatingAdd(job_.context().clock().Now(), duration));
}

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_DRIVER_JOB_CONTEXT_H_
