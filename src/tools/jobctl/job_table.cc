// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/job_table.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "block/file_error.h"
#include "tools/jobctl/format.h"

namespace jobctl {
namespace {

using jobcore::JobOutcome;
using jobcore::JobStatus;
using jobcore::ProgressSnapshot;
using jobcore::internal::ToAbsl;
using jobcore::monitor::JobInfo;

// The line of a job, before the lines of all are aligned.
struct Row {
  const JobInfo* job = nullptr;
  double fraction = 0;
  std::string amount;
  std::string rate;
  std::string eta;
  std::string state;
};

std::string RateText(const JobInfo& job) {
  return absl::StrCat(HumanBytes(static_cast<uint64_t>(std::max(job.rate, 0.0))), "/s");
}

std::string EtaText(const JobInfo& job) {
  // Of what clients write.
  if (job.status == JobStatus::kReady) {
    return absl::StrCat(HumanBytes(job.progress.total - job.progress.current), " behind");
  }
  return job.eta ? absl::StrCat("ETA ", Duration(*job.eta)) : "";
}

Row RowOf(const JobInfo& job) {
  const ProgressSnapshot& p = job.progress;
  // A job that is past its Run has done it all, even if there was nothing to do.
  const bool done = job.status == JobStatus::kWaiting || job.status == JobStatus::kPending ||
                    (IsConcluded(job.status) && job.outcome && job.outcome->succeeded());
  const bool runs = job.status == JobStatus::kRunning || job.status == JobStatus::kReady;
  Row row;
  row.job = &job;
  row.fraction = done ? 1 : p.total == 0 ? 0 : static_cast<double>(p.current) / static_cast<double>(p.total);
  row.amount = absl::StrCat(Right(HumanBytes(p.current), 8), " of ", HumanBytes(p.total));
  if (runs) row.rate = RateText(job);
  row.eta = EtaText(job);
  row.state = StateText(job);
  return row;
}

std::string_view ColorOf(const JobInfo& job) {
  if (IsConcluded(job.status) && job.outcome) return StyleOf(job.outcome->kind).sgr;
  if (IsCancelling(job) || job.status == JobStatus::kAborting) return kRed;
  if (IsPaused(job.status)) return kYellow;
  if (job.status == JobStatus::kRunning || job.status == JobStatus::kReady) return kCyan;
  return kGreen;
}

}  // namespace

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

std::string Stamp(jobcore::Nanoseconds time) { return absl::StrCat("[", Right(Seconds(time), 8), "]"); }

bool IsCancelling(const JobInfo& job) {
  return job.cancelling && job.status != JobStatus::kWaiting && job.status != JobStatus::kPending;
}

std::string StateText(const JobInfo& job) {
  std::string text(JobStatusName(job.status));
  if (IsConcluded(job.status)) return job.outcome ? absl::StrCat(text, " (", job.outcome->ToString(), ")") : text;
  if (IsCancelling(job)) return absl::StrCat("cancelling (", text, ")");
  if (!job.pause_reasons.empty()) absl::StrAppend(&text, " (", absl::StrJoin(job.pause_reasons, ", "), ")");
  return text;
}

std::string ProgressText(const JobInfo& job, size_t id_width) {
  const ProgressSnapshot& p = job.progress;
  const uint64_t percent = p.total == 0 ? 0 : p.current * 100 / p.total;
  const std::string eta = EtaText(job);
  return absl::StrCat(Left(job.id, id_width), "  ", ToAbsl(JobStatusName(job.status)), "  ",
                      absl::Dec(percent, absl::kSpacePad3), "%  ", HumanBytes(p.current), " of ", HumanBytes(p.total),
                      "  ", RateText(job), eta.empty() ? "" : "  ", eta);
}

std::vector<StatusLine> JobTable(const std::vector<JobInfo>& jobs, const TableStyle& style) {
  size_t id = 0, type = 0, amount = 0, rate = 0, eta = 0;
  size_t state = 7;  // at least so wide, so that the bars do not change all the time; the same below
  bool limit = false;
  std::vector<Row> rows;
  rows.reserve(jobs.size());
  for (const JobInfo& job : jobs) {
    const Row& row = rows.emplace_back(RowOf(job));
    id = std::max(id, job.id.size());
    type = std::max(type, job.type.size());
    amount = std::max(amount, row.amount.size());
    rate = std::max(rate, row.rate.size());
    eta = std::max(eta, row.eta.size());
    state = std::max(state, row.state.size());
    limit = limit || job.speed != 0;
  }
  if (rate > 0) rate = std::max<size_t>(rate, 10);
  if (eta > 0) eta = std::max<size_t>(eta, 8);

  const size_t shown = rows.size() <= style.most ? rows.size() : style.most - 1;
  std::vector<StatusLine> lines;
  lines.reserve(shown + 1);
  for (size_t i = 0; i < shown; ++i) {
    const Row& row = rows[i];
    const JobInfo& job = *row.job;
    StatusLine& line = lines.emplace_back();
    line.Add(Left(job.id, id), 0);
    if (style.types) line.Add(Left(job.type, type), 8);
    if (style.bars) line.AddBar(row.fraction, 3, ColorOf(job));
    line.Add(absl::StrCat(absl::Dec(static_cast<uint64_t>(row.fraction * 100), absl::kSpacePad3), "%"), 1);
    line.Add(Right(row.amount, amount), 6).Add(Right(row.rate, rate), 4).Add(Right(row.eta, eta), 5);
    line.Add(Left(row.state, state), 2, ColorOf(job));
    if (limit) line.Add(absl::StrCat("limit ", HumanBytes(static_cast<uint64_t>(job.speed)), "/s"), 7, kDim);
  }
  if (shown < rows.size()) lines.emplace_back().Add(absl::StrCat("and ", rows.size() - shown, " more"), 0, kDim);
  return lines;
}

}  // namespace jobctl
