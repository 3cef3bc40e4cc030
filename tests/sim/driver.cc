// SPDX-License-Identifier: Apache-2.0
//
// Drivers of the world: they do what their plan says, step by step.

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "job-common/aio_wait.h"
#include "job-common/task_scope.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_wait.h"
#include "sim/world.h"

namespace jobcore::sim {
namespace {

using std::chrono::milliseconds;

class SimDriver final : public JobDriver {
 public:
  SimDriver(World& world, const JobPlan& plan) : world_(world), plan_(plan) { world_.Begin(); }
  ~SimDriver() override { world_.End(); }

  Co<absl::Status> Run(JobContext& job) override {
    absl::Status status;
    std::exception_ptr thrown;
    try {
      Co<absl::Status> steps = DoAll(job);
      status = co_await std::move(steps);
    } catch (...) {
      thrown = std::current_exception();
    }
    co_await beside_.AtMost(0);
    if (thrown) std::rethrow_exception(thrown);
    co_return status;
  }

  Co<void> Pause(JobContext& job) override {
    co_await beside_.AtMost(0);
    Co<void> gate = InGate(job, plan_.pause);
    co_await std::move(gate);
  }
  Co<void> Resume(JobContext& job) override { return InGate(job, plan_.resume); }

  Co<absl::Status> Complete(JobContext& job) override {
    Co<absl::Status> hook = AtEnd(plan_.complete);
    const absl::Status status = co_await std::move(hook);
    if (status.ok()) {
      completed_ = true;
      world_.SetAwaits(plan_, World::Awaits::kNothing);  // whatever Run waits for: it is woken
      Enter(job.job());
    }
    co_return status;
  }
  Co<absl::Status> Change(JobContext&, const JobOptions&) override { return AtEnd(plan_.change); }

  Co<absl::Status> Prepare() override {
    CheckStill();
    if (plan_.prepare.drains) {
      Co<void> drain = HoldSection(world_, 1, milliseconds(5), milliseconds(1));
      world_.Begin();  // HoldSection counts itself off
      co_await std::move(drain);
    }
    Co<absl::Status> hook = AtEnd(plan_.prepare);
    co_return co_await std::move(hook);
  }
  Co<absl::Status> Commit() override {
    CheckStill();
    return AtEnd(plan_.commit);
  }
  Co<void> Abort() override { return IgnoreErrors(plan_.abort); }
  Co<void> Clean() override { return IgnoreErrors(plan_.clean); }

 private:
  Co<absl::Status> DoAll(JobContext& job) {
    job.progress().SetRemaining(plan_.run.size(), /*known=*/false);
    for (const Step& step : plan_.run) {
      world_.checker().Runs(job);
      Co<absl::Status> one = Do(job, step);
      const absl::Status status = co_await std::move(one);
      world_.checker().Runs(job);
      if (!status.ok()) co_return status;
    }
    co_return absl::OkStatus();
  }

