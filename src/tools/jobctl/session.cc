// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/session.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "job-common/io_engine.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-common/verb_reply.h"
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
#include "tools/jobctl/question.h"
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
  Session(const SessionOptions& options, std::vector<Pair> pairs, std::unique_ptr<Work> work)
      : options_(options), pairs_(std::move(pairs)), work_(std::move(work)) {}

  int Run() JOBCORE_EXCLUDES(job_mutex);

 private:
  bool MakeEngine();
  bool Open();
  absl::Status CreateJobs();
  // Those that have been created and are not to be started.
  void EndJobs() JOBCORE_EXCLUDES(job_mutex);
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
  void CompleteReady();
  void OnCompleteReply(size_t index, const absl::Status& reply);
  void KeepAll();
  void FinalizeAll();
  template <typename Verb>
  void ForEachJob(Verb verb) JOBCORE_EXCLUDES(job_mutex);
  // Asks once, when all jobs that have not ended are in that status.
  void AskWhenAllAre(JobStatus status, bool& asked, Question question);
  void OnAnswer(const std::optional<std::string>& line);
  void Act(const Answer& answer);
  [[noreturn]] void ExitAtOnce();

  bool Finished();
  Nanoseconds Now() { return core_.main_context().clock().Now() - start_; }

  const SessionOptions& options_;
  const std::vector<Pair> pairs_;
  std::unique_ptr<Reporter> reporter_ = Reporter::Text();
  const TimePoint start_ = Clock::System().Now();

  // Destroyed from the bottom up: a core outlives references to its jobs and all that hangs on its main
  // context; the threads and the engine outlive the jobs.
  std::unique_ptr<IoEngine> engine_;
  std::vector<std::unique_ptr<IOThread>> io_threads_;
  JobCore core_;
  std::unique_ptr<Work> work_;
  std::vector<JobRef> jobs_;
  std::vector<std::optional<JobSummary>> summaries_;  // of those that have ended
  uint64_t last_event_ = 0;                           // the newest one reported
  std::vector<bool> completed_;                       // the verb has been given
  bool asked_to_complete_ = false;
  bool asked_to_finalize_ = false;
  std::optional<Question> question_;  // that has not been answered
  bool interrupted_ = false;
  bool failed_ = false;  // other than a job
  std::optional<monitor::EventObserver> observer_;
  std::optional<SignalWatch> signals_;
  LineReader input_{core_.main_context()};
  std::optional<monitor::Watchdog> watchdog_;
  std::unique_ptr<Keys> keys_;
  AioTimer ticker_{core_.main_context(), "progress", [this] { OnTick(); }};
};

int Session::Run() {
  if (!MakeEngine() || !Open()) return kExitUsage;

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
    EndJobs();
    return kExitFailed;
  }
  if (options_.watchdog_seconds > 0) StartWatchdog();
  StartJobs();
  ticker_.ArmAt(core_.main_context().clock().Now() + reporter_->interval());

  // All the rest happens in callbacks while this waits.
  const absl::Status waited =
      AioWaitWhileUnlocked(core_, [this] { return !Finished(); }, {.name = "the jobs", .watched = false});
  if (!waited.ok()) Complain(waited.message());
  return Summarize();
}

bool Session::MakeEngine() {
  const auto most_requests = (int64_t{options_.in_flight} + options_.writers) * std::ssize(pairs_);
  const int threads = static_cast<int>(std::clamp<int64_t>(most_requests, 1, kMaxIoWorkers));
  switch (options_.engine) {
    case SessionOptions::Engine::kAuto:
      engine_ = IoEngine::Best(threads);
      break;
    case SessionOptions::Engine::kThreads:
      engine_ = IoEngine::ThreadPool(threads);
      break;
    case SessionOptions::Engine::kUring: {
      absl::StatusOr<std::unique_ptr<IoEngine>> uring = IoEngine::Uring(threads);
      if (!uring.ok()) {
        Complain(uring.status().message());
        return false;
      }
      engine_ = *std::move(uring);
      break;
    }
  }
  return true;
}

bool Session::Open() {
  for (int i = 0; i < options_.io_threads; ++i) {
    io_threads_.push_back(std::make_unique<IOThread>(absl::StrCat("io", i)));
  }
  const std::vector<absl::Status> wrong =
      work_->Open({.core = core_, .engine = *engine_, .io_threads = io_threads_, .pairs = pairs_});
  for (const absl::Status& status : wrong) Complain(status.message());
  return wrong.empty();
}

