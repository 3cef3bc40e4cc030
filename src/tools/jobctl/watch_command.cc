// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/watch_command.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "job-monitor/job_query.h"
#include "tools/jobctl/job_table.h"
#include "tools/jobctl/painter.h"
#include "tools/jobctl/put.h"
#include "tools/jobctl/rate_guess.h"
#include "tools/jobctl/remote_job.h"
#include "tools/jobctl/remote_verbs.h"
#include "tools/jobctl/session.h"
#include "tools/jobctl/terminal.h"

namespace jobctl {
namespace {

using jobcore::Clock;
using jobcore::JobOutcome;
using jobcore::JobStatus;
using jobcore::Nanoseconds;
using jobcore::TimePoint;
using jobcore::internal::Quoted;
using jobcore::monitor::JobInfo;

// Where it is shown: in lines that are painted in place, or one after the other.
class Screen {
 public:
  virtual ~Screen() = default;
  virtual Nanoseconds interval() const = 0;
  virtual void Event(Nanoseconds time, const RemoteEvent& event) = 0;
  virtual void Jobs(Nanoseconds time, const std::vector<JobInfo>& jobs) = 0;
  // Nothing: nobody knows how.
  virtual void Ended(Nanoseconds time, const std::string& id, const std::optional<JobOutcome>& outcome) = 0;
};

class PaintedScreen final : public Screen {
 public:
  Nanoseconds interval() const override { return std::chrono::milliseconds(100); }
  void Event(Nanoseconds time, const RemoteEvent& event) override {
    id_width_ = std::max(id_width_, event.id.size());
    // The bars tell what the status is, and Ended tells the outcome.
    if (event.kind == "status" || event.kind == "outcome") return;
    painter_.Print(Happened(time, event.id).Add(event.text, 0));
  }
  void Jobs(Nanoseconds, const std::vector<JobInfo>& jobs) override {
    std::vector<JobInfo> going_on;
    for (const JobInfo& job : jobs) {
      if (!IsConcluded(job.status)) going_on.push_back(job);
      id_width_ = std::max(id_width_, job.id.size());
    }
    std::vector<StatusLine> lines =
        JobTable(going_on, {.types = true, .most = std::max<size_t>(Painter::MostLines() / 2, 2)});
    if (lines.empty()) lines.emplace_back().Add("no jobs", 0, kDim);
    painter_.Paint(std::move(lines));
  }
  void Ended(Nanoseconds time, const std::string& id, const std::optional<JobOutcome>& outcome) override {
    StatusLine line = Happened(time, id);
    if (!outcome) {
      line.Add("ended", 0);
    } else {
      line.Add(std::string(StyleOf(outcome->kind).word), 0, StyleOf(outcome->kind).sgr);
      if (outcome->kind == JobOutcome::Kind::kFailed) line.Add(outcome->message, 0);
    }
    painter_.Print(line);
  }

 private:
  StatusLine Happened(Nanoseconds time, const std::string& id) const {
    return StatusLine().Add(Stamp(time), 0, kDim).Add(Left(id, id_width_), 0);
  }

  size_t id_width_ = 0;
  Painter painter_{{.color = WantsColor(), .utf8 = ShowsUtf8()}};
};

class PlainScreen final : public Screen {
 public:
  Nanoseconds interval() const override { return std::chrono::seconds(2); }
  void Event(Nanoseconds time, const RemoteEvent& event) override {
    if (event.status == JobStatus::kNull) return;  // dismissed: of no interest to people
    id_width_ = std::max(id_width_, event.id.size());
    said_[event.id];
    Line(time, absl::StrCat(Left(event.id, id_width_), "  ", event.text));
  }
  // What has not changed is not said again.
  void Jobs(Nanoseconds time, const std::vector<JobInfo>& jobs) override {
    std::map<std::string, std::string> said;
    for (const JobInfo& job : jobs) {
      id_width_ = std::max(id_width_, job.id.size());
      const auto before = said_.find(job.id);
      std::string text = before == said_.end() ? "" : before->second;
      if (!IsCompleted(job.status)) {
        text = ProgressText(job, id_width_);
      } else if (before == said_.end()) {  // no event has told, or will
        text = absl::StrCat(Left(job.id, id_width_), "  ", StateText(job));
      }
      if (before == said_.end() || before->second != text) Line(time, text);
      said.emplace(job.id, std::move(text));
    }
    said_ = std::move(said);
  }
  void Ended(Nanoseconds, const std::string&, const std::optional<JobOutcome>&) override {}  // Event has told

 private:
  static void Line(Nanoseconds time, const std::string& text) {
    Put(STDOUT_FILENO, absl::StrCat(Stamp(time), " ", text, "\n"));
  }

  size_t id_width_ = 0;
  std::map<std::string, std::string> said_;  // of each job
};

class Watcher {
 public:
  Watcher(QmpClient& client, const WatchOptions& options) : client_(client), options_(options) {}

  absl::StatusOr<int> Run() {
    const absl::StatusOr<Subscription> subscription = Subscribe(client_);
    if (!subscription.ok()) return subscription.status();
    numbered_ = subscription->numbered;
    for (;;) {
      if (absl::Status s = Look(); !s.ok()) return s;
      if (absl::Status s = AwaitEvents(Clock::System().Now() + screen_->interval()); !s.ok()) return s;
      if (Finished()) return ExitStatus();
    }
  }

