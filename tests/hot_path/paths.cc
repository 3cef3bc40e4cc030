// SPDX-License-Identifier: Apache-2.0

#include "hot_path/paths.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/iothread.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/job_txn.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"

namespace jobcore::hot_path {
namespace {

constexpr int kWarmUp = 50;
constexpr int kPageJobs = 64;

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "hot path: %s\n", status.ToString().c_str());
  std::abort();
}

// What has been kept for readers is soon as much as it ever is, and allocates no more.
constexpr size_t kKept = 64;
JobCore::Options SmallCore() { return {.event_capacity = kKept, .history_count = kKept}; }

// Not monitor::WaitFor, which would look at the job, and lock, after each turn.
void RunToTheEnd(JobCore& core) {
  while (core.main_context().HasWork()) core.main_context().RunOnce(/*may_block=*/false);
}

// --- Within a job, in the main context ---

using Body = Co<absl::Status> (*)(JobContext& job, Region& region, int n);

class BodyDriver final : public JobDriver {
 public:
  BodyDriver(Body body, Region& region, int n) : body_(body), region_(region), n_(n) {}
  Co<absl::Status> Run(JobContext& job) override { return body_(job, region_, n_); }

 private:
  const Body body_;
  Region& region_;
  const int n_;
};

template <Body body>
void InAJob(Region& region, int n) {
  JobCore core(SmallCore());
  const JobRef job = *CreateJob(core, {.id = "job"}, std::make_unique<BodyDriver>(body, region, n));
  Require(StartJob(*job));
  RunToTheEnd(core);
}

Co<absl::Status> EmptyLoop(JobContext&, Region& region, int n) {
  region.Begin();
  for (int i = 0; i < n; ++i) asm volatile("" ::: "memory");
  region.End();
  co_return absl::OkStatus();
}

Co<absl::Status> PausePoint(JobContext& job, Region& region, int n) {
  region.Begin();
  for (int i = 0; i < n; ++i) {
    if (absl::Status status = co_await job.PausePoint(); !status.ok()) co_return status;
  }
  region.End();
  co_return absl::OkStatus();
}

Co<absl::Status> Throttle(JobContext& job, Region& region, int n) {
  region.Begin();
  for (int i = 0; i < n; ++i) {
    if (absl::Status status = co_await job.Throttle(1); !status.ok()) co_return status;
  }
  region.End();
  co_return absl::OkStatus();
}

Co<absl::Status> SleepZero(JobContext& job, Region& region, int n) {
  for (int i = 0; i < kWarmUp; ++i) (void)co_await job.Sleep(Nanoseconds::zero());
  region.Begin();
  for (int i = 0; i < n; ++i) {
    if (absl::Status status = co_await job.Sleep(Nanoseconds::zero()); !status.ok()) co_return status;
  }
  region.End();
  co_return absl::OkStatus();
}

Co<absl::Status> EnterOfARunningJob(JobContext& job, Region& region, int n) {
  region.Begin();
  for (int i = 0; i < n; ++i) Enter(job.job());
  region.End();
  co_return absl::OkStatus();
}

Co<absl::Status> YieldAndEnter(JobContext& job, Region& region, int n) {
  region.Begin();
  for (int i = 0; i < n; ++i) {
    Enter(job.job());
    if (absl::Status status = co_await job.Yield(); !status.ok()) co_return status;
  }
  region.End();
  co_return absl::OkStatus();
}

Co<absl::Status> ProgressAdvance(JobContext& job, Region& region, int n) {
  job.progress().SetRemaining(static_cast<uint64_t>(n));
  region.Begin();
  for (int i = 0; i < n; ++i) {
    job.progress().Advance(1);
    asm volatile("" ::: "memory");
  }
  region.End();
  co_return absl::OkStatus();
}

Co<absl::Status> ProgressGet(JobContext& job, Region& region, int n) {
  region.Begin();
  for (int i = 0; i < n; ++i) {
    const ProgressSnapshot snapshot = job.progress().Get();
    asm volatile("" ::"r"(snapshot.current), "r"(snapshot.total) : "memory");
  }
  region.End();
  co_return absl::OkStatus();
}

struct IdleItem final : WorkItem {
  IdleItem() : WorkItem("idle", [](WorkItem&, Reason) {}) {}
};

