// SPDX-License-Identifier: Apache-2.0
//
// For people in front of a terminal: a line with a bar for each job that goes on, painted in place, and the keys
// below; how each job ended, and what went wrong, scrolls away above.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "tools/jobctl/job_table.h"
#include "tools/jobctl/painter.h"
#include "tools/jobctl/reporter.h"
#include "tools/jobctl/status_line.h"
#include "tools/jobctl/terminal.h"

namespace jobctl {
namespace {

using jobcore::JobEvent;
using jobcore::JobOutcome;
using jobcore::Nanoseconds;
using jobcore::internal::ToAbsl;
using jobcore::monitor::JobInfo;

// Of the window, for what scrolls above.
constexpr size_t kOtherLines = 4;

class TerminalReporter final : public Reporter {
 public:
  explicit TerminalReporter(bool keys) : keys_(keys), painter_({.color = WantsColor(), .utf8 = ShowsUtf8()}) {}

  Nanoseconds interval() const override { return std::chrono::milliseconds(100); }

  void Event(Nanoseconds time, const JobEvent& event) override {
    id_width_ = std::max(id_width_, event.job_id.size());
    if (event.kind == JobEvent::Kind::kStatus) return;  // the bars tell, and Ended
    painter_.Print(Happened(time, event.job_id).Add(ToString(event), 0));
  }
  void EventsLost(Nanoseconds, uint64_t) override {}  // the bars tell
  void Progress(Nanoseconds, const std::vector<JobInfo>& jobs) override {
    std::vector<JobInfo> going_on;
    going_on.reserve(jobs.size());
    for (const JobInfo& job : jobs) {
      if (!IsConcluded(job.status)) going_on.push_back(job);
    }
    painter_.Paint(LinesOf(going_on));
  }
  void Ended(Nanoseconds time, const JobSummary& job) override {
    const OutcomeStyle style = StyleOf(job.outcome.kind);
    StatusLine line = Happened(time, job.id);
    line.Add(std::string(style.word), 0, style.sgr);
    if (job.outcome.succeeded()) line.Add(ToString(job), 0);
    painter_.Print(line);
  }
  void Ask(const Question& question) override {
    question_ = question;
    if (!keys_) {
      painter_.Print(StatusLine().Add(ToString(question), 0));
    } else if (!InForeground(STDOUT_FILENO)) {
      std::string text = absl::StrCat("jobctl: ", ToAbsl(question.why), "; in the foreground, ");
      for (const Answer& answer : question.answers) {
        absl::StrAppend(&text, std::string(1, answer.key), " ", ToAbsl(answer.does),
                        &answer == &question.answers.back() ? " " : ", ");
      }
      painter_.Print(StatusLine().Add(text + "and c cancels", 0));
    }
  }
  void Answered() override { question_.reset(); }
  void Clients(Nanoseconds time, const ClientReport& report) override {
    painter_.Print(Happened(time, report.job).Add(ToString(report), 0, report.ok() ? kGreen : kRed));
  }
  // How each job ended stands there already.
  void Summary(Nanoseconds time, int, const std::vector<JobSummary>& jobs) override {
    painter_.Clear();
    if (jobs.size() < 2) return;
    StatusLine line = Happened(time, "all");
    for (const auto kind : {JobOutcome::Kind::kSucceeded, JobOutcome::Kind::kFailed, JobOutcome::Kind::kCancelled}) {
      const auto n = std::count_if(jobs.begin(), jobs.end(), [&](const auto& job) { return job.outcome.kind == kind; });
      if (n > 0) line.Add(std::to_string(n) + " " + std::string(StyleOf(kind).word), 0, StyleOf(kind).sgr);
    }
    painter_.Print(line);
  }

  void Error(std::string_view lines) override { painter_.PrintError(lines); }
  void Suspend() override { painter_.Clear(); }

 private:
  StatusLine Happened(Nanoseconds time, const std::string& id) const {
    return StatusLine().Add(Stamp(time), 0, kDim).Add(Left(id, id_width_), 0);
  }

  std::vector<StatusLine> LinesOf(const std::vector<JobInfo>& jobs) const {
    std::vector<StatusLine> lines = JobTable(jobs, {.most = MostJobLines()});
    if (keys_ && !jobs.empty()) lines.push_back(KeysLine(jobs));
    return lines;
  }
  // What leaves room for the keys, and for what scrolls; but a job, and how many more there are.
  static size_t MostJobLines() {
    const size_t lines = Painter::MostLines();
    return std::max<size_t>(lines > 1 + kOtherLines ? lines - 1 - kOtherLines : 0, 2);
  }
  StatusLine KeysLine(const std::vector<JobInfo>& jobs) const {
    bool paused = false, runs = false, goes_on = false;
    for (const JobInfo& job : jobs) {
      if (IsCancelling(job)) continue;
      goes_on = true;
      (IsPaused(job.status) ? paused : runs) = true;
    }
    StatusLine line;
    if (!goes_on) return line.Add("Ctrl-C exit at once", 0, kDim);
    if (question_) {
      line.Add(absl::StrCat(ToAbsl(question_->why), ":"), 1, kGreen);
      for (const Answer& answer : question_->answers) {
        line.Add(absl::StrCat(std::string(1, answer.key), " ", ToAbsl(answer.word)), 0, kGreen);
      }
      return line.Add("c cancel", 0, kDim);
    }
    if (runs) line.Add("p pause", 1, kDim);
    if (paused) line.Add("r resume", 1, kDim);
    return line.Add("c cancel", 0, kDim);
  }

  const bool keys_;
  size_t id_width_ = 0;
  std::optional<Question> question_;  // that has not been answered
  Painter painter_;
};

}  // namespace

std::unique_ptr<Reporter> Reporter::Terminal(bool keys) { return std::make_unique<TerminalReporter>(keys); }

}  // namespace jobctl
