// SPDX-License-Identifier: Apache-2.0
//
// LaterAnswer: what a verb is answered with later; who waits for it is woken through the core.

#ifndef JOBCORE_TOOLS_JOBCORED_LATER_ANSWER_H_
#define JOBCORE_TOOLS_JOBCORED_LATER_ANSWER_H_

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "job-common/aio_wait.h"
#include "job-common/coroutine.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/verb_reply.h"

namespace jobcored {

class LaterAnswer {
 public:
  explicit LaterAnswer(jobcore::JobCore& core) : core_(core) {}

  jobcore::VerbReply ToBeSent() {
    return jobcore::VerbReply(core_.main_context(), [answer = answer_, &core = core_](absl::Status status) {
      *answer = std::move(status);
      core.main_context().wait_domain().Kick();
    });
  }
  jobcore::Co<absl::Status> Await(std::string_view name) JOBCORE_EXCLUDES(jobcore::job_mutex) {
    const auto missing = [&answer = *answer_] { return !answer.has_value(); };
    // Not watched: how long it takes is the job's business.
    absl::Status waited = co_await AioWaitWhile(core_, missing, {.name = name, .watched = false});
    if (!waited.ok()) co_return waited;
    co_return **answer_;
  }

 private:
  jobcore::JobCore& core_;
  const std::shared_ptr<std::optional<absl::Status>> answer_ = std::make_shared<std::optional<absl::Status>>();
};

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_LATER_ANSWER_H_
