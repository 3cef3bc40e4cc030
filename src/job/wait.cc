// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "job-common/aio_wait.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_wait.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI::monitor {
namespace {

bool MustWaitFor(const JobRef& job) JOBCORE_EXCLUDES(job_mutex) {
  if (!JobOps::RunIsOver(*job)) return true;
  JobLock lock(job->core());
  return !IsConcluded(job->status()) && !JobOps::AwaitsFinalize(*job);
}

// After the wait: what became of the job. `waited` is the result of the wait.
absl::StatusOr<JobOutcome> ResultOf(const JobRef& job, const absl::Status& waited) JOBCORE_EXCLUDES(job_mutex) {
  JobLock lock(job->core());
  if (IsConcluded(job->status())) return *job->outcome();
  if (!waited.ok()) return absl::Status(waited.code(), waited.message());
  return absl::FailedPreconditionError(
      absl::StrCat("Job '", job->id(), "' is pending and waits for its group to be finalized; finalize it first"));
}

std::string WaitName(const JobRef& job) { return JobOps::WaitName(*job); }

// Calls `visit` for jobs, oldest first, a page per critical section, until it returns false.
void ForEachJob(JobCore& core, absl::FunctionRef<bool(const JobRef&)> visit) JOBCORE_EXCLUDES(job_mutex) {
  uint64_t after = 0;
  for (;;) {
    std::vector<JobRef> page;
    {
      JobLock lock(core);
      page = JobOps::JobsAfter(core, after, kMaxPage);
    }
    for (const JobRef& job : page) {
      if (!visit(job)) return;
    }
    if (page.size() < kMaxPage) return;
    after = page.back()->number();
  }
}

absl::StatusOr<JobOutcome> WaitUnder(const std::string& name, const JobRef& job, TimePoint deadline)
    JOBCORE_EXCLUDES(job_mutex) {
  return ResultOf(job, AioWaitWhileUnlocked(job->core(), [&]() JOBCORE_EXCLUDES(job_mutex) { return MustWaitFor(job); },
                                            {.name = name, .deadline = deadline}));
}

}  // namespace

absl::StatusOr<JobOutcome> WaitFor(const JobRef& job, TimePoint deadline) {
  return WaitUnder(WaitName(job), job, deadline);
}

Co<absl::StatusOr<JobOutcome>> AwaitJob(JobRef job, TimePoint deadline) {
  const std::string name = WaitName(job);
  const auto must_wait = [job]() JOBCORE_EXCLUDES(job_mutex) { return MustWaitFor(job); };
  const absl::Status waited = co_await AioWaitWhile(job->core(), must_wait, {.name = name, .deadline = deadline});
  co_return ResultOf(job, waited);
}

absl::StatusOr<JobOutcome> CancelAndWait(const JobRef& job, CancelMode mode, TimePoint deadline) {
  const std::string name = WaitName(job);
  if (absl::Status refusal = CheckMayWait(job->core().main_context(), name); !refusal.ok()) return refusal;
  {
    JobLock lock(job->core());
    if (job->status() < JobStatus::kAborting) {
      if (absl::Status status = Cancel(*job, mode); !status.ok()) return status;
    }
  }
  return WaitUnder(name, job, deadline);
}

namespace {

// The driver's answer to a complete, on its way from the main context to whoever waits.
class Answer {
 public:
  void Set(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    code_ = status.code();
    message_ = std::string(status.message());
  }
  // OK: none yet, or it was.
  absl::Status Get() const {
    const std::lock_guard lock(mutex_);
    return absl::Status(code_, message_);
  }

 private:
  mutable internal::Mutex mutex_;
  absl::StatusCode code_ = absl::StatusCode::kOk;
  std::string message_;
};

}  // namespace

absl::StatusOr<JobOutcome> CompleteAndWait(const JobRef& job, TimePoint deadline) {
  const std::string name = WaitName(job);
  AioContext& main = job->core().main_context();
  if (absl::Status refusal = CheckMayWait(main, name); !refusal.ok()) return refusal;
  const auto answer = std::make_shared<Answer>();
  {
    VerbReply reply(main, [answer, &main](const absl::Status& status) JOBCORE_EXCLUDES(job_mutex) {
      answer->Set(status);
      main.wait_domain().Kick();
    });
    JobLock lock(job->core());
    if (absl::Status status = Complete(*job, std::move(reply)); !status.ok()) return status;
  }
  // Refused by the driver, and not because the job has finished or was cancelled first.
  const auto refused = [&]() JOBCORE_EXCLUDES(job_mutex) {
    if (answer->Get().ok() || job->force_cancelled()) return false;
    JobLock lock(job->core());
    return !IsCompleted(job->status());
  };
  const absl::Status waited =
      AioWaitWhileUnlocked(job->core(), [&]() JOBCORE_EXCLUDES(job_mutex) { return MustWaitFor(job) && !refused(); },
                           {.name = name, .deadline = deadline});
  if (waited.ok() && refused()) return answer->Get();
  return ResultOf(job, waited);
}

size_t CancelAll(JobCore& core, CancelMode mode) {
  size_t accepted = 0;
  // A page of references is taken in one critical section; cancelling one job changes the others of its group.
  ForEachJob(core, [&](const JobRef& job) JOBCORE_EXCLUDES(job_mutex) {
    JobLock lock(core);
    if (Cancel(*job, mode).ok()) ++accepted;
    return true;
  });
  return accepted;
}

absl::StatusOr<ShutdownReport> Shutdown(JobCore& core, ShutdownMode mode, TimePoint deadline) {
  constexpr std::string_view kName = "shutdown of a core";
  if (absl::Status refusal = CheckMayWait(core.main_context(), kName); !refusal.ok()) return refusal;
  {
    JobLock lock(core);
    JobOps::RefuseNewJobs(core);
  }
  if (mode == ShutdownMode::kCancel) CancelAll(core);

  const auto must_wait = [&]() JOBCORE_EXCLUDES(job_mutex) {
    {
      JobLock lock(core);
      if (JobOps::OpenJobs(core) == 0) return false;
      if (mode == ShutdownMode::kCancel) return true;
    }
    bool going_on = false;
    ForEachJob(core, [&](const JobRef& job) JOBCORE_EXCLUDES(job_mutex) {
      JobLock lock(core);
      going_on = JobOps::GoesOnByItself(*job);
      return !going_on;
    });
    return going_on;
  };
  absl::Status waited = AioWaitWhileUnlocked(core, must_wait, {.name = kName, .deadline = deadline});
  if (!waited.ok() && !absl::IsDeadlineExceeded(waited)) return waited;

  ShutdownReport report;
  ForEachJob(core, [&](const JobRef& job) JOBCORE_EXCLUDES(job_mutex) {
    JobLock lock(core);
    if (job->status() == JobStatus::kConcluded) {
      (void)Dismiss(*job);
    } else if (!IsConcluded(job->status())) {
      report.open.push_back(Query(*job));
    }
    return true;
  });
  return report;
}

}  // namespace jobcore::inline JOBCORE_ABI::monitor