absl::Status Session::CreateJobs() {
  JobTxnBuilder group(core_);
  for (size_t i = 0; i < pairs_.size(); ++i) {
    absl::StatusOr<JobRef> job = work_->CreateJob(i, {.id = pairs_[i].id,
                                                      .context = &io_threads_[i % io_threads_.size()]->context(),
                                                      .group = options_.group ? &group : nullptr,
                                                      .auto_finalize = !options_.ask_to_finalize,
                                                      .speed = options_.bytes_per_second});
    if (!job.ok()) return job.status();
    jobs_.push_back(*std::move(job));
  }
  summaries_.resize(jobs_.size());
  completed_.resize(jobs_.size());
  return group.Seal();
}

void Session::EndJobs() {
  monitor::CancelAll(core_);
  const auto are_there = [this] {
    JobLock lock(core_);
    return core_.job_count() != 0;
  };
  AioWaitWhileUnlocked(core_, are_there, {.name = "the end of the jobs", .watched = false}).IgnoreError();
}

void Session::StartWatchdog() {
  monitor::Watchdog::Options options;
  options.callback = [this](const monitor::WaitDump& dump, const std::string& reason) {
    reporter_->Error(absl::StrCat("watchdog: ", reason, "\n", ToString(dump)));
  };
  options.wait_limit =
      std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(options_.watchdog_seconds));
  options.overdue_limit = options.loop_limit = options.wait_limit;
  options.interval = std::min(options.interval, options.wait_limit / 4);
  watchdog_.emplace(core_, std::move(options));
}

void Session::StartJobs() {
  // Refused only if the job's group has failed already; then its outcome says so.
  for (const JobRef& job : jobs_) StartJob(*job).IgnoreError();
  work_->OnStarted();
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
  if (options_.ask_to_complete) {
    AskWhenAllAre(JobStatus::kReady, asked_to_complete_,
                  {.name = "switch-over",
                   .why = "all are ready",
                   .jobs = {},
                   .answers = {{'s', "switch over", "switches over", [this] { CompleteReady(); }},
                               {'k', "keep the copy", "keeps the copy", [this] { KeepAll(); }}}});
  } else {
    CompleteReady();
  }
  if (options_.ask_to_finalize) {
    AskWhenAllAre(
        JobStatus::kPending, asked_to_finalize_,
        {.name = "finalize", .why = "all is copied", .jobs = {}, .answers = {{'f', "finalize", "finalizes", [this] {
                                                                                FinalizeAll();
                                                                              }}}});
  }
}

void Session::OnTick() {
  if (keys_ != nullptr) keys_->Claim();  // we may have come to the foreground
  std::vector<monitor::JobInfo> jobs = monitor::SnapshotJobs(core_);
  std::reverse(jobs.begin(), jobs.end());  // oldest first, as on the command line
  reporter_->Progress(Now(), jobs);
  ticker_.ArmAt(core_.main_context().clock().Now() + reporter_->interval());
}

void Session::MakeReporter() {
  if (options_.json) {
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
    case 'n':
      if (question_) Cancel("Ctrl-C exits at once");
      return;
    default:
      break;
  }
  if (!question_) return;
  for (const Answer& answer : question_->answers) {
    if (key == answer.key || (key == 'y' && &answer == &question_->answers.front())) return Act(answer);
  }
}

void Session::AskWhenAllAre(JobStatus status, bool& asked, Question question) {
  if (asked) return;
  {
    JobLock lock(core_);
    for (const JobRef& job : jobs_) {
      if (job->status() == status) {
        question.jobs.push_back(job->id());
      } else if (!IsConcluded(job->status())) {
        return;
      }
    }
  }
  if (question.jobs.empty()) return;
  asked = true;
  question_ = std::move(question);
  reporter_->Ask(*question_);
  if (keys_ == nullptr) {
    input_.Read([this](const std::optional<std::string>& line) { OnAnswer(line); });
  }
}

void Session::OnAnswer(const std::optional<std::string>& line) {
  if (!question_ || !line) {
    monitor::CancelAll(core_);
    return;
  }
  const std::string& text = *line;
  for (const Answer& answer : question_->answers) {
    const bool yes = &answer == &question_->answers.front() && (text == "y" || text == "Y" || text == "yes");
    if (yes || text == std::string_view(&answer.key, 1)) return Act(answer);
  }
  monitor::CancelAll(core_);
}

