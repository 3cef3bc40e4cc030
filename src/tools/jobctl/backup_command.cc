// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/backup_command.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "job-common/io_engine.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/job_driver.h"
#include "job-monitor/event_observer.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"
#include "job-monitor/wait_dump.h"
#include "job-monitor/watchdog.h"
#include "tools/jobctl/keys.h"
#include "tools/jobctl/line_reader.h"
#include "tools/jobctl/pairs.h"
#include "tools/jobctl/put.h"
#include "tools/jobctl/reporter.h"
#include "tools/jobctl/signals.h"
#include "tools/jobctl/terminal.h"

namespace jobctl {
namespace {

using namespace jobcore;
using namespace std::chrono_literals;

constexpr int kMaxIoWorkers = 16;

std::string Complaint(absl::string_view text) { return absl::StrCat("jobctl: ", text, "\n"); }

// One run of the command. Everything in it but the jobs themselves happens on the main thread, in callbacks
// of the core's main context.
class Session {
 public:
  explicit Session(const BackupCommand& command) : command_(command) {}

  int Run(std::vector<Pair> pairs);

 private:
  bool MakeDrivers();
  absl::Status CreateJobs();
  void StartWatchdog();
  void StartJobs();
  // Once per job: says how it has ended.
  void End(size_t index, const JobOutcome& outcome);
  int Summarize();

  void Complain(absl::string_view text);
  void MakeReporter();
  void OnEvents(const EventPage& page);
  void OnTick();
  void OnSignal(int signal);
  void OnKey(char key);
  void Cancel(absl::string_view how_to_exit);
  void FinalizeAll();
  template <typename Verb>
  void ForEachJob(Verb verb) JOBCORE_EXCLUDES(job_mutex);
  void AskWhenAllArePending();
  void OnAnswer(const std::optional<std::string>& line);
  [[noreturn]] void ExitAtOnce();

  bool Finished();
  Nanoseconds Now() { return core_.main_context().clock().Now() - start_; }

  const BackupCommand& command_;
  std::vector<Pair> pairs_;
  std::unique_ptr<Reporter> reporter_ = Reporter::Text();
  const TimePoint start_ = Clock::System().Now();

