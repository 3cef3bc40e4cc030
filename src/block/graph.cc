// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/graph.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "aio/check.h"
#include "block/graph_ops.h"
#include "block/node_move.h"
#include "job-common/job_core.h"

namespace jobcore::inline JOBCORE_ABI::block {

// --- NodeSet ---

absl::Status NodeSet::Add(std::shared_ptr<Node> node) {
  const std::lock_guard lock(mutex_);
  const std::string& name = node->name();
  if (nodes_.contains(name)) return absl::AlreadyExistsError(absl::StrCat("There is a node '", name, "' already"));
  nodes_.emplace(name, std::move(node));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Node>> NodeSet::Find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(name);
  if (found == nodes_.end()) return absl::NotFoundError(absl::StrCat("There is no node '", std::string(name), "'"));
  return found->second;
}

absl::Status NodeSet::Remove(std::string_view name) {
  std::shared_ptr<Node> node;  // destroyed after the mutex
  const std::lock_guard lock(mutex_);
  const auto found = nodes_.find(name);
  if (found == nodes_.end()) return absl::NotFoundError(absl::StrCat("There is no node '", std::string(name), "'"));
  if (const std::vector<std::string> users = UsersOf(*found->second); !users.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("Node '", std::string(name), "' is in use by ", absl::StrJoin(users, ", ")));
  }
  node = std::move(found->second);
  nodes_.erase(found);
  return absl::OkStatus();
}

std::vector<std::shared_ptr<Node>> NodeSet::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Node>> all;
  all.reserve(nodes_.size());
  for (const auto& [name, node] : nodes_) all.push_back(node);
  return all;
}

// --- Users ---

std::vector<std::string> GraphOps::UsersOf(const Node& node) {
  const std::lock_guard lock(node.mutex_);
  std::vector<std::string> users;
  users.reserve(node.edges_.size());
  for (const NodeEdge* edge : node.edges_) users.push_back(edge->user());
  return users;
}

namespace {

// Of two nodes, in the order of their addresses.
class BothLocked {
 public:
  BothLocked(internal::Mutex& a, internal::Mutex& b) : first_(&a < &b ? a : b), second_(&a < &b ? b : a) {}

 private:
  const std::lock_guard<internal::Mutex> first_;
  const std::lock_guard<internal::Mutex> second_;
};

bool IsOneOf(const std::vector<const NodeEdge*>& edges, const NodeEdge* edge) {
  return std::find(edges.begin(), edges.end(), edge) != edges.end();
}

}  // namespace

absl::Status GraphOps::CheckSwitch(const Node& from, const Node& to) {
  if (&from == &to) {
    return absl::FailedPreconditionError(absl::StrCat("Node '", to.name(), "' cannot take its own place"));
  }
  const std::vector<const NodeEdge*> inside = EdgesOfTower(to);
  const BothLocked lock(from.mutex_, to.mutex_);
  return CheckSwitchLocked(from, to, inside);
}