  Co<absl::Status> Do(JobContext& job, const Step& step) {
    using enum Step::Kind;
    switch (step.kind) {
      case kProgress:
        job.progress().Advance(step.amount);
        job.progress().IncreaseRemaining(step.variant);
        co_return absl::OkStatus();
      case kPausePoint:
        co_return co_await job.PausePoint();
      case kSleep:
        co_return co_await job.Sleep(milliseconds(1 + step.amount));
      case kNextTurn:
        co_return co_await job.Sleep(Nanoseconds(0));
      case kYield: {
        world_.SetAwaits(plan_, World::Awaits::kWakeUp);
        const absl::Status status = co_await job.Yield();
        world_.SetAwaits(plan_, World::Awaits::kNothing);
        co_return status;
      }
      case kThrottle:
        co_return co_await job.Throttle(step.amount);
      case kReady:
        job.Ready({.complete = step.variant % 4 != 3, .soft_cancel = step.variant % 2 == 0});
        co_return absl::OkStatus();
      case kAwaitComplete:
        job.Ready({.complete = true, .soft_cancel = step.variant % 2 == 0});
        while (!completed_ && !job.cancel_requested()) {
          world_.SetAwaits(plan_, World::Awaits::kCompletion);
          const absl::Status status = co_await job.Yield();
          world_.SetAwaits(plan_, World::Awaits::kNothing);
          if (!status.ok()) co_return status;
          world_.checker().Runs(job);
        }
        co_return absl::OkStatus();
      case kError: {
        Co<absl::Status> error = Error(job, step);
        co_return co_await std::move(error);
      }
      case kAdmit: {
        Co<absl::Status> request = Request(job, step);
        co_return co_await std::move(request);
      }
      case kIo: {
        Co<absl::Status> io = Io(step.amount);
        co_return co_await std::move(io);
      }
      case kTasks: {
        TaskScope tasks;
        for (uint32_t i = 0; i <= step.amount % 3; ++i) tasks.Spawn(Task(i));
        co_await tasks.AtMost(0);
        co_return absl::OkStatus();
      }
      case kInner: {
        Co<absl::Status> inner = Inner(job, step.amount % 4);
        co_return co_await std::move(inner);
      }
      case kBeside:
        beside_.Spawn(Beside(job, step));
        co_return absl::OkStatus();
      case kDetails:
        job.PublishDetails({{"step", "details"}});
        co_return absl::OkStatus();
      case kFail:
        co_return absl::InternalError("as planned");
      case kThrow:
        throw std::runtime_error("as planned");
    }
    co_return absl::OkStatus();
  }

  // Until it says to go on; it must stop the job, if it stops it, only once.
  Co<absl::Status> Error(JobContext& job, const Step& step) {
    const auto policy = static_cast<OnError>(step.variant % kOnErrorCount);
    const int error = step.amount % 2 == 0 ? EIO : ENOSPC;
    for (uint32_t i = 0; i <= step.amount % 3; ++i) {
      switch (job.HandleError(IoOperation::kWrite, policy, error)) {
        case ErrorAction::kReport:
          co_return absl::UnavailableError("as planned");
        case ErrorAction::kIgnore:
          co_return absl::OkStatus();
        case ErrorAction::kStop: {
          const absl::Status status = co_await job.PausePoint();
          if (!status.ok()) co_return status;
          world_.checker().Runs(job);
        }
      }
    }
    co_return absl::OkStatus();
  }

  Co<absl::Status> Request(JobContext& job, const Step& step) {
    const std::vector<Resource*> own = world_.Resources(plan_.resources);
    if (own.empty()) {
      Co<absl::Status> io = Io(step.amount);
      co_return co_await std::move(io);
    }
    Resource& resource = *own[step.variant % own.size()];
    absl::StatusOr<Admission> admission = job.Admit(resource);
    if (!admission.ok()) co_return admission.status();
    world_.CheckNotStill(resource);
    Co<absl::Status> io = Io(step.amount);
    const absl::Status status = co_await std::move(io);
    world_.CheckNotStill(resource);
    admission->End();
    co_return status;
  }

  // Not under a pause point: the job may be told to pause, but does not before this has ended.
  Co<void> Beside(JobContext& job, const Step& step) {
    Co<absl::Status> request = Request(job, step);
    const absl::Status status = co_await std::move(request);
    if (!status.ok())
      (void)job.HandleError(IoOperation::kRead, static_cast<OnError>(step.variant % kOnErrorCount), EIO);
  }

  Co<absl::Status> Io(uint32_t amount) {
    std::array<std::byte, 64> buffer{};
    IoEngine& disk = world_.environment().disk;
    const int file = world_.environment().file;
    const IoResult result =
        amount % 2 == 0 ? co_await Read(disk, file, amount, buffer) : co_await Write(disk, file, amount, buffer);
    co_return result.error == 0 ? absl::OkStatus() : absl::UnavailableError("I/O error");
  }
  Co<void> Task(uint32_t i) {
    Co<absl::Status> io = Io(i);
    (void)co_await std::move(io);
  }

  Co<absl::Status> Inner(JobContext& job, uint32_t depth) {
    if (depth > 0) {
      Co<absl::Status> inner = Inner(job, depth - 1);
      const absl::Status status = co_await std::move(inner);
      if (!status.ok()) co_return status;
    }
    const absl::Status status = co_await job.PausePoint();
    world_.checker().Runs(job);
    co_return status;
  }

