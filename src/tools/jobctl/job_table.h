// SPDX-License-Identifier: Apache-2.0
//
// Jobs as lines in columns, with a bar each: what people see of them, be they of this process or of a daemon.

#ifndef JOBCORE_TOOLS_JOBCTL_JOB_TABLE_H_
#define JOBCORE_TOOLS_JOBCTL_JOB_TABLE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "job-common/clock.h"
#include "job-common/job_outcome.h"
#include "job-monitor/job_query.h"
#include "tools/jobctl/status_line.h"

namespace jobctl {

inline constexpr std::string_view kGreen = "\x1b[32m";
inline constexpr std::string_view kYellow = "\x1b[33m";
inline constexpr std::string_view kRed = "\x1b[31m";
inline constexpr std::string_view kCyan = "\x1b[36m";
inline constexpr std::string_view kDim = "\x1b[2m";

struct OutcomeStyle {
  std::string_view word;
  std::string_view sgr;
};
OutcomeStyle StyleOf(jobcore::JobOutcome::Kind kind);

// Padded with blanks.
std::string Left(std::string text, size_t width);
std::string Right(const std::string& text, size_t width);

// "[   1.136]", to begin a line with.
std::string Stamp(jobcore::Nanoseconds time);

// To no good end. (A ready job that is cancelled softly succeeds; when its Run has ended, any other cancel aborts it at
// once.)
bool IsCancelling(const jobcore::monitor::JobInfo& job);

// "paused (user)", "cancelling (running)", "concluded (failed: No space left on device)".
std::string StateText(const jobcore::monitor::JobInfo& job);

// "disk0  running   40%  124 MiB of 308 MiB  49.9 MiB/s  ETA 0:04": where nothing is painted.
std::string ProgressText(const jobcore::monitor::JobInfo& job, size_t id_width);

struct TableStyle {
  bool bars = true;
  bool types = false;      // what kind of job it is
  size_t most = SIZE_MAX;  // lines; at least 2. What is more is counted in the last one
};
// All lines have the same columns, so that they are aligned whatever of them is dropped.
std::vector<StatusLine> JobTable(const std::vector<jobcore::monitor::JobInfo>& jobs, const TableStyle& style);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_JOB_TABLE_H_
