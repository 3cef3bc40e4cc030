// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/job_uses.h"

#include "job-monitor/job_monitor.h"

namespace jobcored {

using jobcore::Job;
using jobcore::JobLock;
using jobcore::JobStatus;
using jobcore::block::Node;

void JobUses::Add(const Job& job, const Node& source, const Node& target) {
  uses_.push_back({job.number(), std::string(job.type()), &source, &target});
}

std::string JobUses::SourceOf(const Node& node) {
  ForgetConcluded();
  for (const Use& use : uses_) {
    if (use.source == &node) return use.type;
  }
  return {};
}

std::string JobUses::TargetOf(const Node& node) {
  ForgetConcluded();
  for (const Use& use : uses_) {
    if (use.target == &node) return use.type;
  }
  return {};
}

void JobUses::ForgetConcluded() {
  JobLock lock(core_);
  std::erase_if(uses_, [this](const Use& use) ABSL_EXCLUSIVE_LOCKS_REQUIRED(jobcore::job_mutex) {
    const Job* const job = jobcore::monitor::Find(core_, use.job);
    return job == nullptr || job->status() == JobStatus::kConcluded;
  });
}

}  // namespace jobcored
