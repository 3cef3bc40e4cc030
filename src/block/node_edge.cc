// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/node_edge.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "block/graph_ops.h"
#include "job-driver/block/node_bitmaps.h"

namespace jobcore::inline JOBCORE_ABI::block {

// --- GraphOps: who gets along with whom ---

namespace {

using JobUse = EdgeOptions::JobUse;

// Whether one may change what the other cannot bear to be changed.
bool MayMeet(const EdgeOptions& writer, const EdgeOptions& other) {
  return writer.writes && !other.lets_write && writer.part_offset < other.part_end &&
         other.part_offset < writer.part_end;
}

}  // namespace

bool GraphOps::Fit(const EdgeOptions& a, const EdgeOptions& b) { return !MayMeet(a, b) && !MayMeet(b, a); }

absl::Status GraphOps::CheckFits(const Node& node, const EdgeOptions& wanted) {
  const auto refuse = [&](const auto&... text) {
    return absl::FailedPreconditionError(absl::StrCat("Node '", node.name(), "' ", text...));
  };
  if (node.resizing_ != nullptr && !wanted.lets_resize) return IsBeingResized(node);
  if (node.switching_ && wanted.job_use == JobUse::kNone) return IsBeingSwitched(node);
  for (const NodeEdge* other : node.edges_) {
    const EdgeOptions& there = other->options_;
    if (there.job_use == JobUse::kTarget && wanted.job_use == JobUse::kSource) {
      return refuse("is being made a copy by ", there.user, ": ", wanted.user, " can copy it once that has ended");
    }
    if (there.job_use == JobUse::kSource && wanted.job_use == JobUse::kTarget) {
      return refuse("is being copied by ", there.user, ": ", wanted.user, " can write to it once that has ended");
    }
    if (MayMeet(wanted, there)) {
      return refuse("is in use by ", there.user, ", meanwhile ", wanted.user, " cannot write to it");
    }
    if (MayMeet(there, wanted)) return refuse("is written to by ", there.user, ", which ", wanted.user, " cannot bear");
  }
  return absl::OkStatus();
}

absl::Status GraphOps::IsBeingResized(const Node& node) {
  return absl::FailedPreconditionError(
      absl::StrCat("Node '", node.name(), "' is just being resized by ", node.resizing_->user()));
}

absl::Status GraphOps::IsBeingSwitched(const Node& node) {
  return absl::FailedPreconditionError(
      absl::StrCat("Users of node '", node.name(), "' are just being switched over; try again when that has ended"));
}

absl::Status GraphOps::IsBeingMoved(const Node& node) {
  return absl::FailedPreconditionError(
      absl::StrCat("Node '", node.name(), "' is just being moved; try again when that has ended"));
}

absl::Status GraphOps::BeginResize(Node& node, const NodeEdge& edge) {
  if (!edge.options_.writes) {
    return absl::PermissionDeniedError(
        absl::StrCat("Node '", node.name(), "' is not to be changed by ", edge.options_.user));
  }
  const std::lock_guard lock(node.mutex_);
  if (node.resizing_ != nullptr) return IsBeingResized(node);
  if (node.switching_) return IsBeingSwitched(node);
  for (const NodeEdge* other : node.edges_) {
    if (other == &edge || other->options_.lets_resize) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("Node '", node.name(), "' is in use by ", other->options_.user, ", which relies on its size"));
  }
  node.resizing_ = &edge;
  return absl::OkStatus();
}

void GraphOps::EndResize(Node& node) {
  const std::lock_guard lock(node.mutex_);
  node.resizing_ = nullptr;
}

// --- NodeEdge ---

NodeEdge::NodeEdge(std::shared_ptr<Node> node, EdgeOptions options)
    : options_(std::move(options)), node_(std::move(node)), producer_(node_->resource()) {}

