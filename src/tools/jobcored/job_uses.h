// SPDX-License-Identifier: Apache-2.0
//
// JobUses: which block job works on which nodes, where the wire refuses what the library would allow, or names the job.

#ifndef JOBCORE_TOOLS_JOBCORED_JOB_USES_H_
#define JOBCORE_TOOLS_JOBCORED_JOB_USES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-driver/block/node.h"

namespace jobcored {

// The main context.
class JobUses {
 public:
  explicit JobUses(jobcore::JobCore& core) : core_(core) {}

  void Add(const jobcore::Job& job, const jobcore::block::Node& source, const jobcore::block::Node& target);

  // The types of jobs that have not concluded yet; empty: none.
  std::string SourceOf(const jobcore::block::Node& node) JOBCORE_EXCLUDES(jobcore::job_mutex);
  std::string TargetOf(const jobcore::block::Node& node) JOBCORE_EXCLUDES(jobcore::job_mutex);

 private:
  // Nodes that a job works on live as long as it has not concluded.
  struct Use {
    uint64_t job;
    std::string type;
    const jobcore::block::Node* source;
    const jobcore::block::Node* target;
  };
  void ForgetConcluded() JOBCORE_EXCLUDES(jobcore::job_mutex);

  jobcore::JobCore& core_;
  std::vector<Use> uses_;
};

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_JOB_USES_H_
