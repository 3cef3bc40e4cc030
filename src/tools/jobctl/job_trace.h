// SPDX-License-Identifier: Apache-2.0
//
// JobTrace: time lines in the trace-event format, as ui.perfetto.dev and chrome://tracing read it.

#ifndef JOBCORE_TOOLS_JOBCTL_JOB_TRACE_H_
#define JOBCORE_TOOLS_JOBCTL_JOB_TRACE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "job-common/job_status.h"
#include "job-common/job_times.h"
#include "qmp/json_value.h"
#include "tools/jobctl/remote_job.h"

namespace jobctl {

class JobTrace {
 public:
  // In the order in which they happened.
  void AddEvent(const RemoteEvent& event);
  // Where the job's driver runs, or ran.
  void AddContext(uint64_t job_number, const std::string& context);
  // A job of whose events there are none any more.
  void AddPast(uint64_t job_number, const std::string& id, jobcore::WallTime created, jobcore::WallTime concluded);
  // What goes on at the end lasts until then.
  jobcore::qmp::JsonObject Finish(jobcore::WallTime end) &&;

 private:
  struct Span {
    std::string name;
    jobcore::WallTime begin{};
    std::optional<jobcore::WallTime> end;
  };
  struct Mark {
    std::string text;
    jobcore::WallTime time{};
  };
  struct Track {
    std::string id;
    std::string context;
    std::vector<Span> spans;
    std::vector<Mark> marks;
  };

  std::map<uint64_t, Track> jobs_;  // by their numbers
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_JOB_TRACE_H_