absl::Status GraphOps::CheckSwitchLocked(const Node& from, const Node& to, const std::vector<const NodeEdge*>& inside) {
  if (from.size() != to.size()) {
    return absl::FailedPreconditionError(absl::StrCat("Node '", to.name(), "' of ", to.size(),
                                                      " bytes cannot take the place of '", from.name(), "' of ",
                                                      from.size()));
  }
  for (const NodeEdge* edge : from.edges_) {
    if (!Follows(*edge) || IsOneOf(inside, edge)) continue;
    if (edge->options_.writes && to.read_only()) {
      return absl::FailedPreconditionError(absl::StrCat("Node '", to.name(),
                                                        "' is read-only: it cannot take the place of '", from.name(),
                                                        "', to which ", edge->user(), " writes"));
    }
    for (const NodeEdge* other : to.edges_) {
      if (Follows(*other) && !Fit(edge->options_, other->options_)) {
        return absl::FailedPreconditionError(absl::StrCat("Node '", to.name(), "' is in use by ", other->user(),
                                                          ", which does not get along with ", edge->user()));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status GraphOps::BeginSwitch(Node& from, Node& to) {
  if (&from == &to) return CheckSwitch(from, to);
  const std::vector<const NodeEdge*> inside = EdgesOfTower(to);
  const BothLocked lock(from.mutex_, to.mutex_);
  for (const Node* node : {&from, &to}) {
    if (node->switching_) return IsBeingSwitched(*node);
    // With those that stand upon it, and would not do so any more.
    if (node->moving_ != nullptr && node->moving_ != node) return IsBeingMoved(*node);
    if (node->resizing_ != nullptr) return IsBeingResized(*node);
  }
  if (absl::Status s = CheckSwitchLocked(from, to, inside); !s.ok()) return s;
  from.switching_ = to.switching_ = true;
  return absl::OkStatus();
}

void GraphOps::EndSwitch(Node& from, Node& to) {
  const BothLocked lock(from.mutex_, to.mutex_);
  from.switching_ = to.switching_ = false;
}

void GraphOps::SwitchUsers(Node& from, const std::shared_ptr<Node>& to) {
  if (&from == to.get()) internal::Die(absl::StrCat("users of node '", from.name(), "' switched over to itself"));
  {
    JobLock lock(from.core());
    // What is in flight, if anything, belongs to others who have it drained: they have no edge here that follows.
    if (!from.resource_.drained() || !to->resource_.drained()) {
      internal::Die(absl::StrCat("users of node '", from.name(), "' switched over while it is not drained"));
    }
  }
  const std::vector<const NodeEdge*> inside = EdgesOfTower(*to);  // `to` may stand upon `from`
  {
    const BothLocked lock(from.mutex_, to->mutex_);
    to->edges_.reserve(to->edges_.size() + from.edges_.size());
    std::erase_if(from.edges_, [&](NodeEdge* edge) JOBCORE_EXCLUDES(job_mutex) {
      if (!Follows(*edge) || IsOneOf(inside, edge)) return false;
      to->edges_.push_back(edge);
      // Both at once for who has been admitted to the new node and asks where the edge leads.
      const std::lock_guard edge_lock(edge->mutex_);
      edge->producer_.SendTo(to->resource_);
      edge->node_ = to;  // the last reference to `from` is the caller's, or the set's
      return true;
    });
  }
  TellUsers(*to);
}

std::vector<const NodeEdge*> GraphOps::EdgesOfTower(const Node& top) {
  std::vector<const NodeEdge*> edges;
  std::shared_ptr<const Node> kept;
  for (const NodeEdge* below = top.below(); below != nullptr; below = kept->below()) {
    edges.push_back(below);
    kept = below->node();
  }
  return edges;
}

std::vector<std::shared_ptr<Node>> GraphOps::Tower(const std::shared_ptr<Node>& top) {
  std::vector<std::shared_ptr<Node>> tower = {top};
  while (const NodeEdge* below = tower.back()->below()) tower.push_back(below->node());
  return tower;
}

Co<absl::StatusOr<DrainedSection>> GraphOps::Drain(const std::vector<std::shared_ptr<Node>>& tower, const char* what,
                                                   TimePoint deadline) {
  std::vector<Resource*> resources;
  resources.reserve(tower.size());
  for (const std::shared_ptr<Node>& node : tower) resources.push_back(&node->resource());
  const std::string name = absl::StrCat(what, " of node '", tower.front()->name(), "'");
  co_return co_await DrainedSection::Open(resources, {.name = name, .deadline = deadline});
}

absl::Status GraphOps::BeginMove(const std::vector<std::shared_ptr<Node>>& tower) {
  for (auto node = tower.begin(); node != tower.end(); ++node) {
    absl::Status busy;
    {
      const std::lock_guard lock((*node)->mutex_);
      if ((*node)->moving_ != nullptr) {
        busy = IsBeingMoved(**node);
      } else if ((*node)->switching_ && node != tower.begin()) {
        busy = IsBeingSwitched(**node);
      } else {
        (*node)->moving_ = tower.front().get();
      }
    }
    if (busy.ok()) continue;
    EndMove({tower.begin(), node});
    return busy;
  }
  return absl::OkStatus();
}

void GraphOps::EndMove(const std::vector<std::shared_ptr<Node>>& tower) {
  for (const std::shared_ptr<Node>& node : tower) {
    const std::lock_guard lock(node->mutex_);
    node->moving_ = nullptr;
  }
}

void GraphOps::SetContext(Node& node, const std::shared_ptr<AioContext>& context) {
  const std::lock_guard lock(node.mutex_);
  node.context_ = context;
}

void GraphOps::TellUsers(const Node& node) {
  std::vector<std::function<void()>> calls;  // copies: an edge may go as soon as the mutex is free
  {
    const std::lock_guard lock(node.mutex_);
    for (const NodeEdge* edge : node.edges_) {
      if (edge->options_.on_moved) calls.push_back(edge->options_.on_moved);
    }
  }
  const auto tell = [](const std::function<void()>& call) noexcept {
    call();
  };  // half of them told is no state to be in
  for (const std::function<void()>& call : calls) tell(call);
}

std::vector<std::string> UsersOf(const Node& node) { return GraphOps::UsersOf(node); }
absl::Status CheckSwitch(const Node& from, const Node& to) { return GraphOps::CheckSwitch(from, to); }
void SwitchUsers(Node& from, const std::shared_ptr<Node>& to) { GraphOps::SwitchUsers(from, to); }

Co<absl::Status> MoveNode(std::shared_ptr<Node> node, std::shared_ptr<AioContext> context, TimePoint deadline) {
  NodeMove move(std::move(node), std::move(context));
  if (absl::Status s = move.CheckContext(); !s.ok()) co_return s;
  absl::StatusOr<DrainedSection> section = DrainedSection();
  do {
    section = DrainedSection();  // of what it was before
    if (absl::Status s = move.Claim(); !s.ok()) co_return s;
    section = co_await GraphOps::Drain(move.tower(), "move", deadline);
    if (!section.ok()) co_return section.status();
  } while (!move.IsCurrent());  // somebody has switched users in there while this waited
  move.Commit();
  co_return co_await move.Arrived(kNoDeadline);
}

}  // namespace jobcore::inline JOBCORE_ABI::block