void Session::Act(const Answer& answer) {
  const std::function<void()> act = answer.act;
  question_.reset();
  reporter_->Answered();
  act();
}

void Session::CompleteReady() {
  std::vector<absl::Status> refused;
  {
    JobLock lock(core_);
    for (size_t i = 0; i < jobs_.size(); ++i) {
      const JobStatus status = jobs_[i]->status();
      if (completed_[i] || (status != JobStatus::kReady && status != JobStatus::kStandby)) continue;
      completed_[i] = true;
      VerbReply reply(core_.main_context(), [this, i](const absl::Status& s) { OnCompleteReply(i, s); });
      refused.push_back(monitor::Complete(*jobs_[i], std::move(reply)));
    }
  }
  for (const absl::Status& status : refused) {
    if (!status.ok()) Complain(status.message());
  }
}

// A job that cannot be completed would stay ready for ever.
void Session::OnCompleteReply(size_t index, const absl::Status& reply) {
  if (reply.ok()) return;
  {
    JobLock lock(core_);
    if (jobs_[index]->outcome() != nullptr) return;  // it has ended before, and says why
    monitor::Cancel(*jobs_[index]).IgnoreError();
  }
  failed_ = true;
  Complain(absl::StrCat(pairs_[index].id, ": ", reply.message()));
}

// Jobs that are ready end with a consistent copy, and nobody is switched over.
void Session::KeepAll() {
  ForEachJob([](Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return monitor::Cancel(job, CancelMode::kSoft); });
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
  work_->Abandon();
  _exit(kExitCancelled);  // without destructors: they would wait for the requests that hang
}

void Session::End(size_t index, const JobOutcome& outcome) {
  if (summaries_[index]) return;
  const Pair& pair = pairs_[index];
  const absl::Status settled = work_->OnEnded(index, outcome, completed_[index]);
  const JobSummary& summary =
      summaries_[index].emplace(JobSummary{.id = pair.id,
                                           .source = pair.source,
                                           .target = pair.target,
                                           .outcome = settled.ok() ? outcome : JobOutcome::Failed(settled),
                                           .bytes = jobs_[index]->progress().Get().current,
                                           .mirrored = jobs_[index]->type() == "mirror"});
  reporter_->Ended(Now(), summary);
  if (summary.outcome.kind == JobOutcome::Kind::kFailed) {
    Complain(absl::StrCat(pair.id, ": ", summary.outcome.message));
  }
}

int Session::Summarize() {
  std::vector<JobSummary> summaries;
  bool failed = failed_;
  bool cancelled = false;
  for (size_t i = 0; i < jobs_.size(); ++i) {
    const absl::StatusOr<JobOutcome> outcome = monitor::WaitFor(jobs_[i]);   // has concluded: no wait
    End(i, outcome.ok() ? *outcome : JobOutcome::Failed(outcome.status()));  // if its events were lost
    const JobSummary& job = summaries.emplace_back(*summaries_[i]);
    if (job.outcome.kind == JobOutcome::Kind::kFailed) failed = true;
    if (job.outcome.kind == JobOutcome::Kind::kCancelled) cancelled = true;
  }
  for (const ClientReport& report : work_->Finish()) {
    if (!report.ok()) {
      failed = true;
      Complain(absl::StrCat(report.job, ": ", report.wrong));
    }
    reporter_->Clients(Now(), report);
  }
  keys_.reset();
  const int exit_status = failed ? kExitFailed : cancelled ? kExitCancelled : kExitDone;
  reporter_->Summary(Now(), exit_status, summaries);
  return exit_status;
}

void Session::Complain(absl::string_view text) { reporter_->Error(Complaint(text)); }

}  // namespace

int RunSession(const SessionOptions& options, std::unique_ptr<Work> work) {
  absl::StatusOr<std::vector<Pair>> pairs = MakePairs(options.paths);
  if (!pairs.ok()) {
    Put(STDERR_FILENO, Complaint(pairs.status().message()));
    return kExitUsage;
  }
  BlockSignals();  // before there are other threads
  return Session(options, *std::move(pairs), std::move(work)).Run();
}

}  // namespace jobctl
