// SPDX-License-Identifier: Apache-2.0
//
// For people in front of a terminal: a line with a bar for each job that goes on, painted in place, and the keys
// below; what happens scrolls away above.

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "block/file_error.h"
#include "tools/jobctl/format.h"
#include "tools/jobctl/reporter.h"
#include "tools/jobctl/terminal.h"

namespace jobctl {
namespace {

using jobcore::JobEvent;
using jobcore::JobOutcome;
using jobcore::JobStatus;
using jobcore::Nanoseconds;
using jobcore::ProgressSnapshot;
using jobcore::monitor::JobInfo;

constexpr std::string_view kGreen = "\x1b[32m";
constexpr std::string_view kYellow = "\x1b[33m";
constexpr std::string_view kRed = "\x1b[31m";
constexpr std::string_view kCyan = "\x1b[36m";
constexpr std::string_view kDim = "\x1b[2m";

// Not so many that they leave no room for what scrolls.
constexpr size_t kMostJobs = 12;

std::string_view ColorOf(const JobInfo& job) {
  if (job.cancelling || job.status == JobStatus::kAborting) return kRed;
  if (IsPaused(job.status)) return kYellow;
  if (job.status == JobStatus::kRunning || job.status == JobStatus::kReady) return kCyan;
  return kGreen;
}

class TerminalReporter final : public Reporter {
 public:
  explicit TerminalReporter(bool keys) : keys_(keys), painter_(WantsColor()) {}

  Nanoseconds interval() const override { return std::chrono::milliseconds(100); }

  void Event(Nanoseconds time, const JobEvent& event) override {
    // The bars tell the rest.
    const bool worth_a_line = event.kind != JobEvent::Kind::kStatus || event.status == JobStatus::kConcluded;
    if (worth_a_line) painter_.Print(absl::StrCat(Stamp(time), event.job_id, "  ", ToString(event)));
  }
  void EventsLost(Nanoseconds time, uint64_t count) override {
    painter_.Print(absl::StrCat(Stamp(time), count, " events lost"));
  }
  void Progress(Nanoseconds, const std::vector<JobInfo>& jobs) override {
    std::vector<StatusLine> lines;
    size_t id_width = 0;
    for (const JobInfo& job : jobs) id_width = std::max(id_width, job.id.size());
    for (const JobInfo& job : jobs) {
      if (IsConcluded(job.status)) continue;
      if (lines.size() == kMostJobs) {
        lines.emplace_back().Add(absl::StrCat("… and ", jobs.size() - kMostJobs, " more"), 0, kDim);
        break;
      }
      lines.push_back(LineOf(job, id_width));
    }
    if (!lines.empty() && keys_) lines.push_back(KeysLine());
    painter_.Paint(lines);
  }
  void Question(const std::vector<std::string>& ids) override {
    asked_ = true;
    if (keys_) return;  // the line of keys asks
    painter_.Clear();
    painter_.Print(absl::StrCat("finalize ", absl::StrJoin(ids, ", "), "? [y/N]"));
  }
  void Summary(Nanoseconds time, int, const std::vector<JobSummary>& jobs) override {
    painter_.Clear();
    size_t width = 0;
    for (const JobSummary& job : jobs) width = std::max(width, job.id.size());
    for (const JobSummary& job : jobs) {
      std::string line = absl::StrCat(Stamp(time), job.id, std::string(width - job.id.size(), ' '), "  ");
      if (job.outcome.succeeded()) {
        absl::StrAppend(&line, "done  ", HumanBytes(job.bytes), " of data in ", jobcore::internal::Quoted(job.target));
      } else {
        absl::StrAppend(&line, job.outcome.ToString());
      }
      painter_.Print(line);
    }
  }

 private:
  static std::string Stamp(Nanoseconds time) {
    const std::string seconds = Seconds(time);
    return absl::StrCat("[", std::string(seconds.size() < 8 ? 8 - seconds.size() : 0, ' '), seconds, "] ");
  }

  static StatusLine LineOf(const JobInfo& job, size_t id_width) {
    const ProgressSnapshot& p = job.progress;
    // A job that is past its Run has done it all, even if there was nothing to do.
    const bool done = job.status == JobStatus::kWaiting || job.status == JobStatus::kPending;
    const double fraction = done ? 1 : p.total == 0 ? 0 : static_cast<double>(p.current) / static_cast<double>(p.total);
    const bool runs = job.status == JobStatus::kRunning || job.status == JobStatus::kReady;
    StatusLine line;
    line.Add(job.id + std::string(id_width - job.id.size(), ' '), 0);
    line.AddBar(fraction, 3, ColorOf(job));
    line.Add(absl::StrCat(absl::Dec(static_cast<uint64_t>(fraction * 100), absl::kSpacePad3), "%"), 1);
    line.Add(Left(absl::StrCat(HumanBytes(p.current), " of ", HumanBytes(p.total)), 21), 6);
    line.Add(Right(runs ? absl::StrCat(HumanBytes(static_cast<uint64_t>(job.rate)), "/s") : "", 11), 4);
    line.Add(Right(job.eta ? absl::StrCat("ETA ", Duration(*job.eta)) : "", 11), 5);
    line.Add(State(job), 2, ColorOf(job));
    if (job.speed != 0) {
      line.Add(absl::StrCat("limit ", HumanBytes(static_cast<uint64_t>(job.speed)), "/s"), 7, kDim);
    }
    return line;
  }
  static std::string Left(std::string text, size_t width) {
    if (text.size() < width) text.append(width - text.size(), ' ');
    return text;
  }
  static std::string Right(const std::string& text, size_t width) {
    return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
  }
  static std::string State(const JobInfo& job) {
    const std::string_view name = JobStatusName(job.status);
    std::string text(name.data(), name.size());
    if (job.cancelling && !IsConcluded(job.status)) return absl::StrCat("cancelling (", text, ")");
    if (!job.pause_reasons.empty()) absl::StrAppend(&text, " (", absl::StrJoin(job.pause_reasons, ", "), ")");
    return text;
  }
  StatusLine KeysLine() const {
    StatusLine line;
    if (asked_) line.Add("all is copied:", 1, kGreen);
    line.Add("f finalize", asked_ ? 0 : 3, asked_ ? kGreen : kDim);
    return line.Add("p pause", 2, kDim).Add("r resume", 2, kDim).Add("c cancel", 0, kDim);
  }

  const bool keys_;
  bool asked_ = false;
  Painter painter_;
};

}  // namespace

std::unique_ptr<Reporter> Reporter::Terminal(bool keys) { return std::make_unique<TerminalReporter>(keys); }

}  // namespace jobctl
