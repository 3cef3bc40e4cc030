// SPDX-License-Identifier: Apache-2.0
//
// NodeMove: how a node, and those that it stands upon, go to live in another context, in steps: what can fail, what
// cannot, and what has to be waited for.

#ifndef JOBCORE_BLOCK_NODE_MOVE_H_
#define JOBCORE_BLOCK_NODE_MOVE_H_

#include <atomic>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-driver/block/node.h"

namespace jobcore::inline JOBCORE_ABI::block {

class NodeMove {
 public:
  NodeMove(std::shared_ptr<Node> node, std::shared_ptr<AioContext> context);
  ~NodeMove();
  NodeMove(const NodeMove&) = delete;
  NodeMove& operator=(const NodeMove&) = delete;

  // From here on the context is not stopped, and so takes up every job. FailedPrecondition: it has been.
  absl::Status CheckContext();
  // Until this is destroyed nobody else moves the node, and those that it stands upon now. FailedPrecondition: somebody
  // does. Instead of those that were claimed before, if any.
  absl::Status Claim();
  const std::vector<std::shared_ptr<Node>>& tower() const { return tower_; }  // what has been claimed
  // Whether the node still stands upon the same ones.
  bool IsCurrent() const;

  // They live there from now on, and the jobs that work on them are sent there. The tower is drained, and current.
  void Commit() JOBCORE_EXCLUDES(job_mutex);
  // Until the jobs are there, or have ended their Run.
  Co<absl::Status> Arrived(TimePoint deadline) JOBCORE_EXCLUDES(job_mutex);

 private:
  void EndClaim();

  const std::shared_ptr<Node> node_;
  const std::shared_ptr<AioContext> context_;
  bool is_user_ = false;  // of the context
  std::vector<std::shared_ptr<Node>> tower_;
  // Jobs that have not got there; counted down as they are answered, which may be after this has gone.
  const std::shared_ptr<std::atomic<int>> underway_ = std::make_shared<std::atomic<int>>(0);
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_BLOCK_NODE_MOVE_H_
