// SPDX-License-Identifier: Apache-2.0
//
// NodeRegistry: the nodes that monitors know by name.

#ifndef JOBCORE_TOOLS_JOBCORED_NODE_REGISTRY_H_
#define JOBCORE_TOOLS_JOBCORED_NODE_REGISTRY_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "job-driver/block/node.h"

namespace jobcored {

// The main context.
class NodeRegistry {
 public:
  using NodePtr = std::shared_ptr<jobcore::block::Node>;

  // Whether a node may get that name; an error says why not.
  absl::Status CheckName(const std::string& name) const;
  // `owned`: it stays until it is removed. Not: as long as the node that stands upon it, with which it was made.
  void Add(const NodePtr& node, bool owned);
  // Null: there is none.
  NodePtr Find(std::string_view name) const;
  // Lets go of an owned node that nobody uses.
  absl::Status Remove(std::string_view name);
  std::vector<NodePtr> All() const;  // in the order of their names
  // Of all of them, those that stand upon others first. Nobody uses them any more.
  void Clear();

 private:
  // Those that have gone with the ones that stood upon them.
  void ForgetGone();

  struct Entry {
    std::weak_ptr<jobcore::block::Node> node;
    NodePtr owner;  // null: not owned
  };
  std::map<std::string, Entry, std::less<>> nodes_;
};

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_NODE_REGISTRY_H_
