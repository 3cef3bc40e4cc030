// SPDX-License-Identifier: Apache-2.0

#include "stress/stress_driver.h"

#include <array>
#include <cstddef>
#include <stdexcept>
#include <utility>

#include "job-common/aio_wait.h"
#include "job-common/task_scope.h"

namespace jobcore::stress {

Plan MakePlan(Rng& rng) {
  Plan plan;
  plan.kind = static_cast<Kind>(rng.Below(kKinds));
  plan.seed = rng.Next();
  plan.steps = rng.OneIn(4) ? rng.Below(400) : rng.Below(20);
  plan.run_fails = rng.OneIn(10);
  plan.run_throws = rng.OneIn(30);
  plan.stubborn = rng.OneIn(4) ? static_cast<int>(rng.Below(4)) : 0;
  plan.pause_waits = rng.OneIn(3);
  plan.pause_throws = rng.OneIn(40);
  plan.complete_waits = rng.OneIn(2);
  plan.complete_fails = rng.OneIn(4);
  plan.hooks_wait = rng.OneIn(3);
  plan.prepare_fails = rng.OneIn(12);
  plan.prepare_throws = rng.OneIn(40);
  plan.commit_fails = rng.OneIn(30);
  return plan;
}

// Marks the end of Run, however it ends.
class StressDriver::RunScope {
 public:
  explicit RunScope(StressDriver& driver) : driver_(driver) { driver_.in_run_ = true; }
  ~RunScope() {
    driver_.in_run_ = false;
    driver_.record_->returned = true;
    driver_.record_->stepping.store(false);
  }
  RunScope(const RunScope&) = delete;
  RunScope& operator=(const RunScope&) = delete;