 private:
  bool IsWatched(const std::string& id) const {
    return options_.ids.empty() || std::find(options_.ids.begin(), options_.ids.end(), id) != options_.ids.end();
  }
  bool Finished() const {
    return !options_.ids.empty() && std::all_of(options_.ids.begin(), options_.ids.end(),
                                                [this](const std::string& id) { return ended_.contains(id); });
  }
  Nanoseconds Now() const { return Clock::System().Now() - start_; }

  absl::Status Look() {
    absl::StatusOr<std::vector<JobInfo>> jobs = QueryJobs(client_);
    if (!jobs.ok()) return jobs.status();
    // What has happened before is told before.
    if (absl::Status s = AwaitEvents(TimePoint()); !s.ok()) return s;
    std::erase_if(*jobs, [this](const JobInfo& job) { return !IsWatched(job.id); });
    if (!numbered_) guess_.Complete(*jobs, Clock::System().Now());
    for (const JobInfo& job : *jobs) {
      if (IsConcluded(job.status)) End(job.id, job.outcome);
      if (job.status == JobStatus::kReady) CompleteOnce(job.id);
    }
    if (absl::Status s = LookForMissing(*jobs); !s.ok()) return s;
    screen_->Jobs(Now(), *jobs);
    return absl::OkStatus();
  }

  // Jobs that ended before we came.
  absl::Status LookForMissing(const std::vector<JobInfo>& jobs) {
    for (const std::string& id : options_.ids) {
      const bool is_there = std::any_of(jobs.begin(), jobs.end(), [&id](const JobInfo& job) { return job.id == id; });
      if (is_there) known_.insert(id);
      if (is_there || ended_.contains(id)) continue;
      const absl::StatusOr<std::optional<JobOutcome>> outcome = QueryOutcome(client_, id);
      if (!outcome.ok()) return outcome.status();
      if (!*outcome && !known_.contains(id)) return absl::NotFoundError(absl::StrCat("there is no job ", Quoted(id)));
      End(id, *outcome);
    }
    return absl::OkStatus();
  }

  absl::Status AwaitEvents(TimePoint deadline) {
    for (;;) {
      const absl::StatusOr<std::optional<qmp::JsonObject>> event = client_.NextEvent(deadline);
      if (!event.ok()) return event.status();
      if (!*event) return absl::OkStatus();
      if (const std::optional<RemoteEvent> read = ReadEvent(**event, numbered_)) OnEvent(*read);
      if (Finished()) return absl::OkStatus();
    }
  }

  void OnEvent(const RemoteEvent& event) {
    if (!IsWatched(event.id)) return;
    screen_->Event(Now(), event);
    if (event.outcome) outcomes_.insert_or_assign(event.id, *event.outcome);
    if (!event.status) return;
    known_.insert(event.id);
    if (*event.status == JobStatus::kCreated) {  // another one of that name
      outcomes_.erase(event.id);
      completed_.erase(event.id);
      ended_.erase(event.id);
    } else if (*event.status == JobStatus::kReady) {
      CompleteOnce(event.id);
    } else if (*event.status == JobStatus::kConcluded && outcomes_.contains(event.id)) {
      End(event.id, outcomes_.at(event.id));
    } else if (*event.status == JobStatus::kNull && !ended_.contains(event.id)) {
      const auto outcome = outcomes_.find(event.id);
      End(event.id, outcome == outcomes_.end() ? std::nullopt : std::optional(outcome->second));
    }
  }

  void End(const std::string& id, const std::optional<JobOutcome>& outcome) {
    if (!ended_.emplace(id, outcome).second) return;
    screen_->Ended(Now(), id, outcome);
  }

  void CompleteOnce(const std::string& id) {
    if (!options_.complete_ready || !completed_.insert(id).second) return;
    // Refused: it has ended meanwhile, and says how; or somebody else has told it.
    DoToJob(client_, "complete", id).IgnoreError();
  }

  int ExitStatus() const {
    int status = kExitDone;
    for (const std::string& id : options_.ids) {
      const std::optional<JobOutcome>& outcome = ended_.at(id);
      if (!outcome || outcome->kind == JobOutcome::Kind::kFailed) return kExitFailed;
      if (outcome->kind == JobOutcome::Kind::kCancelled) status = kExitCancelled;
    }
    return status;
  }

  QmpClient& client_;
  const WatchOptions& options_;
  const TimePoint start_ = Clock::System().Now();
  const std::unique_ptr<Screen> screen_ =
      CanPaint() ? std::unique_ptr<Screen>(std::make_unique<PaintedScreen>()) : std::make_unique<PlainScreen>();
  bool numbered_ = false;
  RateGuess guess_;
  std::set<std::string> known_;                 // have been seen
  std::set<std::string> completed_;             // have been told to
  std::map<std::string, JobOutcome> outcomes_;  // as they have been told
  std::map<std::string, std::optional<JobOutcome>> ended_;
};

}  // namespace

absl::StatusOr<int> Watch(QmpClient& client, const WatchOptions& options) { return Watcher(client, options).Run(); }

}  // namespace jobctl