  // A pause that has come to its end can be told from one that has not: this is where yields do not park.
  Co<void> InGate(JobContext& job, const HookPlan& hook) {
    if (hook.slow) (void)co_await job.Sleep(milliseconds(2));
    if (hook.throws) throw std::runtime_error("as planned");
  }

  Co<absl::Status> AtEnd(const HookPlan& hook) {
    if (hook.slow) {
      Co<absl::Status> io = Io(0);
      (void)co_await std::move(io);
    }
    if (hook.throws) throw std::runtime_error("as planned");
    if (hook.fails) co_return absl::InternalError("as planned");
    co_return absl::OkStatus();
  }
  Co<void> IgnoreErrors(const HookPlan& hook) {
    Co<absl::Status> end = AtEnd(hook);
    (void)co_await std::move(end);
  }

  // What is to be still at the end is so from Prepare on.
  void CheckStill() {
    for (const Resource* resource : world_.Resources(plan_.still_at_end)) {
      if (resource->in_flight() != 0) world_.Broken(absl::StrCat("'", resource->name(), "' is not still at the end"));
    }
  }

  World& world_;
  const JobPlan& plan_;
  // The job's context only.
  bool completed_ = false;
  TaskScope beside_;
};

}  // namespace

std::unique_ptr<JobDriver> MakeDriver(World& world, const JobPlan& plan) {
  return std::make_unique<SimDriver>(world, plan);
}

Co<void> Doze(AioContext& here, Nanoseconds time) {
  const auto forever = [] { return true; };
  Co<absl::Status> wait =
      AioWaitWhile(here, forever, {.name = "doze", .deadline = SaturatingAdd(here.clock().Now(), time)});
  (void)co_await std::move(wait);
}

Co<void> AwaitOne(World& world, JobRef job, TimePoint deadline) {
  Co<absl::StatusOr<JobOutcome>> wait = monitor::AwaitJob(job, deadline);
  const absl::StatusOr<JobOutcome> outcome = co_await std::move(wait);
  {
    JobLock lock(world.core());
    if (outcome.ok() && (job->outcome() == nullptr || *job->outcome() != *outcome)) {
      world.Broken(absl::StrCat("a wait for job '", job->id(), "' has returned another outcome than the job's"));
    }
  }
  job = JobRef();
  world.End();
}

Co<void> HoldSection(World& world, uint32_t set, Nanoseconds patience, Nanoseconds hold) {
  const std::vector<Resource*> resources = world.Resources(set);
  AioContext& here = *AioContext::Current();
  if (!resources.empty()) {
    const DrainOptions options{.name = "held", .deadline = SaturatingAdd(world.environment().clock.Now(), patience)};
    Co<absl::StatusOr<DrainedSection>> open = DrainedSection::Open(resources, options);
    absl::StatusOr<DrainedSection> section = co_await std::move(open);
    if (section.ok()) {
      world.CountStill(resources, 1);
      Co<void> doze = Doze(here, hold);
      co_await std::move(doze);
      world.CountStill(resources, -1);
      section->End();
    }
  }
  world.End();
}

Co<void> MakeRequests(World& world, uint32_t which, uint32_t count) {
  Resource& resource = world.resource(which);
  for (uint32_t i = 0; i < count; ++i) {
    Admission in = co_await resource.Admit();
    world.CheckNotStill(resource);
    std::array<std::byte, 16> buffer{};
    (void)co_await Write(world.environment().disk, world.environment().file, i, buffer);
    if (which + 1 < world.plan().resources) {  // upwards only, so that requests do not wait for each other
      Resource& next = world.resource(which + 1);
      Admission inner = co_await next.Admit(in);
      world.CheckNotStill(next);
      (void)co_await Write(world.environment().disk, world.environment().file, i, buffer);
      inner.End();
    }
    world.CheckNotStill(resource);
  }
  world.End();
}

}  // namespace jobcore::sim
