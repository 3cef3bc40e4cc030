// SPDX-License-Identifier: Apache-2.0
// A program without a single annotation compiles clean under plain -Wthread-safety: classes of its own that
// lock, wait, create and control jobs, lambdas and std::function included. What it may not do is what the last
// function does.
// EXPECT: cannot call function 'WaitFor' while .*job_mutex.* is held
#pragma clang diagnostic error "-Wthread-safety"
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "job-common/aio_wait.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-common/task_scope.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/event_observer.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"

namespace user {

using jobcore::Co;
using jobcore::JobContext;
using jobcore::JobCore;
using jobcore::JobLock;
using jobcore::JobRef;
namespace monitor = jobcore::monitor;

class Count final : public jobcore::JobDriver {
 public:
  Co<absl::Status> Run(JobContext& job) override {
    jobcore::TaskScope tasks;
    tasks.Spawn(Child());
    co_await tasks.AtMost(0);
    job.Ready({.soft_cancel = true});
    job.PublishDetails({{"phase", "counting"}});
    for (int i = 0; i < 10; ++i) {
      if (absl::Status s = co_await job.PausePoint(); !s.ok()) co_return s;
      if (absl::Status s = co_await job.Sleep(std::chrono::milliseconds(1)); !s.ok()) co_return s;
    }
    co_return absl::OkStatus();
  }
  Co<absl::Status> Complete(JobContext& job) override {
    jobcore::Enter(job.job());
    co_return absl::OkStatus();
  }
  Co<absl::Status> Prepare() override {
    co_return co_await jobcore::AioWaitWhile(*jobcore::AioContext::Current(), [] { return false; });
  }

 private:
  Co<void> Child() { co_return; }
};

class Controller {
 public:
  explicit Controller(JobCore& core)
      : core_(core), observer_(core, core.main_context(), [this](const auto& page) {
          seen_ += page.events.size();
          JobLock lock(core_);
          left_ = core_.job_count();
        }) {}

  absl::Status Start(std::string id, jobcore::AioContext& context) {
    jobcore::JobTxnBuilder group(core_);
    absl::StatusOr<JobRef> job = jobcore::CreateJob(core_, {.id = std::move(id), .context = &context, .group = &group},
                                                    std::make_unique<Count>());
    if (!job.ok()) return job.status();
    if (absl::Status s = group.Seal(); !s.ok()) return s;
    return jobcore::StartJob(**job);
  }
  absl::Status Pause(const std::string& id) {
    JobLock lock(core_);
    jobcore::Job* const job = monitor::Find(core_, id);
    if (job == nullptr) return absl::NotFoundError("Job not found");
    const JobRef keep(*job);
    {
      const jobcore::JobUnlock gap(lock);
      action_();
    }
    return IsConcluded(job->status()) ? absl::NotFoundError("Job not found") : monitor::Pause(*job);
  }
  void Stop() {
    (void)monitor::CancelAll(core_);
    (void)jobcore::AioWaitWhileUnlocked(core_, [this] {
      JobLock lock(core_);
      return core_.job_count() != 0;
    });
    (void)monitor::Shutdown(core_, monitor::ShutdownMode::kCancel);
    for (const monitor::JobInfo& info : monitor::SnapshotJobs(core_)) action_ = [id = info.id] { (void)id; };
  }

 private:
  JobCore& core_;
  size_t seen_ = 0;
  size_t left_ = 0;
  std::function<void()> action_ = [] {};
  monitor::EventObserver observer_;
};

void Use() {
  JobCore core;
  jobcore::IOThread io("io0");
  Controller controller(core);
  (void)controller.Start("a", io.context());
  (void)controller.Pause("a");
  controller.Stop();
  core.main_context().Post("work", [&core] {
    JobLock lock(core);
    (void)core.last_event();
  });
}

#ifdef SHOULD_FAIL
void Wrong(JobCore& core, const JobRef& job) {
  JobLock lock(core);
  (void)monitor::WaitFor(job);
}
#endif

}  // namespace user