Co<absl::Status> PostToAnAwakeLoop(JobContext& job, Region& region, int n) {
  std::deque<IdleItem> items(static_cast<size_t>(n));
  region.Begin();
  for (IdleItem& item : items) job.context().Post(item);
  region.End();
  co_return co_await job.Sleep(Nanoseconds::zero());  // they run before it goes on
}

Co<absl::Status> BottomHalfSchedule(JobContext& job, Region& region, int n) {
  std::deque<BottomHalf> halves;
  for (int i = 0; i < n; ++i) halves.emplace_back(job.context(), "idle", [] {});
  region.Begin();
  for (BottomHalf& half : halves) half.Schedule();
  region.End();
  co_return co_await job.Sleep(Nanoseconds::zero());
}

Co<absl::Status> KickWithNobodyWaiting(JobContext&, Region& region, int n) {
  WaitDomain domain;  // in the context's own, somebody waits for this job
  region.Begin();
  for (int i = 0; i < n; ++i) domain.Kick();
  region.End();
  co_return absl::OkStatus();
}

Co<absl::Status> CopyOfAJobRef(JobContext& job, Region& region, int n) {
  const JobRef ref(job.job());
  region.Begin();
  for (int i = 0; i < n; ++i) {
    const JobRef copy = ref;
    asm volatile("" ::"r"(copy.get()) : "memory");
  }
  region.End();
  co_return absl::OkStatus();
}

Co<absl::Status> Nothing() { co_return absl::OkStatus(); }

Co<absl::Status> AwaitOfACoroutine(JobContext&, Region& region, int n) {
  (void)co_await Nothing();
  region.Begin();
  for (int i = 0; i < n; ++i) {
    if (absl::Status status = co_await Nothing(); !status.ok()) co_return status;
  }
  region.End();
  co_return absl::OkStatus();
}

// --- Outside: what a monitor does. The calling thread is home of the main context ---

class Trivial final : public JobDriver {
 public:
  Co<absl::Status> Run(JobContext&) override { co_return absl::OkStatus(); }
};

class Yields final : public JobDriver {
 public:
  Co<absl::Status> Run(JobContext& job) override {
    while (true) {
      if (absl::Status status = co_await job.Yield(); !status.ok()) co_return status;
    }
  }
};

// `count` jobs that yield, and the loop at rest.
struct JobsAtRest {
  explicit JobsAtRest(int count) {
    for (int i = 0; i < count; ++i) {
      ids.push_back(absl::StrCat("job-", i));
      Require(StartJob(**CreateJob(core, {.id = ids.back()}, std::make_unique<Yields>())));
    }
    for (int i = 0; i < kWarmUp; ++i) core.main_context().RunOnce(/*may_block=*/false);
  }
  JobCore core{SmallCore()};
  std::vector<std::string> ids;
};

void LockAndFind(Region& region, int n) {
  JobsAtRest jobs(kPageJobs);
  region.Begin();
  for (int i = 0; i < n; ++i) {
    const JobLock lock(jobs.core);
    if (monitor::Find(jobs.core, jobs.ids[static_cast<size_t>(i % kPageJobs)]) == nullptr) std::abort();
  }
  region.End();
}

void QueryOfAPage(Region& region, int n) {
  JobsAtRest jobs(kPageJobs);
  std::vector<monitor::JobInfo> page;  // used again: filled in without an allocation
  const auto query = [&] {
    monitor::QueryCursor cursor;
    {
      const JobLock lock(jobs.core);
      monitor::QueryPage(jobs.core, cursor, page);
    }
    if (page.size() != kPageJobs) std::abort();
  };
  query();
  region.Begin();
  for (int i = 0; i < n; ++i) query();
  region.End();
}

// From a verb to where it leads: parked, and yielding again.
void PauseAndResume(Region& region, int n) {
  JobsAtRest jobs(1);
  const auto pause_and_resume = [&] {
    {
      const JobLock lock(jobs.core);
      Require(monitor::Pause(*monitor::Find(jobs.core, jobs.ids[0])));
    }
    jobs.core.main_context().RunOnce(/*may_block=*/false);
    {
      const JobLock lock(jobs.core);
      Require(monitor::Resume(*monitor::Find(jobs.core, jobs.ids[0])));
    }
    jobs.core.main_context().RunOnce(/*may_block=*/false);
  };
  for (int i = 0; i < kWarmUp; ++i) pause_and_resume();
  region.Begin();
  for (int i = 0; i < n; ++i) pause_and_resume();
  region.End();
}

