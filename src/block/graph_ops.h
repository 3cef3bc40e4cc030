// SPDX-License-Identifier: Apache-2.0
//
// GraphOps: what is done to nodes and edges from outside of either.

#ifndef JOBCORE_BLOCK_GRAPH_OPS_H_
#define JOBCORE_BLOCK_GRAPH_OPS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-driver/block/node.h"
#include "job-driver/block/node_edge.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI::block {

// Order of their mutexes: nodes (by address), then edges, or job_mutex.
class GraphOps {
 public:
  // Whether they get along, but for what jobs do.
  static bool Fit(const EdgeOptions& a, const EdgeOptions& b);
  // Whether such a use gets along with the others of `node`, whose mutex is held.
  static absl::Status CheckFits(const Node& node, const EdgeOptions& wanted);
  static bool Follows(const NodeEdge& edge) { return edge.options_.job_use == EdgeOptions::JobUse::kNone; }
  // Until EndResize nobody comes who relies on the size, nor anybody else who changes it.
  static absl::Status BeginResize(Node& node, const NodeEdge& edge);
  static void EndResize(Node& node);

  static absl::Status IsBeingResized(const Node& node);
  static absl::Status IsBeingSwitched(const Node& node);
  static absl::Status IsBeingMoved(const Node& node);

  static std::vector<std::string> UsersOf(const Node& node);
  static absl::Status CheckSwitch(const Node& from, const Node& to);
  static void SwitchUsers(Node& from, const std::shared_ptr<Node>& to) JOBCORE_EXCLUDES(job_mutex);
  // CheckSwitch; what it has found out stays so until EndSwitch: nobody comes to use either node, or resizes it.
  // FailedPrecondition: that, or somebody is at that already.
  static absl::Status BeginSwitch(Node& from, Node& to);
  static void EndSwitch(Node& from, Node& to);
  // The node, and those that it stands upon; as of now.
  static std::vector<std::shared_ptr<Node>> Tower(const std::shared_ptr<Node>& top);
  // The edges within the tower: they do not follow to its top.
  static std::vector<const NodeEdge*> EdgesOfTower(const Node& top);
  // `what`, as "resize", and the name of the first are the section's.
  static Co<absl::StatusOr<DrainedSection>> Drain(const std::vector<std::shared_ptr<Node>>& tower, const char* what,
                                                  TimePoint deadline) JOBCORE_EXCLUDES(job_mutex);
  // Until EndMove nobody else moves any of them. FailedPrecondition: somebody does.
  static absl::Status BeginMove(const std::vector<std::shared_ptr<Node>>& tower);
  static void EndMove(const std::vector<std::shared_ptr<Node>>& tower);
  static void SetContext(Node& node, const std::shared_ptr<AioContext>& context);
  // That it has another context now, or that they have come to it from another node.
  static void TellUsers(const Node& node);

 private:
  // `inside`: the edges within the tower of `to`. The mutexes of both are held.
  static absl::Status CheckSwitchLocked(const Node& from, const Node& to, const std::vector<const NodeEdge*>& inside);
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_BLOCK_GRAPH_OPS_H_
