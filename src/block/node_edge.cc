// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/node_edge.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "block/graph_ops.h"

namespace jobcore::inline JOBCORE_ABI::block {

// --- GraphOps: who gets along with whom ---

absl::Status GraphOps::CheckFits(const Node& node, const EdgeOptions& wanted) {
  if (node.resizing_ != nullptr && !wanted.lets_resize) return IsBeingResized(node);
  for (const NodeEdge* other : node.edges_) {
    const EdgeOptions& there = other->options_;
    if (wanted.writes && !there.lets_write) {
      return absl::FailedPreconditionError(absl::StrCat("Node '", node.name(), "' is in use by ", there.user,
                                                        ", meanwhile ", wanted.user, " cannot write to it"));
    }
    if (there.writes && !wanted.lets_write) {
      return absl::FailedPreconditionError(absl::StrCat("Node '", node.name(), "' is written to by ", there.user,
                                                        ", which ", wanted.user, " cannot bear"));
    }
  }
  return absl::OkStatus();
}

absl::Status GraphOps::IsBeingResized(const Node& node) {
  return absl::FailedPreconditionError(
      absl::StrCat("Node '", node.name(), "' is just being resized by ", node.resizing_->user()));
}

absl::Status GraphOps::BeginResize(Node& node, const NodeEdge& edge) {
  if (!edge.options_.writes) {
    return absl::PermissionDeniedError(
        absl::StrCat("Node '", node.name(), "' is not to be changed by ", edge.options_.user));
  }
  const std::lock_guard lock(node.mutex_);
  if (node.resizing_ != nullptr) return IsBeingResized(node);
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
    : options_(std::move(options)), node_(std::move(node)) {}

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
  for (;;) {
    std::shared_ptr<Node> node = this->node();
    Resource& resource = node->resource();
    Resource::AdmitAwaiter admitted = parent != nullptr ? resource.Admit(*parent) : resource.Admit();
    Admission in = co_await admitted;
    // Switched over while it waited, or before it was admitted: nothing of it has reached the old node.
    if (node == this->node()) co_return Entry{.node = std::move(node), .in = std::move(in)};
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
  const Entry entry = co_await Enter(parent);
  if (absl::Status s = GraphOps::BeginResize(*entry.node, *this); !s.ok()) co_return s;
  const absl::Cleanup end = [&entry] { GraphOps::EndResize(*entry.node); };
  absl::Status status = co_await entry.node->DoResize(entry.in, size);
  if (status.ok()) entry.node->size_.store(size, std::memory_order_release);
  co_return status;
}

}  // namespace jobcore::inline JOBCORE_ABI::block