 private:
  StressDriver& driver_;
};

StressDriver::~StressDriver() {
  JobRecord& r = *record_;
  r.note.store("destroyed");
  Check(internal::HeldJobMutex() == nullptr, "destroyed under job_mutex");
  Check(!in_run_ && !completing_, "destroyed while it runs");
  if (r.number == 0 || r.abandoned) {
    Check(r.runs + r.prepares + r.commits + r.aborts + r.cleans == 0, "hooks of a job that never was");
  } else {
    Check(world_.core.main_context().IsHome(), "destroyed outside of the main context");
    Check(r.cleans == 1, "destroyed without Clean");
  }
  r.destroyed.store(true);
}

void StressDriver::Check(bool condition, const char* what) {
  if (condition) [[likely]]
    return;
  const JobRecord& r = *record_;
  Fail(absl::StrCat("job ", r.number, " '", r.id, "' kind ", static_cast<int>(r.plan.kind), " at '", r.note.load(),
                    "': ", what, " (runs ", r.runs, r.returned ? " returned" : "", ", prepares ", r.prepares,
                    ", commits ", r.commits, ", aborts ", r.aborts, ", cleans ", r.cleans, ")"));
}

void StressDriver::InJob(JobContext& job, const char* hook) {
  record_->note.store(hook, std::memory_order_relaxed);
  Check(job.context().IsHome(), "called outside of its context");
  Check(internal::HeldJobMutex() == nullptr, "called under job_mutex");
  Check(AioContext::CurrentCallback() != nullptr, "called outside of a callback");
  Check(in_run_ || completing_, "called outside of Run");
}

void StressDriver::InMain(const char* hook) {
  record_->note.store(hook, std::memory_order_relaxed);
  Check(world_.core.main_context().IsHome(), "called outside of the main context");
  Check(internal::HeldJobMutex() == nullptr, "called under job_mutex");
  Check(!in_run_ && !completing_, "called while Run or Complete is in progress");
  Check(record_->cleans == 0, "called after Clean");
}

Co<void> StressDriver::MaybeWait(AioContext& context) {
  if (rng_.OneIn(2)) {
    const TimePoint until = SaturatingAdd(context.clock().Now(), rng_.Micros(0, 300));
    (void)co_await AioWaitWhile(context, [] { return true; }, {.name = "a hook's nap", .deadline = until});
  } else {
    std::array<std::byte, 64> buffer;
    const IoResult result = co_await Read(world_.engine, world_.fd, 0, buffer);
    Check(result.error == 0, "read error");
  }
}

// --- Run ---

Co<absl::Status> StressDriver::Run(JobContext& job) {
  ++record_->runs;
  Count(Totals().runs);
  Check(record_->runs == 1 && !record_->returned && record_->aborts + record_->cleans == 0, "Run again, or too late");
  stubborn_left_ = record_->plan.stubborn;
  const RunScope scope(*this);
  InJob(job, "Run");
  job.progress().SetRemaining(record_->plan.steps, rng_.OneIn(2));
  absl::Status status = co_await Work(job);
  InJob(job, "end of Run");
  record_->run_ok = status.ok();
  co_return status;
}

Co<absl::Status> StressDriver::Work(JobContext& job) {
  switch (record_->plan.kind) {
    case Kind::kYield:
      return WorkUntilEntered(job);
    case Kind::kReady:
      return WorkUntilCompleted(job);
    case Kind::kTasks:
      return WorkWithTasks(job);
    default:
      return WorkInSteps(job);
  }
}

void StressDriver::UseDisk(JobContext& job) {
  if (record_->disks.empty()) return;
  Disk& disk = *record_->disks[rng_.Below(record_->disks.size())];
  absl::StatusOr<Admission> admission = job.Admit(disk.resource);
  Check(admission.ok() || (absl::IsCancelled(admission.status()) && job.force_cancelled()), "not admitted");
  if (!admission.ok()) return;
  Count(Totals().requests_of_jobs);
  const Inside inside(disk);
  Spin(rng_.Below(500));
}

absl::Status StressDriver::Step(JobContext& job, uint64_t i) {
  const Plan& plan = record_->plan;
  InJob(job, "step");
  Check(!paused_, "a step between the hooks Pause and Resume");
  record_->stepping.store(true);
  Count(Totals().steps);
  job.progress().Advance(rng_.Below(3));
  if (rng_.OneIn(8)) job.progress().SetRemaining(rng_.Below(100), rng_.OneIn(2));
  if (rng_.OneIn(8)) job.progress().IncreaseRemaining(rng_.Below(10));
  if (rng_.OneIn(16)) job.PublishDetails({{"step", std::to_string(i)}});
  UseDisk(job);
  Spin(rng_.Below(500));
  const bool middle = i == plan.steps / 2;
  absl::Status status;
  if (middle && plan.run_fails) status = absl::DataLossError("planned failure");
  record_->stepping.store(false);
  if (middle && plan.run_throws) throw std::runtime_error("planned exception");
  return status;
}

bool StressDriver::MustStop(const absl::Status& status) {
  if (status.ok()) return false;
  Check(absl::IsCancelled(status), "a pause point returned something else than Cancelled");
  return stubborn_left_-- <= 0;
}

Co<absl::Status> StressDriver::Between(JobContext& job) {
  absl::Status status;
  switch (record_->plan.kind) {
    case Kind::kSleepZero:
      status = co_await job.Sleep(Nanoseconds::zero());
      break;
    case Kind::kShortSleep:
      status = co_await job.Sleep(rng_.Micros(0, 200));
      break;
    default:
      status = co_await job.PausePoint();
  }
  InJob(job, "after a pause point");
  Check(status.ok() || job.force_cancelled(), "Cancelled, but nobody has cancelled");
  co_return status;
}

Co<absl::Status> StressDriver::WorkInSteps(JobContext& job) {
  for (uint64_t i = 0; i < record_->plan.steps; ++i) {
    if (absl::Status status = Step(job, i); !status.ok()) co_return status;
    if (absl::Status status = co_await Between(job); MustStop(status)) co_return status;
    if (absl::Status status = co_await job.Throttle(rng_.Below(64)); MustStop(status)) co_return status;
    InJob(job, "after Throttle");
  }
  co_return absl::OkStatus();
}

Co<absl::Status> StressDriver::WorkUntilEntered(JobContext& job) {
  for (uint64_t i = 0; i < record_->plan.steps % 5; ++i) {
    if (absl::Status status = Step(job, i); !status.ok()) co_return status;
    if (absl::Status status = co_await job.Yield(); MustStop(status)) co_return status;
  }
  co_return absl::OkStatus();
}

Co<absl::Status> StressDriver::WorkUntilCompleted(JobContext& job) {
  for (uint64_t i = 0; i < record_->plan.steps % 5; ++i) {
    if (absl::Status status = Step(job, i); !status.ok()) co_return status;
    if (absl::Status status = co_await job.PausePoint(); MustStop(status)) co_return status;
  }
  const bool soft = rng_.OneIn(2);
  job.Ready({.complete = !rng_.OneIn(5), .soft_cancel = soft});
  while (!completed_) {
    if (soft && job.cancel_requested() && !job.force_cancelled()) break;  // a soft cancel: finish consistently
    if (absl::Status status = co_await job.Yield(); MustStop(status)) co_return status;
    if (absl::Status status = Step(job, UINT64_MAX); !status.ok()) co_return status;
    if (rng_.OneIn(8)) job.Ready({.complete = true, .soft_cancel = soft});
  }
  co_return absl::OkStatus();
}

Co<void> StressDriver::OneTask(JobContext& job, uint64_t chunk) {
  std::array<std::byte, 256> buffer{};
  const uint64_t offset = (chunk % 16) * buffer.size();
  IoResult result = co_await Write(world_.engine, world_.fd, offset, buffer);
  InJob(job, "task");
  Check(result.error == 0 && result.bytes == buffer.size(), "write error");
  result = co_await Read(world_.engine, world_.fd, offset, buffer);
  InJob(job, "task");
  Check(result.error == 0 && result.bytes == buffer.size(), "read error");
}

Co<absl::Status> StressDriver::WorkWithTasks(JobContext& job) {
  absl::Status status;
  for (uint64_t i = 0; i < record_->plan.steps % 32; ++i) {
    bool threw = false;
    try {
      status = Step(job, i);
    } catch (const std::runtime_error&) {
      threw = true;
    }
    if (threw || !status.ok()) {
      co_await tasks_.AtMost(0);
      if (threw) throw std::runtime_error("planned exception, tasks awaited");
      co_return status;
    }
    tasks_.Spawn(OneTask(job, i));
    co_await tasks_.AtMost(3);
    bool pause_threw = false;
    try {
      status = co_await job.PausePoint();
    } catch (const std::runtime_error&) {
      pause_threw = true;
    }
    if (pause_threw) {
      co_await tasks_.AtMost(0);
      throw std::runtime_error("planned exception of Pause, tasks awaited");
    }
    if (MustStop(status)) {
      co_await tasks_.AtMost(0);
      co_return status;
    }
  }
  co_await tasks_.AtMost(0);
  co_return absl::OkStatus();
}

// --- The other hooks in the job's context ---

Co<void> StressDriver::Pause(JobContext& job) {
  InJob(job, "Pause");
  Count(Totals().pause_hooks);
  Check(!std::exchange(paused_, true), "Pause twice");
  co_await tasks_.AtMost(0);  // the job may be about to move
  if (record_->plan.pause_waits) {
    if (rng_.OneIn(2)) {
      (void)co_await job.Sleep(rng_.Micros(0, 100));
    } else {
      co_await MaybeWait(job.context());
    }
    if (rng_.OneIn(4)) (void)co_await job.Throttle(rng_.Below(64));
    InJob(job, "Pause");
  }
  if (record_->plan.pause_throws && rng_.OneIn(3)) {
    paused_ = false;
    throw std::runtime_error("planned exception of Pause");
  }
}

Co<void> StressDriver::Resume(JobContext& job) {
  InJob(job, "Resume");
  Check(paused_, "Resume without Pause");
  if (record_->plan.pause_waits) {
    (void)co_await job.Sleep(rng_.Micros(0, 50));
    InJob(job, "Resume");
  }
  paused_ = false;
}

void StressDriver::Cancel(JobContext& job, CancelMode mode) {
  const char* const note = record_->note.load(std::memory_order_relaxed);
  InJob(job, "Cancel");
  record_->note.store(note, std::memory_order_relaxed);  // a notification: the work goes on where it was
  Check(job.cancel_requested(), "Cancel without a request");
  Check(++cancels_[static_cast<size_t>(mode)] == 1, "Cancel twice in one mode");
  Check(mode != CancelMode::kForce || job.force_cancelled(), "forced without force");
}

Co<absl::Status> StressDriver::Complete(JobContext& job) {
  InJob(job, "Complete");
  Check(!std::exchange(completing_, true), "two Complete hooks at once");
  Check(!completed_, "Complete after it was accepted");
  if (record_->plan.complete_waits) co_await MaybeWait(job.context());
  Check(record_->prepares + record_->aborts + record_->cleans == 0, "finalised while Complete is in progress");
  completing_ = false;
  if (record_->plan.complete_fails && complete_failures_++ == 0) co_return absl::UnavailableError("planned refusal");
  completed_ = true;
  Enter(job.job());
  co_return absl::OkStatus();
}

Co<absl::Status> StressDriver::Change(JobContext& job, const JobOptions& options) {
  InJob(job, "Change");
  Count(Totals().change_hooks);
  Check(!std::exchange(completing_, true), "Change beside another request");
  Check(options.size() == 1 && options.front().first == "steps", "options of somebody else");
  if (record_->plan.complete_waits) co_await MaybeWait(job.context());
  InJob(job, "end of Change");
  Check(record_->prepares + record_->aborts + record_->cleans == 0, "finalised while Change is in progress");
  completing_ = false;
  if (rng_.OneIn(8)) throw std::runtime_error("planned exception of Change");
  co_return rng_.OneIn(4) ? absl::InvalidArgumentError("planned refusal") : absl::OkStatus();
}

// --- The hooks in the main context ---

Co<absl::Status> StressDriver::Prepare() {
  InMain("Prepare");
  JobRecord& r = *record_;
  Check(r.run_ok, "Prepare, but Run has not succeeded");
  Check(++r.prepares == 1 && r.commits + r.aborts == 0, "Prepare again, or too late");
  Check(r.group->commits + r.group->aborts == 0, "Prepare after another member's Commit or Abort");
  if (r.plan.hooks_wait) co_await MaybeWait(world_.core.main_context());
  if (r.plan.prepare_throws) throw std::runtime_error("planned exception of Prepare");
  if (r.plan.prepare_fails) co_return absl::ResourceExhaustedError("planned failure of Prepare");
  InMain("Prepare done");
  r.prepare_ok = true;
  co_return absl::OkStatus();
}

Co<absl::Status> StressDriver::Commit() {
  InMain("Commit");
  JobRecord& r = *record_;
  Check(r.prepare_ok, "Commit without Prepare");
  Check(++r.commits == 1 && r.aborts == 0, "Commit again, or after Abort");
  Check(r.group->aborts == 0, "Commit in a group in which another member was aborted");
  ++r.group->commits;
  Count(Totals().commits);
  if (r.plan.hooks_wait) co_await MaybeWait(world_.core.main_context());
  InMain("Commit done");
  if (r.plan.commit_fails) co_return absl::DataLossError("planned failure of Commit");
  r.commit_ok = true;
  co_return absl::OkStatus();
}

Co<void> StressDriver::Abort() {
  InMain("Abort");
  JobRecord& r = *record_;
  Check(r.runs == 0 || r.returned, "Abort while Run is in progress");
  Check(++r.aborts == 1 && r.commits == 0, "Abort again, or after Commit");
  Check(r.group->commits == 0, "Abort in a group in which another member was committed");
  ++r.group->aborts;
  Count(Totals().aborts);
  if (r.plan.hooks_wait) co_await MaybeWait(world_.core.main_context());
  InMain("Abort done");
}

Co<void> StressDriver::Clean() {
  InMain("Clean");
  JobRecord& r = *record_;
  Check(r.commits + r.aborts == 1, "Clean without Commit or Abort");
  if (r.plan.hooks_wait) co_await MaybeWait(world_.core.main_context());
  InMain("Clean done");
  ++r.cleans;
}

}  // namespace jobcore::stress