  // Destroyed from the bottom up: a core outlives references to its jobs and all that hangs on its main
  // context; the threads and the engine outlive the jobs.
  std::unique_ptr<IoEngine> engine_;
  std::vector<std::unique_ptr<IOThread>> io_threads_;
  std::vector<std::unique_ptr<JobDriver>> drivers_;
  JobCore core_;
  std::vector<JobRef> jobs_;
  std::vector<std::optional<JobSummary>> summaries_;  // of those that have ended
  uint64_t last_event_ = 0;                           // the newest one reported
  bool asked_ = false;
  bool interrupted_ = false;
  std::optional<monitor::EventObserver> observer_;
  std::optional<SignalWatch> signals_;
  std::optional<LineReader> answer_;
  std::optional<monitor::Watchdog> watchdog_;
  std::unique_ptr<Keys> keys_;
  AioTimer ticker_{core_.main_context(), "progress", [this] { OnTick(); }};
};

int Session::Run(std::vector<Pair> pairs) {
  pairs_ = std::move(pairs);
  if (!MakeDrivers()) return kExitUsage;  // nothing has been written until here

  absl::StatusOr<SignalWatch> signals =
      SignalWatch::Create(core_.main_context(), [this](int signal) { OnSignal(signal); });
  if (!signals.ok()) {
    Complain(signals.status().message());
    return kExitFailed;
  }
  signals_.emplace(*std::move(signals));
  MakeReporter();
  observer_.emplace(core_, core_.main_context(), [this](const EventPage& page) { OnEvents(page); });

  if (absl::Status s = CreateJobs(); !s.ok()) {
    Complain(s.message());
    return kExitFailed;  // ~JobCore ends the jobs that were made
  }
  if (command_.watchdog_seconds > 0) StartWatchdog();
  StartJobs();
  ticker_.ArmAt(core_.main_context().clock().Now() + reporter_->interval());

  // All the rest happens in callbacks while this waits.
  const absl::Status waited =
      AioWaitWhileUnlocked(core_, [this] { return !Finished(); }, {.name = "the backups", .watched = false});
  if (!waited.ok()) Complain(waited.message());
  return Summarize();
}

bool Session::MakeDrivers() {
  const auto most_requests = static_cast<int64_t>(command_.in_flight) * std::ssize(pairs_);
  const int threads = static_cast<int>(std::clamp<int64_t>(most_requests, 1, kMaxIoWorkers));
  switch (command_.engine) {
    case BackupCommand::Engine::kAuto:
      engine_ = IoEngine::Best(threads);
      break;
    case BackupCommand::Engine::kThreads:
      engine_ = IoEngine::ThreadPool(threads);
      break;
    case BackupCommand::Engine::kUring: {
      absl::StatusOr<std::unique_ptr<IoEngine>> uring = IoEngine::Uring(threads);
      if (!uring.ok()) {
        Complain(uring.status().message());
        return false;
      }
      engine_ = *std::move(uring);
      break;
    }
  }
  for (const Pair& pair : pairs_) {
    auto driver = MakeFileBackup({.source = pair.source,
                                  .target = pair.target,
                                  .force = command_.force,
                                  .in_flight = command_.in_flight,
                                  .chunk_bytes = command_.chunk_bytes,
                                  .engine = engine_.get(),
                                  .sync = command_.sync});
    if (driver.ok()) {
      drivers_.push_back(*std::move(driver));
    } else {
      Complain(driver.status().message());
    }
  }
  return drivers_.size() == pairs_.size();
}

absl::Status Session::CreateJobs() {
  for (int i = 0; i < command_.io_threads; ++i) {
    io_threads_.push_back(std::make_unique<IOThread>(absl::StrCat("io", i)));
  }
  JobTxnBuilder group(core_);
  for (size_t i = 0; i < pairs_.size(); ++i) {
    absl::StatusOr<JobRef> job = CreateJob(core_,
                                           {.id = pairs_[i].id,
                                            .context = &io_threads_[i % io_threads_.size()]->context(),
                                            .group = command_.group ? &group : nullptr,
                                            .auto_finalize = !command_.ask_to_finalize,
                                            .speed = command_.bytes_per_second},
                                           std::move(drivers_[i]));
    if (!job.ok()) return job.status();
    jobs_.push_back(*std::move(job));
  }
  summaries_.resize(jobs_.size());
  return group.Seal();
}

void Session::StartWatchdog() {
  monitor::Watchdog::Options options;
  options.callback = [this](const monitor::WaitDump& dump, const std::string& reason) {
    reporter_->Error(absl::StrCat("watchdog: ", reason, "\n", ToString(dump)));
  };
  options.wait_limit =
      std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(command_.watchdog_seconds));
  options.overdue_limit = options.loop_limit = options.wait_limit;
  options.interval = std::min(options.interval, options.wait_limit / 4);
  watchdog_.emplace(core_, std::move(options));
}

void Session::StartJobs() {
  // Refused only if the job's group has failed already; then its outcome says so.
  for (const JobRef& job : jobs_) StartJob(*job).IgnoreError();
}

bool Session::Finished() {
  JobLock lock(core_);
  return core_.job_count() == 0 && last_event_ == core_.last_event();
}

void Session::OnEvents(const EventPage& page) {
  if (page.lost > 0) reporter_->EventsLost(Now(), page.lost);
  for (const JobEvent& event : page.events) {
    // The clock of the events is read once per turn of a loop: it may be a little behind ours.
    reporter_->Event(std::max(event.time - start_, Nanoseconds::zero()), event);
    last_event_ = event.sequence;
    if (event.kind != JobEvent::Kind::kStatus || event.status != JobStatus::kConcluded) continue;
    const auto job = std::find_if(pairs_.begin(), pairs_.end(), [&](const Pair& p) { return p.id == event.job_id; });
    End(static_cast<size_t>(job - pairs_.begin()), *event.outcome);
  }
  if (command_.ask_to_finalize) AskWhenAllArePending();
}

void Session::OnTick() {
  if (keys_ != nullptr) keys_->Claim();  // we may have come to the foreground
  std::vector<monitor::JobInfo> jobs = monitor::SnapshotJobs(core_);
  std::reverse(jobs.begin(), jobs.end());  // oldest first, as on the command line
  reporter_->Progress(Now(), jobs);
  ticker_.ArmAt(core_.main_context().clock().Now() + reporter_->interval());
}

void Session::MakeReporter() {
  if (command_.json) {
    reporter_ = Reporter::Json();
  } else if (CanPaint()) {
    keys_ = Keys::Create(core_.main_context(), [this](char key) { OnKey(key); });
    reporter_ = Reporter::Terminal(keys_ != nullptr);
  } else {
    reporter_ = Reporter::Text();
  }
}

template <typename Verb>
void Session::ForEachJob(Verb verb) {
  JobLock lock(core_);
  // What does not fit the state of a job is refused, and that is all right: the key is for those that it fits.
  for (const JobRef& job : jobs_) verb(*job).IgnoreError();
}

void Session::OnKey(char key) {
  switch (key) {
    case 'p':
      ForEachJob([](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return monitor::Pause(job); });
      return;
    case 'r':
      ForEachJob([](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return monitor::Resume(job); });
      return;
    case 'c':
      return Cancel("Ctrl-C exits at once");
    case 'f':
    case 'y':
      if (asked_) FinalizeAll();
      return;
    case 'n':
      if (asked_) Cancel("Ctrl-C exits at once");
      return;
    default:
      return;
  }
}

void Session::AskWhenAllArePending() {
  if (asked_) return;
  std::vector<std::string> pending;
  {
    JobLock lock(core_);
    for (const JobRef& job : jobs_) {
      if (job->status() == JobStatus::kPending) {
        pending.push_back(job->id());
      } else if (!IsConcluded(job->status())) {
        return;
      }
    }
  }
  if (pending.empty()) return;
  asked_ = true;
  reporter_->Question(pending);
  if (keys_ == nullptr)
    answer_.emplace(core_.main_context(), [this](const std::optional<std::string>& line) { OnAnswer(line); });
}

void Session::OnAnswer(const std::optional<std::string>& line) {
  const bool yes = line == "y" || line == "Y" || line == "yes";
  if (yes) {
    FinalizeAll();
  } else {
    monitor::CancelAll(core_);
  }
}

void Session::FinalizeAll() {
  absl::Status refused;
  {
    JobLock lock(core_);
    for (const JobRef& job : jobs_) {
      // The second one of a group joins the first.
      if (job->status() == JobStatus::kPending) refused.Update(monitor::Finalize(*job));
    }
  }
  if (!refused.ok()) Complain(refused.message());
}

void Session::OnSignal(int signal) {
  switch (signal) {
    case SIGUSR1:
      return reporter_->Error(ToString(monitor::DumpWaits(core_)));
    case SIGCONT:
      if (keys_ != nullptr) keys_->Continue();
      return;
    case SIGTSTP:
    case SIGQUIT:
      reporter_->Suspend();
      if (keys_ != nullptr) keys_->Release();
      ActOnSignal(signal);
      if (keys_ != nullptr) keys_->Claim();
      return;
    case SIGHUP:
      return Cancel("");  // comes twice when a terminal is closed: from the kernel and from the shell
    default:
      if (interrupted_) ExitAtOnce();
      return Cancel("once more to exit at once");
  }
}

void Session::Cancel(absl::string_view how_to_exit) {
  if (std::exchange(interrupted_, true)) return;
  Complain(absl::StrCat("cancelling", how_to_exit.empty() ? "" : "; ", how_to_exit));
  monitor::CancelAll(core_);
}

void Session::ExitAtOnce() {
  reporter_->Suspend();
  if (keys_ != nullptr) keys_->Release();
  for (const monitor::JobInfo& job : monitor::SnapshotJobs(core_)) {
    if (job.details == nullptr) continue;
    for (const auto& [name, value] : *job.details) {
      if (name == "temporary") unlink(value.c_str());
    }
  }
  _exit(kExitCancelled);  // without destructors: they would wait for the requests that hang
}

void Session::End(size_t index, const JobOutcome& outcome) {
  if (summaries_[index]) return;
  const Pair& pair = pairs_[index];
  summaries_[index] = {.id = pair.id,
                       .source = pair.source,
                       .target = pair.target,
                       .outcome = outcome,
                       .bytes = jobs_[index]->progress().Get().current};
  reporter_->Ended(Now(), *summaries_[index]);
  if (outcome.kind == JobOutcome::Kind::kFailed) Complain(absl::StrCat(pair.id, ": ", outcome.message));
}

int Session::Summarize() {
  std::vector<JobSummary> summaries;
  bool failed = false;
  bool cancelled = false;
  for (size_t i = 0; i < jobs_.size(); ++i) {
    const absl::StatusOr<JobOutcome> outcome = monitor::WaitFor(jobs_[i]);   // has concluded: no wait
    End(i, outcome.ok() ? *outcome : JobOutcome::Failed(outcome.status()));  // if its events were lost
    const JobSummary& job = summaries.emplace_back(*summaries_[i]);
    if (job.outcome.kind == JobOutcome::Kind::kFailed) failed = true;
    if (job.outcome.kind == JobOutcome::Kind::kCancelled) cancelled = true;
  }
  keys_.reset();
  const int exit_status = failed ? kExitFailed : cancelled ? kExitCancelled : kExitDone;
  reporter_->Summary(Now(), exit_status, summaries);
  return exit_status;
}

void Session::Complain(absl::string_view text) { reporter_->Error(Complaint(text)); }

}  // namespace

int RunBackup(const BackupCommand& command) {
  absl::StatusOr<std::vector<Pair>> pairs = MakePairs(command.paths);
  if (!pairs.ok()) {
    Put(STDERR_FILENO, Complaint(pairs.status().message()));
    return kExitUsage;
  }
  BlockSignals();  // before there are other threads
  return Session(command).Run(*std::move(pairs));
}

}  // namespace jobctl
