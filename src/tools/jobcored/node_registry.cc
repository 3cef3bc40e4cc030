// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/node_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "job-driver/block/graph.h"
#include "tools/jobcored/well_formed_id.h"

namespace jobcored {
namespace {

absl::Status NotFound(std::string_view name) {
  return absl::NotFoundError(absl::StrCat("Failed to find node with node-name='", std::string(name), "'"));
}

}  // namespace

absl::Status NodeRegistry::CheckName(const std::string& name) const {
  constexpr size_t kLongest = 31;
  if (!IsWellFormedId(name)) return absl::InvalidArgumentError(absl::StrCat("Invalid node-name: '", name, "'"));
  if (name.size() > kLongest) return absl::InvalidArgumentError("Node name too long");
  if (Find(name) != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat("Duplicate nodes with node-name='", name, "'"));
  }
  return absl::OkStatus();
}

void NodeRegistry::Add(const NodePtr& node, bool owned) {
  ForgetGone();
  nodes_.insert_or_assign(node->name(), Entry{.node = node, .owner = owned ? node : nullptr});
}

NodeRegistry::NodePtr NodeRegistry::Find(std::string_view name) const {
  const auto found = nodes_.find(name);
  return found == nodes_.end() ? nullptr : found->second.node.lock();
}

absl::Status NodeRegistry::Remove(std::string_view name) {
  const auto found = nodes_.find(name);
  if (found == nodes_.end()) return NotFound(name);
  const NodePtr node = found->second.node.lock();
  if (node == nullptr) {  // gone with the one that stood upon it
    nodes_.erase(found);
    return NotFound(name);
  }
  if (found->second.owner == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("Node ", node->name(), " is not owned by the monitor"));
  }
  if (!jobcore::block::UsersOf(*node).empty()) {
    return absl::FailedPreconditionError(absl::StrCat("Node ", node->name(), " is in use"));
  }
  nodes_.erase(found);
  return absl::OkStatus();
}

void NodeRegistry::ForgetGone() {
  std::erase_if(nodes_, [](const auto& entry) { return entry.second.node.expired(); });
}

std::vector<NodeRegistry::NodePtr> NodeRegistry::All() const {
  std::vector<NodePtr> all;
  all.reserve(nodes_.size());
  for (const auto& [name, entry] : nodes_) {
    if (NodePtr node = entry.node.lock()) all.push_back(std::move(node));
  }
  return all;
}

void NodeRegistry::Clear() { nodes_.clear(); }

}  // namespace jobcored
