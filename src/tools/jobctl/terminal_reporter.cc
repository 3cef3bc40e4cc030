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
#include "absl/strings/str_join.h"
#include "block/file_error.h"
#include "tools/jobctl/format.h"
#include "tools/jobctl/painter.h"
#include "tools/jobctl/reporter.h"
#include "tools/jobctl/status_line.h"
#include "tools/jobctl/terminal.h"

namespace jobctl {
namespace {

using jobcore::JobEvent;
using jobcore::JobOutcome;
using jobcore::JobStatus;
using jobcore::Nanoseconds;
using jobcore::ProgressSnapshot;
using jobcore::internal::ToAbsl;
using jobcore::monitor::JobInfo;

constexpr std::string_view kGreen = "\x1b[32m";
constexpr std::string_view kYellow = "\x1b[33m";
constexpr std::string_view kRed = "\x1b[31m";
constexpr std::string_view kCyan = "\x1b[36m";
constexpr std::string_view kDim = "\x1b[2m";

// Of the window, for what scrolls above.
constexpr size_t kOtherLines = 4;

struct OutcomeStyle {
  std::string_view word;
  std::string_view sgr;
};
OutcomeStyle StyleOf(JobOutcome::Kind kind) {
  switch (kind) {
    case JobOutcome::Kind::kSucceeded:
      return {"done", kGreen};
    case JobOutcome::Kind::kFailed:
      return {"failed", kRed};
    case JobOutcome::Kind::kCancelled:
      break;
  }
  return {"cancelled", kYellow};
}

std::string Left(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}
std::string Right(const std::string& text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

// To no good end. (A ready job that is cancelled softly succeeds; when its Run has ended, any other cancel aborts it at
// once.)
bool IsCancelling(const JobInfo& job) {
  return job.cancelling && job.status != JobStatus::kWaiting && job.status != JobStatus::kPending;
}

std::string State(const JobInfo& job) {
  const std::string_view name = JobStatusName(job.status);
  std::string text(name.data(), name.size());
  if (IsCancelling(job)) return absl::StrCat("cancelling (", text, ")");
  if (!job.pause_reasons.empty()) absl::StrAppend(&text, " (", absl::StrJoin(job.pause_reasons, ", "), ")");
  return text;
}

// The line of a job, before the lines of all are aligned.
struct Row {
  const JobInfo* job = nullptr;
  double fraction = 0;
  std::string amount;
  std::string rate;
  std::string eta;
  std::string state;
};

Row RowOf(const JobInfo& job) {
  const ProgressSnapshot& p = job.progress;
  // A job that is past its Run has done it all, even if there was nothing to do.
  const bool done = job.status == JobStatus::kWaiting || job.status == JobStatus::kPending;
  const bool runs = job.status == JobStatus::kRunning || job.status == JobStatus::kReady;
  Row row;
  row.job = &job;
  row.fraction = done ? 1 : p.total == 0 ? 0 : static_cast<double>(p.current) / static_cast<double>(p.total);
  row.amount = absl::StrCat(Right(HumanBytes(p.current), 8), " of ", HumanBytes(p.total));
  if (runs) row.rate = absl::StrCat(HumanBytes(static_cast<uint64_t>(job.rate)), "/s");
  if (job.status == JobStatus::kReady) {
    row.eta = absl::StrCat(HumanBytes(p.total - p.current), " behind");  // of what clients write
  } else if (job.eta) {
    row.eta = absl::StrCat("ETA ", Duration(*job.eta));
  }
  row.state = State(job);
  return row;
}

std::string_view ColorOf(const JobInfo& job) {
  if (IsCancelling(job) || job.status == JobStatus::kAborting) return kRed;
  if (IsPaused(job.status)) return kYellow;
  if (job.status == JobStatus::kRunning || job.status == JobStatus::kReady) return kCyan;
  return kGreen;
}

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
    std::vector<Row> rows;
    for (const JobInfo& job : jobs) {
      if (!IsConcluded(job.status)) rows.push_back(RowOf(job));
    }
    painter_.Paint(LinesOf(rows));
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
    return StatusLine().Add(absl::StrCat("[", Right(Seconds(time), 8), "]"), 0, kDim).Add(Left(id, id_width_), 0);
  }

  // All lines have the same columns, so that they are aligned whatever of them is dropped.
  std::vector<StatusLine> LinesOf(const std::vector<Row>& rows) const {
    size_t id = 0, amount = 0, rate = 0, eta = 0;
    size_t state = 7;  // at least so wide, so that the bars do not change all the time; the same below
    bool limit = false;
    for (const Row& row : rows) {
      id = std::max(id, row.job->id.size());
      amount = std::max(amount, row.amount.size());
      rate = std::max(rate, row.rate.size());
      eta = std::max(eta, row.eta.size());
      state = std::max(state, row.state.size());
      limit = limit || row.job->speed != 0;
    }
    if (rate > 0) rate = std::max<size_t>(rate, 10);
    if (eta > 0) eta = std::max<size_t>(eta, 8);
    std::vector<StatusLine> lines;
    for (size_t i = 0; i < JobsThatFit(rows.size()); ++i) {
      const Row& row = rows[i];
      StatusLine& line = lines.emplace_back();
      line.Add(Left(row.job->id, id), 0);
      line.AddBar(row.fraction, 3, ColorOf(*row.job));
      line.Add(absl::StrCat(absl::Dec(static_cast<uint64_t>(row.fraction * 100), absl::kSpacePad3), "%"), 1);
      line.Add(Right(row.amount, amount), 6).Add(Right(row.rate, rate), 4).Add(Right(row.eta, eta), 5);
      line.Add(Left(row.state, state), 2, ColorOf(*row.job));
      if (limit) line.Add(absl::StrCat("limit ", HumanBytes(static_cast<uint64_t>(row.job->speed)), "/s"), 7, kDim);
    }
    if (const size_t more = rows.size() - lines.size(); more > 0) {
      lines.emplace_back().Add(absl::StrCat("and ", more, " more"), 0, kDim);
    }
    if (keys_ && !rows.empty()) lines.push_back(KeysLine(rows));
    return lines;
  }
  // All; or as many as leave room for what scrolls, for "and 3 more" and for the keys, but at least one.
  static size_t JobsThatFit(size_t jobs) {
    const size_t lines = Painter::MostLines();
    if (jobs + 1 + kOtherLines <= lines) return jobs;
    return std::min(jobs, lines > 2 + kOtherLines ? lines - 2 - kOtherLines : 1);
  }
  StatusLine KeysLine(const std::vector<Row>& rows) const {
    bool paused = false, runs = false, goes_on = false;
    for (const Row& row : rows) {
      if (IsCancelling(*row.job)) continue;
      goes_on = true;
      (IsPaused(row.job->status) ? paused : runs) = true;
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
