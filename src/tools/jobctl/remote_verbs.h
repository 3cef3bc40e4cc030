// SPDX-License-Identifier: Apache-2.0
//
// What is done to the jobs of a daemon at once: a question or a verb, and its answer.

#ifndef JOBCORE_TOOLS_JOBCTL_REMOTE_VERBS_H_
#define JOBCORE_TOOLS_JOBCTL_REMOTE_VERBS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "tools/jobctl/qmp_client.h"

namespace jobctl {

// A line for each job.
absl::Status ListJobs(QmpClient& client, bool json);
// All that there is to know about a job, or about what became of it. NotFound: there is none of that name.
absl::Status ShowJob(QmpClient& client, const std::string& id, bool json);

// "pause", "resume", "cancel", "complete", "finalize", "dismiss".
absl::Status DoToJob(QmpClient& client, std::string_view verb, const std::string& id);
// A mirror that is ready keeps its copy as it is then, and ends.
absl::Status KeepJob(QmpClient& client, const std::string& id);
absl::Status SetJobSpeed(QmpClient& client, const std::string& id, int64_t bytes_per_second);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_REMOTE_VERBS_H_