absl::StatusOr<std::unique_ptr<NodeEdge>> NodeEdge::Attach(std::shared_ptr<Node> node, EdgeOptions options) {
  if (options.writes && node->read_only()) {
    return absl::PermissionDeniedError(
        absl::StrCat("Node '", node->name(), "' is read-only: ", options.user, " cannot write to it"));
  }
  Node& to = *node;
  std::unique_ptr<NodeEdge> edge(new NodeEdge(std::move(node), std::move(options)));
  absl::Status fits;
  {
    const std::lock_guard lock(to.mutex_);
    fits = GraphOps::CheckFits(to, edge->options_);
    if (fits.ok()) to.edges_.push_back(edge.get());
  }
  if (!fits.ok()) return fits;
  return edge;
}

NodeEdge::~NodeEdge() {
  for (;;) {
    const std::shared_ptr<Node> node = this->node();
    const std::lock_guard lock(node->mutex_);
    if (this->node() != node) continue;  // switched over meanwhile
    std::erase(node->edges_, this);
    return;
  }
}

std::shared_ptr<Node> NodeEdge::node() const {
  const std::lock_guard lock(mutex_);
  return node_;
}

Co<NodeEdge::Entry> NodeEdge::Enter(const Admission* parent) {
  for (std::shared_ptr<Node> asked = this->node();;) {
    Resource::AdmitAwaiter admitted = asked->resource().Admit(producer_, parent);
    Admission in = co_await admitted;
    // Where it has been admitted: to the node that it asked, or to that to which the edge has been switched over since.
    std::shared_ptr<Node> node = this->node();
    if (in.resource() == &node->resource()) co_return Entry{.node = std::move(node), .in = std::move(in)};
    // Switched over before it was admitted at once: nothing of it has reached the old node.
    in.End();
    asked = std::move(node);
  }
}

Co<int> NodeEdge::Read(uint64_t offset, std::span<std::byte> buffer, const Admission* parent) {
  const Entry entry = co_await Enter(parent);
  co_return co_await entry.node->Read(entry.in, offset, buffer);
}

Co<int> NodeEdge::Write(uint64_t offset, std::span<const std::byte> data, const Admission* parent) {
  return Change({.kind = NodeWrite::Kind::kData, .offset = offset, .length = data.size(), .data = data}, parent);
}

Co<int> NodeEdge::Change(NodeWrite write, const Admission* parent) {
  const Entry entry = co_await Enter(parent);
  co_return co_await entry.node->Change(entry.in, write);
}

Co<int> NodeEdge::Flush(const Admission* parent) {
  const Entry entry = co_await Enter(parent);
  co_return co_await entry.node->Flush(entry.in);
}

Co<absl::StatusOr<BlockStatus>> NodeEdge::Status(uint64_t offset, uint64_t length, const Admission* parent) {
  const Entry entry = co_await Enter(parent);
  co_return co_await entry.node->Status(entry.in, offset, length);
}

Co<absl::Status> NodeEdge::Resize(uint64_t size, const Admission* parent) {
  for (;;) {
    const std::shared_ptr<Node> node = this->node();
    // First: of two who resize one node none waits for the other.
    if (absl::Status s = GraphOps::BeginResize(*node, *this); !s.ok()) co_return s;
    const absl::Cleanup end = [&node] { GraphOps::EndResize(*node); };
    DrainedSection section;
    Admission in;
    if (parent != nullptr) {  // which has been made in such a section
      Resource::AdmitAwaiter admitted = node->resource().Admit(*parent);
      in = co_await admitted;
    } else {
      const std::vector<std::shared_ptr<Node>> tower = GraphOps::Tower(node);
      absl::StatusOr<DrainedSection> drained = co_await GraphOps::Drain(tower, "resize", kNoDeadline);
      if (!drained.ok()) co_return drained.status();
      if (GraphOps::Tower(node) != tower) continue;  // switched over while this waited
      section = *std::move(drained);
      in = section.Admit(node->resource());
    }
    if (node != this->node()) continue;
    absl::Status status = co_await node->DoResize(in, size);
    if (!status.ok()) co_return status;
    node->size_.store(size, std::memory_order_release);
    node->bitmaps_->Resize(size);
    co_return absl::OkStatus();
  }
}

}  // namespace jobcore::inline JOBCORE_ABI::block
