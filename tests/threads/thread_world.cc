// SPDX-License-Identifier: Apache-2.0

#include "threads/thread_world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <utility>

#include "job-common/aio_wait.h"
#include "job-common/job_event.h"
#include "job-monitor/job_wait.h"
#include "testing/tsan.h"

namespace jobcore::threads {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kSlower = 4;
#else
constexpr uint64_t kSlower = internal::kUnderTsan ? 10 : 1;
#endif

class TestDriver final : public JobDriver {
 public:
  TestDriver(Ledger& ledger, Hooks hooks) : ledger_(ledger), hooks_(std::move(hooks)) {}
  ~TestDriver() override { ++ledger_.destroyed; }

  Co<absl::Status> Run(JobContext& job) override {
    AtHome(job);
    Require(++ledger_.runs == 1, "Run is called once");
    absl::Status status;
    if (hooks_.run) status = co_await hooks_.run(job);
    AtHome(job);
    ++ledger_.returns;
    co_return status;
  }
  Co<void> Pause(JobContext& job) override {
    AtHome(job);
    Require(++ledger_.pauses == ledger_.resumes + 1, "Pause and Resume alternate");
    if (hooks_.pause) co_await hooks_.pause(job);
    AtHome(job);
  }
  Co<void> Resume(JobContext& job) override {
    AtHome(job);
    Require(++ledger_.resumes == ledger_.pauses, "Resume follows Pause");
    if (hooks_.resume) co_await hooks_.resume(job);
    AtHome(job);
  }
  void Cancel(JobContext& job, CancelMode mode) override {
    AtHome(job);
    Require(ledger_.runs == 1 && ledger_.returns == 0, "Cancel comes during Run");
    int& count = mode == CancelMode::kSoft ? ledger_.soft_cancels : ledger_.force_cancels;
    Require(++count == 1, "Cancel is called once per mode");
    if (hooks_.cancel) hooks_.cancel(job, mode);
  }
  Co<absl::Status> Complete(JobContext& job) override { return Request(job, hooks_.complete); }
  Co<absl::Status> Change(JobContext& job, const JobOptions&) override { return Request(job, hooks_.change); }

  Co<absl::Status> Prepare() override {
    Require(ledger_.runs == 1 && ledger_.returns == 1, "Prepare comes after Run");
    Require(++ledger_.prepares == 1, "Prepare is called once");
    absl::Status status;
    if (hooks_.prepare) status = co_await hooks_.prepare();
    co_return status;
  }
  Co<absl::Status> Commit() override {
    Require(ledger_.prepares == 1, "Commit comes after Prepare");
    Require(++ledger_.commits == 1 && ledger_.aborts == 0, "Commit is called once, and no Abort");
    absl::Status status;
    if (hooks_.commit) status = co_await hooks_.commit();
    co_return status;
  }
  Co<void> Abort() override {
    Require(ledger_.runs == ledger_.returns, "Abort comes after Run");
    Require(++ledger_.aborts == 1 && ledger_.commits == 0, "Abort is called once, and no Commit");
    if (hooks_.abort) co_await hooks_.abort();
  }
  Co<void> Clean() override {
    Require(++ledger_.cleans == 1, "Clean is called once");
    Require(ledger_.commits + ledger_.aborts == 1, "Clean comes after Commit or Abort");
    return {};
  }

 private:
  static void AtHome(JobContext& job) { Require(job.context().IsHome(), "a hook is called in its job's context"); }
  Co<absl::Status> Request(JobContext& job, const std::function<Co<absl::Status>(JobContext&)>& hook) {
    AtHome(job);
    Require(ledger_.runs == 1 && ledger_.returns == 0, "requests come during Run");
    absl::Status status;
    if (hook) status = co_await hook(job);
    AtHome(job);
    co_return status;
  }

  Ledger& ledger_;
  const Hooks hooks_;
};

}  // namespace

void RunScenario(absl::FunctionRef<void(Choices&)> scenario, uint64_t seeds, std::vector<std::string> must_reach) {
  // What is rare may not be reached by the few seeds of a slow build.
  if (kSlower != 1) must_reach.clear();
  const testing::CampaignResult result = testing::RunCampaign(
      {.seeds = std::max<uint64_t>(seeds / kSlower, 1), .must_reach = std::move(must_reach)}, scenario);
  EXPECT_TRUE(result.ok()) << result.ToString();
}

