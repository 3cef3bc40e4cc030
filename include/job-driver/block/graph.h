// SPDX-License-Identifier: Apache-2.0
//
// What is done to nodes as a whole: finding them by name, switching their users over, moving them to another context.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_GRAPH_H_
#define JOBCORE_JOB_DRIVER_BLOCK_GRAPH_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sync.h"
#include "job-driver/block/node.h"

namespace jobcore::inline JOBCORE_ABI::block {

// Nodes by their names. Any thread.
class NodeSet {
 public:
  // AlreadyExists: there is one of that name.
  absl::Status Add(std::shared_ptr<Node> node);
  // NotFound: there is none.
  absl::StatusOr<std::shared_ptr<Node>> Find(std::string_view name) const;
  // Lets go of a node that nobody uses. FailedPrecondition: somebody does; the text says who.
  absl::Status Remove(std::string_view name);
  std::vector<std::shared_ptr<Node>> All() const;  // in the order of their names

 private:
  mutable internal::Mutex mutex_;
  std::map<std::string, std::shared_ptr<Node>, std::less<>> nodes_;
};

// Who uses the node, as their edges call them.
std::vector<std::string> UsersOf(const Node& node);

// Whether `to`, another node, can take the place of `from`: it is as large, and those who would come with their edges
// get along with those who are there (jobs do not count: they do not follow, and go with the switch).
absl::Status CheckSwitch(const Node& from, const Node& to);
// The users of `from`, but for jobs, are users of `to` from now on, and what they have parked waits for that one, in
// its order; `to` may stand upon `from`, and still does then. The caller has both nodes drained (aborts otherwise), so
// that nothing of theirs is in flight.
void SwitchUsers(Node& from, const std::shared_ptr<Node>& to) JOBCORE_EXCLUDES(job_mutex);

// Drains the node and those that it stands upon, and lets them and the jobs that work on them live in `context`.
// Any home thread but that of a job on them. All or nothing:
//   FailedPrecondition  `context` has been stopped; or one of the nodes is just being moved by somebody else
//   DeadlineExceeded    requests were still in flight, or jobs had not parked, at `deadline`
// After that it takes as long as the jobs need to go: a turn of their loops, and the hook that one is in. A job whose
// Run ends meanwhile does not need to go anywhere any more; one that is moved by itself meanwhile goes where that says.
[[nodiscard]] Co<absl::Status> MoveNode(std::shared_ptr<Node> node, std::shared_ptr<AioContext> context,
                                        TimePoint deadline = kNoDeadline) JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_GRAPH_H_
