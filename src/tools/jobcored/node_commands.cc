// SPDX-License-Identifier: Apache-2.0

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "job-driver/block/graph.h"
#include "job-driver/block/node_bitmaps.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {
namespace {

namespace block = jobcore::block;
using jobcore::Co;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::GenericError;
using jobcore::qmp::JsonArray;
using jobcore::qmp::JsonObject;
using jobcore::qmp::Reply;
using jobcore::qmp::Type;
using NodePtr = NodeRegistry::NodePtr;

constexpr Field kNameFields[] = {{.name = "node-name", .type = &jobcore::qmp::kString}};
constexpr Type kName = jobcore::qmp::ObjectOf(kNameFields);

constexpr Field kSetIOThreadFields[] = {
    {.name = "node-name", .type = &jobcore::qmp::kString},
    {.name = "iothread", .type = &jobcore::qmp::kStringOrNull, .help = "null: the main loop"},
    {.name = "force", .type = &jobcore::qmp::kBool, .optional = true, .otherwise = false},
};
constexpr Type kSetIOThread = jobcore::qmp::ObjectOf(kSetIOThreadFields);

constexpr Field kQueryNodesFields[] = {
    {.name = "flat", .type = &jobcore::qmp::kBool, .optional = true, .otherwise = false}};
constexpr Type kQueryNodes = jobcore::qmp::ObjectOf(kQueryNodesFields);

Reply BlockdevAdd(Daemon& daemon, Arguments args) {
  return MakeNode(daemon.core, daemon.engines, daemon.nodes, args).status();
}

Reply BlockdevDel(Daemon& daemon, Arguments args) {
  const std::string& name = args.String("node-name");
  if (const NodePtr node = daemon.nodes.Find(name)) {
    // The reference says it in one way or another, depending on which end of a job it is.
    const bool mirrored = daemon.job_uses.SourceOf(*node) == "mirror";
    if (mirrored || daemon.job_uses.TargetOf(*node) == "backup") {
      return GenericError(absl::StrCat(
          "Node '", name, "' is busy: block device is in use by block job: ", mirrored ? "mirror" : "backup"));
    }
  }
  return daemon.nodes.Remove(name);
}

// Those who may not expect to be moved, as they are not moved in the reference without being asked.
bool IsExported(Daemon& daemon, const std::string& node) {
  if (daemon.nbd == nullptr) return false;
  for (const jobcore::nbd::ExportInfo& exported : daemon.nbd->Exports()) {
    if (exported.node == node) return true;
  }
  return false;
}

Co<Reply> SetIOThread(Daemon& daemon, Arguments args) {
  const std::string& name = args.String("node-name");
  const NodePtr node = daemon.nodes.Find(name);
  if (node == nullptr) co_return GenericError(absl::StrCat("Failed to find node with node-name='", name, "'"));
  if (!args.Bool("force") && (IsExported(daemon, name) || !daemon.job_uses.TargetOf(*node).empty())) {
    co_return GenericError(absl::StrCat("Node ", name,
                                        " is associated with a BlockBackend and could be in use (use force=true to "
                                        "override this check)"));
  }
  std::shared_ptr<jobcore::AioContext> context = daemon.core.main_context().shared_from_this();
  if (const std::string* const iothread = args.Value("iothread").AsString()) {
    const auto found = daemon.iothreads.find(*iothread);
    if (found == daemon.iothreads.end()) co_return GenericError(absl::StrCat("Cannot find iothread ", *iothread));
    context = found->second->context().shared_from_this();
  }
  const absl::Status moved = co_await jobcore::block::MoveNode(node, context, daemon.Deadline());
  co_return moved;
}

JsonArray BitmapsOf(block::Node& node) {
  JsonArray list;
  for (const block::BitmapInfo& bitmap : node.bitmaps().List()) {
    list.push_back(JsonObject{{"name", bitmap.name},
                              {"recording", bitmap.recording},
                              {"persistent", false},
                              {"busy", !bitmap.busy_with.empty()},
                              {"granularity", bitmap.granularity},
                              {"count", bitmap.dirty_bytes}});
  }
  return list;
}

Reply QueryNodes(Daemon& daemon) {
  JsonArray list;
  for (const NodePtr& node : daemon.nodes.All()) {
    JsonObject info = JsonObject{{"node-name", node->name()},
                                 {"drv", node->driver()},
                                 {"ro", node->read_only()},
                                 {"image", JsonObject{{"virtual-size", node->size()}, {"format", node->driver()}}}};
    if (JsonArray bitmaps = BitmapsOf(*node); !bitmaps.empty()) info.Set("dirty-bitmaps", std::move(bitmaps));
    list.push_back(std::move(info));
  }
  return list;
}

}  // namespace

void AddNodeCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add("blockdev-add", "makes a node, and those that it stands upon", kNodeOptions,
            [&daemon](Arguments args) { return BlockdevAdd(daemon, args); });
  table.Add("blockdev-del", "lets go of a node that nobody uses", kName,
            [&daemon](Arguments args) { return BlockdevDel(daemon, args); });
  table.Add("query-named-block-nodes", "the nodes that have names", kQueryNodes,
            [&daemon](Arguments) { return QueryNodes(daemon); });
  table.Add({.name = "x-blockdev-set-iothread",
             .help = "moves a node, those that it stands upon, and their jobs, to an I/O thread",
             .arguments = &kSetIOThread,
             .handler = [&daemon](Arguments args) { return SetIOThread(daemon, args); }});
}

}  // namespace jobcored
