// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/graph.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "aio/check.h"
#include "block/graph_ops.h"
#include "job-common/aio_wait.h"
#include "job-common/job_core.h"
#include "job-monitor/job_monitor.h"

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
  if (from.size() != to.size()) {
    return absl::FailedPreconditionError(absl::StrCat("Node '", to.name(), "' of ", to.size(),
                                                      " bytes cannot take the place of '", from.name(), "' of ",
                                                      from.size()));
  }
  if (&from == &to) {
    return absl::FailedPreconditionError(absl::StrCat("Node '", to.name(), "' cannot take its own place"));
  }
  const std::vector<const NodeEdge*> inside = EdgesOfTower(to);
  const BothLocked lock(from.mutex_, to.mutex_);
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
    std::erase_if(from.edges_, [&](NodeEdge* edge) {
      if (!Follows(*edge) || IsOneOf(inside, edge)) return false;
      to->edges_.push_back(edge);
      const std::lock_guard edge_lock(edge->mutex_);
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
    const std::lock_guard lock((*node)->mutex_);
    if (!std::exchange((*node)->moving_, true)) continue;
    EndMove({tower.begin(), node});
    return absl::FailedPreconditionError(absl::StrCat("Node '", (*node)->name(), "' is just being moved; move '",
                                                      tower.front()->name(), "' when that has ended"));
  }
  return absl::OkStatus();
}

void GraphOps::EndMove(const std::vector<std::shared_ptr<Node>>& tower) {
  for (const std::shared_ptr<Node>& node : tower) {
    const std::lock_guard lock(node->mutex_);
    node->moving_ = false;
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
  for (const std::function<void()>& call : calls) call();
}

std::vector<std::string> UsersOf(const Node& node) { return GraphOps::UsersOf(node); }
absl::Status CheckSwitch(const Node& from, const Node& to) { return GraphOps::CheckSwitch(from, to); }
void SwitchUsers(Node& from, const std::shared_ptr<Node>& to) { GraphOps::SwitchUsers(from, to); }

// --- Moving ---

namespace {

// Nodes that nobody else moves meanwhile.
class MoveClaim {
 public:
  MoveClaim() = default;
  ~MoveClaim() { End(); }
  MoveClaim(const MoveClaim&) = delete;
  MoveClaim& operator=(const MoveClaim&) = delete;

  absl::Status Begin(std::vector<std::shared_ptr<Node>> tower) {
    End();
    absl::Status begun = GraphOps::BeginMove(tower);
    if (begun.ok()) tower_ = std::move(tower);
    return begun;
  }
  const std::vector<std::shared_ptr<Node>>& tower() const { return tower_; }

 private:
  void End() {
    GraphOps::EndMove(tower_);
    tower_.clear();
  }
  std::vector<std::shared_ptr<Node>> tower_;
};

// Sends the jobs that work on the nodes, which are drained, to `context`, which takes everybody. The number of those
// that have not got there is counted down as they are answered, which kicks the core.
std::shared_ptr<const std::atomic<int>> MoveJobs(JobCore& core, const std::vector<std::shared_ptr<Node>>& nodes,
                                                 AioContext& context) JOBCORE_EXCLUDES(job_mutex) {
  const auto open = std::make_shared<std::atomic<int>>(0);
  JobLock lock(core);
  std::vector<JobRef> jobs;
  for (const std::shared_ptr<Node>& node : nodes) {
    for (JobRef& job : node->resource().jobs()) {
      if (std::none_of(jobs.begin(), jobs.end(), [&](const JobRef& j) { return j.get() == job.get(); })) {
        jobs.push_back(std::move(job));
      }
    }
  }
  for (const JobRef& job : jobs) {
    // Whatever the answer: it is there; or its Run has ended; or somebody has sent it elsewhere since, and so it is
    // where it would be had he done so after the move.
    VerbReply reply(core.main_context(), [open, &core](const absl::Status&) JOBCORE_EXCLUDES(job_mutex) {
      open->fetch_sub(1, std::memory_order_release);
      core.main_context().wait_domain().Kick();
    });
    // Refused: its Run has ended.
    if (monitor::Move(*job, context, std::move(reply)).ok()) open->fetch_add(1, std::memory_order_relaxed);
  }
  return open;
}

}  // namespace

Co<absl::Status> MoveNode(std::shared_ptr<Node> node, std::shared_ptr<AioContext> context, TimePoint deadline) {
  JobCore& core = node->core();
  // From here on it is not stopped, and so takes up every job.
  if (!context->TryAddUser()) {
    co_return absl::FailedPreconditionError(
        absl::StrCat("Node '", node->name(), "' cannot move to '", context->name(), "', which has been stopped"));
  }
  const absl::Cleanup let_go = [&context] { context->RemoveUser(); };

  MoveClaim claim;
  absl::StatusOr<DrainedSection> section = DrainedSection();
  do {
    section = DrainedSection();  // of what it was before
    if (absl::Status s = claim.Begin(GraphOps::Tower(node)); !s.ok()) co_return s;
    section = co_await GraphOps::Drain(claim.tower(), "move", deadline);
    if (!section.ok()) co_return section.status();
  } while (GraphOps::Tower(node) != claim.tower());  // somebody has switched users in there while this waited

  // First: whoever makes a job there meanwhile looks at the context again once the job can be found.
  for (const std::shared_ptr<Node>& n : claim.tower()) GraphOps::SetContext(*n, context);
  for (const std::shared_ptr<Node>& n : claim.tower()) GraphOps::TellUsers(*n);
  // The jobs are parked, or have ended their Run: those have nothing more to do there.
  const std::shared_ptr<const std::atomic<int>> open = MoveJobs(core, claim.tower(), *context);
  const auto moving = [open] { return open->load(std::memory_order_acquire) != 0; };
  const std::string name = absl::StrCat("move of the jobs of node '", node->name(), "'");
  co_return co_await AioWaitWhile(core, moving, {.name = name});
}

}  // namespace jobcore::inline JOBCORE_ABI::block
