// SPDX-License-Identifier: Apache-2.0

#include "block/node_move.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/graph_ops.h"
#include "job-common/aio_wait.h"
#include "job-common/job_core.h"
#include "job-monitor/job_monitor.h"

namespace jobcore::inline JOBCORE_ABI::block {

NodeMove::NodeMove(std::shared_ptr<Node> node, std::shared_ptr<AioContext> context)
    : node_(std::move(node)), context_(std::move(context)) {}

NodeMove::~NodeMove() {
  EndClaim();
  if (is_user_) context_->RemoveUser();
}

absl::Status NodeMove::CheckContext() {
  is_user_ = context_->TryAddUser();
  if (is_user_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("Node '", node_->name(), "' cannot move to '", context_->name(), "', which has been stopped"));
}

absl::Status NodeMove::Claim() {
  EndClaim();
  std::vector<std::shared_ptr<Node>> tower = GraphOps::Tower(node_);
  absl::Status begun = GraphOps::BeginMove(tower);
  if (begun.ok()) tower_ = std::move(tower);
  return begun;
}

void NodeMove::EndClaim() {
  GraphOps::EndMove(tower_);
  tower_.clear();
}

bool NodeMove::IsCurrent() const { return GraphOps::Tower(node_) == tower_; }

void NodeMove::Commit() {
  // First: whoever makes a job there meanwhile looks at the context again once the job can be found.
  for (const std::shared_ptr<Node>& n : tower_) GraphOps::SetContext(*n, context_);
  for (const std::shared_ptr<Node>& n : tower_) GraphOps::TellUsers(*n);
  // The jobs are parked, or have ended their Run: those have nothing more to do there.
  JobCore& core = node_->core();
  JobLock lock(core);
  std::vector<JobRef> jobs;
  for (const std::shared_ptr<Node>& node : tower_) {
    for (JobRef& job : node->resource().jobs()) {
      if (std::none_of(jobs.begin(), jobs.end(), [&](const JobRef& j) { return j.get() == job.get(); })) {
        jobs.push_back(std::move(job));
      }
    }
  }
  for (const JobRef& job : jobs) {
    // Whatever the answer: it is there; or its Run has ended; or somebody has sent it elsewhere since, and so it is
    // where it would be had he done so after the move.
    VerbReply reply(core.main_context(), [open = underway_, &core](const absl::Status&) JOBCORE_EXCLUDES(job_mutex) {
      open->fetch_sub(1, std::memory_order_release);
      core.main_context().wait_domain().Kick();
    });
    // Refused: its Run has ended.
    if (monitor::Move(*job, *context_, std::move(reply)).ok()) underway_->fetch_add(1, std::memory_order_relaxed);
  }
}

Co<absl::Status> NodeMove::Arrived(TimePoint deadline) {
  const auto moving = [open = underway_.get()] { return open->load(std::memory_order_acquire) != 0; };
  const std::string name = absl::StrCat("move of the jobs of node '", node_->name(), "'");
  co_return co_await AioWaitWhile(node_->core(), moving, {.name = name, .deadline = deadline});
}

}  // namespace jobcore::inline JOBCORE_ABI::block