ControlledThreads::Options StrategyOf(Choices& choices) {
  const bool pct = choices.OneIn(2);
  return {.strategy = pct ? ControlledThreads::Strategy::kPct : ControlledThreads::Strategy::kRandom,
          .expected_steps = uint32_t{64} << choices.Below(5),
          .max_steps = 200'000};
}

void Violated(std::string_view rule) {
  std::fprintf(stderr, "violated: %.*s\n", static_cast<int>(rule.size()), rule.data());
  std::abort();
}

void RequireOk(const absl::Status& status, std::string_view what) {
  if (!status.ok()) Violated(std::string(what) + ": " + status.ToString());
}

World::World(Choices& choices, Options options) : choices_(choices), threads_(choices, StrategyOf(choices)) {
  for (int i = 0; i < options.io_threads; ++i) io_threads_.push_back(NewIOThread("io" + std::to_string(i)));
  core_ = std::make_unique<JobCore>(
      JobCore::Options{.main_context = AioContext::Create({.clock = &threads_.clock(), .poller = threads_.NewPoller()}),
                       .event_capacity = options.event_capacity,
                       .history_count = options.history_count});
}

std::unique_ptr<IOThread> World::NewIOThread(std::string name) {
  const Nanoseconds poll_max = choices_.OneIn(4) ? std::chrono::microseconds(4) : Nanoseconds(0);
  return std::make_unique<IOThread>(
      std::move(name),
      IOThread::Options{.clock = &threads_.clock(), .poller = threads_.NewPoller(), .poll_max = poll_max});
}

World::~World() {
  EndCore();
  io_threads_.clear();  // aborts if a job is still counted as a user
  CheckLedgers();
}

void World::EndCore() {
  if (core_ == nullptr) return;
  const auto report = monitor::Shutdown(*core_, monitor::ShutdownMode::kCancel);
  RequireOk(report.status(), "shutdown");
  Require(report->clean(), "after a shutdown nothing is open");
  CheckEvents();
  core_.reset();
}

void World::CheckEvents() {
  EventCursor cursor;
  std::map<uint64_t, JobEvent> last;
  for (EventPage page;;) {
    {
      JobLock lock(*core_);
      page = core_->ReadEvents(cursor);
    }
    if (page.events.empty()) break;
    for (JobEvent& event : page.events) {
      const auto before = last.find(event.job_number);
      if (before != last.end()) {
        Require(event.kind != JobEvent::Kind::kStatus || MayTransition(before->second.status, event.status),
                "the status of a job changes as the table allows");
        Require(!before->second.outcome || before->second.outcome == event.outcome || event.outcome.has_value(),
                "an outcome stands");
      }
      last.insert_or_assign(event.job_number, std::move(event));
    }
  }
  for (const auto& [number, event] : last) {
    const Ledger* const l = FindLedger(event.job_id);  // null: of another kind of driver
    if (l != nullptr && l->abandoned) continue;
    Require(event.status == JobStatus::kNull || event.status == JobStatus::kConcluded, "a job comes to an end");
    Require(event.outcome.has_value(), "a job that has ended has an outcome");
    if (l == nullptr) continue;
    Require(l->commits == 1 || !event.outcome->succeeded(), "who has succeeded has committed");
    Require(l->commits == 0 || event.outcome->kind != JobOutcome::Kind::kCancelled,
            "who has committed is not cancelled");
  }
}

void World::CheckLedgers() {
  for (const Ledger& l : ledgers_) {
    Require(l.destroyed == 1, "a driver is destroyed");
    Require(l.runs == l.returns, "Run comes to its end");
    Require(l.pauses == l.resumes, "each Pause has its Resume");
    const int ends = l.abandoned ? 0 : 1;
    Require(l.commits + l.aborts == ends && l.cleans == ends, "a job ends by Commit or Abort, and Clean");
  }
}

Ledger* World::FindLedger(std::string_view id) {
  const std::scoped_lock lock(ledgers_mutex_);
  const auto found = std::find_if(ledgers_.rbegin(), ledgers_.rend(), [&](const Ledger& l) { return l.id == id; });
  return found == ledgers_.rend() ? nullptr : &*found;
}

Ledger& World::ledger(std::string_view id) {
  Ledger* const found = FindLedger(id);
  Require(found != nullptr, "the scenario asks for a job that there was");
  return *found;
}

std::unique_ptr<JobDriver> World::Driver(std::string id, Hooks hooks) {
  Ledger* ledger;
  {
    const std::scoped_lock lock(ledgers_mutex_);
    ledger = &ledgers_.emplace_back();
  }
  ledger->id = std::move(id);
  return std::make_unique<TestDriver>(*ledger, std::move(hooks));
}

absl::StatusOr<JobRef> World::TryCreate(const JobSpec& spec, Hooks hooks) {
  std::unique_ptr<JobDriver> driver = Driver(spec.id, std::move(hooks));
  Ledger& l = ledger(spec.id);
  absl::StatusOr<JobRef> job = CreateJob(core(), spec, std::move(driver));
  l.abandoned = !job.ok();
  return job;
}

JobRef World::Create(const JobSpec& spec, Hooks hooks) {
  absl::StatusOr<JobRef> job = TryCreate(spec, std::move(hooks));
  RequireOk(job.status(), "creation of a job");
  return *std::move(job);
}

JobRef World::Start(const JobSpec& spec, Hooks hooks) {
  JobRef job = Create(spec, std::move(hooks));
  RequireOk(StartJob(*job), "start of a job");
  return job;
}

absl::Status World::Pause(const JobRef& job, std::string_view reason) {
  JobLock lock(core());
  return monitor::Pause(*job, reason);
}
absl::Status World::Resume(const JobRef& job, std::string_view reason) {
  JobLock lock(core());
  return monitor::Resume(*job, reason);
}
absl::Status World::Cancel(const JobRef& job, CancelMode mode) {
  JobLock lock(core());
  return monitor::Cancel(*job, mode);
}
absl::Status World::Move(const JobRef& job, AioContext& target, VerbReply reply) {
  JobLock lock(core());
  return monitor::Move(*job, target, std::move(reply));
}
absl::Status World::Complete(const JobRef& job, VerbReply reply) {
  JobLock lock(core());
  return monitor::Complete(*job, std::move(reply));
}
absl::Status World::Change(const JobRef& job, VerbReply reply) {
  JobLock lock(core());
  return monitor::Change(*job, {}, std::move(reply));
}
absl::Status World::Finalize(const JobRef& job, VerbReply reply) {
  JobLock lock(core());
  return monitor::Finalize(*job, std::move(reply));
}
absl::Status World::Dismiss(const JobRef& job) {
  JobLock lock(core());
  return monitor::Dismiss(*job);
}
absl::Status World::SetSpeed(const JobRef& job, int64_t speed) {
  JobLock lock(core());
  return monitor::SetSpeed(*job, speed);
}
JobStatus World::StatusOf(const JobRef& job) {
  JobLock lock(core());
  return job->status();
}

void World::AwaitStatus(const JobRef& job, JobStatus status) {
  Await([&] { return StatusOf(job) == status; });
}

JobOutcome World::AwaitEnd(const JobRef& job) {
  absl::StatusOr<JobOutcome> outcome = monitor::WaitFor(job);
  RequireOk(outcome.status(), "wait for the end of a job");
  return *std::move(outcome);
}

void World::Await(absl::FunctionRef<bool()> done) {
  RequireOk(AioWaitWhileUnlocked(core(), [&] { return !done(); }, {.name = "scenario"}), "wait of the scenario");
}

Co<absl::Status> Steps(JobContext& job, int steps) {
  for (int i = 0; i < steps; ++i) {
    if (absl::Status status = co_await job.PausePoint(); !status.ok()) co_return status;
    if (absl::Status status = co_await job.Sleep(Nanoseconds(0)); !status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

Co<absl::Status> YieldUntil(JobContext& job, Atomic<bool>& finish) {
  while (!finish.load() && !job.cancel_requested()) {
    if (absl::Status status = co_await job.Yield(); !status.ok()) co_return status;
  }
  if (job.force_cancelled()) co_return absl::CancelledError();
  co_return absl::OkStatus();
}

}  // namespace jobcore::threads
