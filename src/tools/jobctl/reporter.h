// SPDX-License-Identifier: Apache-2.0
//
// Reporter: what jobctl prints on standard output.

#ifndef JOBCORE_TOOLS_JOBCTL_REPORTER_H_
#define JOBCORE_TOOLS_JOBCTL_REPORTER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "job-common/clock.h"
#include "job-common/job_event.h"
#include "job-common/job_outcome.h"
#include "job-monitor/job_query.h"
#include "tools/jobctl/clients.h"
#include "tools/jobctl/question.h"

namespace jobctl {

struct JobSummary {
  std::string id;
  std::string source;
  std::string target;
  jobcore::JobOutcome outcome;
  uint64_t bytes = 0;
  bool mirrored = false;  // what clients have written meanwhile has been copied again
};

// "60.0 MiB of data in 'backup/disk2.img'", of one that succeeded.
std::string ToString(const JobSummary& job);

// Times are since the start of the program.
class Reporter {
 public:
  static std::unique_ptr<Reporter> Text();               // for people, later: plain lines
  static std::unique_ptr<Reporter> Terminal(bool keys);  // for people who watch; `keys`: and can press keys
  static std::unique_ptr<Reporter> Json();               // for programs: one object per line

  virtual ~Reporter() = default;
  // Between two calls of Progress.
  virtual jobcore::Nanoseconds interval() const = 0;
  virtual void Event(jobcore::Nanoseconds time, const jobcore::JobEvent& event) = 0;
  virtual void EventsLost(jobcore::Nanoseconds time, uint64_t count) = 0;
  virtual void Progress(jobcore::Nanoseconds time, const std::vector<jobcore::monitor::JobInfo>& jobs) = 0;
  // A job has ended, as its events have told.
  virtual void Ended(jobcore::Nanoseconds /*time*/, const JobSummary& /*job*/) {}
  virtual void Ask(const Question& question) = 0;
  virtual void Answered() {}
  // What has become of the writes of a job's clients; before the summary.
  virtual void Clients(jobcore::Nanoseconds time, const ClientReport& report) = 0;
  virtual void Summary(jobcore::Nanoseconds time, int exit_status, const std::vector<JobSummary>& jobs) = 0;

  // Whole lines for standard error, which may be the same terminal. Any thread.
  virtual void Error(std::string_view lines);
  // Takes off the screen what does not stay, until the next call of Progress.
  virtual void Suspend() {}
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_REPORTER_H_
