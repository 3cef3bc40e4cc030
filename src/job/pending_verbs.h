// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_SRC_JOB_PENDING_VERBS_H_
#define JOBCORE_SRC_JOB_PENDING_VERBS_H_

#include <memory>
#include <vector>

#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/job.h"
#include "job-common/job_status.h"
#include "job-common/verb_reply.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// What monitors have asked of a job that its own context has to carry out. Guarded by job_mutex.
struct PendingVerbs {
  PendingVerbs(WorkItem::Function function, Job& job) : item(function, job) {}

  struct Item final : WorkItem {
    Item(Function function, Job& j) : WorkItem("job verbs", function), job(j) {}
    Job& job;
  } item;
  bool posted = false;  // the item is on its way
  // Where the job is to go, and who wants to know; null: nowhere. The target counts the job as a user.
  std::shared_ptr<AioContext> move_to;
  VerbReply move_reply;
  bool complete_accepted = false;  // the driver has said Ok

  // What a hook of the driver answers, served in order: complete, change.
  struct Request {
    JobVerb verb;
    JobOptions options;  // of a change
    VerbReply reply;
  };
  std::vector<Request> requests;    // not answered yet; the first one's hook may be in progress
  const CoRoot* serving = nullptr;  // while it is
  const char* serving_hook = "";    // "Complete" or "Change"
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_SRC_JOB_PENDING_VERBS_H_