// The region, once `life` costs what it will cost from then on.
template <typename Life>
void Lives(Region& region, int n, const Life& life) {
  JobCore core(SmallCore());
  for (size_t i = 0; i < 2 * kKept; ++i) life(core);
  region.Begin();
  for (int i = 0; i < n; ++i) life(core);
  region.End();
}

void LifeOfAJob(Region& region, int n) {
  Lives(region, n, [](JobCore& core) {
    Require(StartJob(**CreateJob(core, {.id = "job"}, std::make_unique<Trivial>())));
    RunToTheEnd(core);
  });
}

// With all that a cancel costs where it is waited for.
void LifeOfAJobThatIsCancelled(Region& region, int n) {
  Lives(region, n, [](JobCore& core) {
    const JobRef job = *CreateJob(core, {.id = "job"}, std::make_unique<Yields>());
    Require(StartJob(*job));
    core.main_context().RunOnce(/*may_block=*/false);
    Require(monitor::CancelAndWait(job).status());
  });
}

void LifeOfAGroupOf8(Region& region, int n) {
  Lives(region, n, [](JobCore& core) {
    JobTxnBuilder group(core);
    for (const char* id : {"a", "b", "c", "d", "e", "f", "g", "h"}) {
      Require(StartJob(**CreateJob(core, {.id = id, .group = &group}, std::make_unique<Trivial>())));
    }
    Require(group.Seal());
    RunToTheEnd(core);
  });
}

void CreateAndAbandon(Region& region, int n) {
  Lives(region, n, [](JobCore& core) {
    Require(AbandonJob(**CreateJob(core, {.id = "job"}, std::make_unique<Trivial>())));
    RunToTheEnd(core);
  });
}

// --- Into another thread ---

void PostToASleepingLoop(Region& region, int n) {
  std::deque<IdleItem> items(static_cast<size_t>(n));
  IOThread io("io0");
  region.Begin();
  for (IdleItem& item : items) {
    while (!io.context().sleeping()) {
    }
    io.context().Post(item);
  }
  region.End();
}

}  // namespace

const std::vector<Path>& Paths() {
  static const std::vector<Path> paths = {
      {"EmptyLoop", 10'000, &InAJob<&EmptyLoop>},
      {"PausePoint", 10'000, &InAJob<&PausePoint>},
      {"Throttle", 10'000, &InAJob<&Throttle>},
      {"ProgressAdvance", 10'000, &InAJob<&ProgressAdvance>},
      {"ProgressGet", 10'000, &InAJob<&ProgressGet>},
      {"CopyOfAJobRef", 10'000, &InAJob<&CopyOfAJobRef>},
      {"EnterOfARunningJob", 10'000, &InAJob<&EnterOfARunningJob>},
      {"KickWithNobodyWaiting", 10'000, &InAJob<&KickWithNobodyWaiting>},
      {"PostToAnAwakeLoop", 1'000, &InAJob<&PostToAnAwakeLoop>},
      {"BottomHalfSchedule", 1'000, &InAJob<&BottomHalfSchedule>},
      {"AwaitOfACoroutine", 1'000, &InAJob<&AwaitOfACoroutine>},
      {"YieldAndEnter", 1'000, &InAJob<&YieldAndEnter>},
      {"SleepZero", 1'000, &InAJob<&SleepZero>},
      {"LockAndFind", 1'000, &LockAndFind},
      {"QueryOfAPage", 100, &QueryOfAPage},
      {"PauseAndResume", 500, &PauseAndResume},
      {"CreateAndAbandon", 500, &CreateAndAbandon},
      {"LifeOfAJob", 500, &LifeOfAJob},
      {"LifeOfAJobThatIsCancelled", 500, &LifeOfAJobThatIsCancelled},
      {"LifeOfAGroupOf8", 100, &LifeOfAGroupOf8},
      {"PostToASleepingLoop", 200, &PostToASleepingLoop, /*one_thread=*/false},
  };
  return paths;
}

}  // namespace jobcore::hot_path
