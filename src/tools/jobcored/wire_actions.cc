// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/wire_actions.h"

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "job-driver/block/block_actions.h"
#include "job-driver/block/node_bitmaps.h"
#include "job-driver/resource.h"
#include "job-monitor/job_monitor.h"
#include "tools/jobcored/copy_arguments.h"

namespace jobcored {
namespace {

namespace block = jobcore::block;
using jobcore::Co;
using jobcore::monitor::Action;
using jobcore::monitor::ActionSite;
using jobcore::monitor::PreparedAction;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::JsonValue;
using jobcore::qmp::kBool;
using jobcore::qmp::kString;
using jobcore::qmp::Type;
using NodePtr = NodeRegistry::NodePtr;
using Prepared = absl::StatusOr<std::unique_ptr<PreparedAction>>;
using Resources = std::vector<std::shared_ptr<jobcore::Resource>>;
using Made = absl::StatusOr<std::unique_ptr<Action>>;

constexpr Field kAddFields[] = {
    {.name = "node", .type = &kString},
    {.name = "name", .type = &kString},
    {.name = "granularity", .type = &jobcore::qmp::kUint32, .optional = true},
    {.name = "persistent", .type = &kBool, .optional = true, .otherwise = false},
    {.name = "disabled", .type = &kBool, .optional = true, .otherwise = false},
};
constexpr Type kAdd = jobcore::qmp::ObjectOf(kAddFields);
constexpr Field kBitmapFields[] = {{.name = "node", .type = &kString}, {.name = "name", .type = &kString}};
constexpr Type kBitmap = jobcore::qmp::ObjectOf(kBitmapFields);
constexpr Type kBitmapOrName = jobcore::qmp::ReferenceTo(kBitmap);
constexpr Type kBitmapList = jobcore::qmp::ListOf(kBitmapOrName);
constexpr Field kMergeFields[] = {
    {.name = "node", .type = &kString},
    {.name = "target", .type = &kString},
    {.name = "bitmaps", .type = &kBitmapList, .help = "of the same node, by their names, or of others"},
};
constexpr Type kMerge = jobcore::qmp::ObjectOf(kMergeFields);

// What all actions have in common: the arguments are read in the action's turn.
class FromArguments : public Action {
 public:
  FromArguments(Daemon& daemon, std::string_view type, Arguments data) : daemon_(daemon), type_(type), data_(data) {}

  std::string_view type() const override { return type_; }
  void AddResources(Resources& resources) const override {
    for (const char* const member : {"device", "node"}) {
      if (data_.Has(member)) AddNode(data_.String(member), resources);
    }
    if (!data_.Has("bitmaps")) return;
    for (const JsonValue& source : data_.List("bitmaps")) {
      if (source.AsObject() != nullptr) AddNode(Arguments(*source.AsObject()).String("node"), resources);
    }
  }

 protected:
  Daemon& daemon() const { return daemon_; }
  Arguments data() const { return data_; }

 private:
  // Those that do not exist are found to be missing when the action's turn comes.
  void AddNode(const std::string& name, Resources& resources) const {
    if (const NodePtr node = daemon_.nodes.Find(name)) resources.emplace_back(node, &node->resource());
  }

  Daemon& daemon_;
  const std::string_view type_;
  const Arguments data_;
};

// --- Jobs ---

template <typename Options>
class StartsJob final : public FromArguments {
 public:
  using Read = absl::StatusOr<CopyRequest<Options>> (*)(Daemon&, Arguments);
  using Make = std::unique_ptr<Action> (*)(jobcore::JobSpec, Options);

  StartsJob(Daemon& daemon, std::string_view type, Arguments data, Read read, Make make)
      : FromArguments(daemon, type, data), read_(read), make_(make) {}

  Co<Prepared> Prepare(const ActionSite& site) override JOBCORE_EXCLUDES(jobcore::job_mutex) {
    const absl::StatusOr<CopyRequest<Options>> request = read_(daemon(), data());
    if (!request.ok()) co_return request.status();
    action_ = make_(request->spec, request->options);
    Prepared prepared = co_await action_->Prepare(site);
    if (!prepared.ok()) co_return prepared;
    const absl::Status noted = Note(*request);
    if (noted.ok()) co_return prepared;
    (*prepared)->Abort();
    co_await (*prepared)->Clean(site.deadline());
    co_return noted;
  }

 private:
  absl::Status Note(const CopyRequest<Options>& request) JOBCORE_EXCLUDES(jobcore::job_mutex) {
    const jobcore::JobRef job = Find(request.spec.id);
    if (!job) return absl::AbortedError("The job was cancelled");  // by somebody, in another thread
    if (absl::Status s = SetFirstSpeed(daemon(), *job, request.speed); !s.ok()) return s;
    daemon().job_uses.Add(*job, *request.options.source, *request.options.target);
    return absl::OkStatus();
  }
  jobcore::JobRef Find(const std::string& id) JOBCORE_EXCLUDES(jobcore::job_mutex) {
    jobcore::JobLock lock(daemon().core);
    jobcore::Job* const job = jobcore::monitor::Find(daemon().core, id);
    return job != nullptr ? jobcore::JobRef(*job) : jobcore::JobRef();
  }

  const Read read_;
  const Make make_;
  std::unique_ptr<Action> action_;  // null: not its turn yet
};

// --- Bitmaps ---

class ChangesBitmap final : public FromArguments {
 public:
  using Make = Made (*)(Daemon&, Arguments);
  ChangesBitmap(Daemon& daemon, std::string_view type, Arguments data, Make make)
      : FromArguments(daemon, type, data), make_(make) {}

  Co<Prepared> Prepare(const ActionSite& site) override JOBCORE_EXCLUDES(jobcore::job_mutex) {
    Made made = make_(daemon(), data());
    if (!made.ok()) co_return made.status();
    action_ = *std::move(made);
    co_return co_await action_->Prepare(site);
  }

 private:
  const Make make_;
  std::unique_ptr<Action> action_;  // null: not its turn yet
};

// The reference has two texts for a node that does not exist.
absl::StatusOr<NodePtr> FindBitmapNode(Daemon& daemon, const std::string& name) {
  NodePtr node = daemon.nodes.Find(name);
  if (node == nullptr) return absl::NotFoundError(absl::StrCat("Node '", name, "' not found"));
  return node;
}

Made MakeAdd(Daemon& daemon, Arguments args) {
  absl::StatusOr<NodePtr> node = FindNode(daemon, args.String("node"));
  if (!node.ok()) return node.status();
  block::BitmapOptions options = {.name = args.String("name"), .recording = !args.Bool("disabled")};
  if (options.name.empty()) return absl::InvalidArgumentError("Bitmap name cannot be empty");
  if (const std::optional<int64_t> granularity = args.OptionalInt("granularity")) {
    options.granularity = static_cast<uint64_t>(*granularity);
    if (options.granularity < 512 || !std::has_single_bit(options.granularity)) {
      return absl::InvalidArgumentError("Granularity must be power of 2 and at least 512");
    }
  }
  if (args.Bool("persistent")) {
    return absl::UnimplementedError(
        absl::StrCat("Can't store persistent bitmaps to ", (*node)->name(), ": Operation not supported"));
  }
  constexpr size_t kLongest = 1023;
  if (options.name.size() > kLongest) {
    return absl::InvalidArgumentError(absl::StrCat("Bitmap name too long: ", options.name));
  }
  return block::AddBitmapAction(*std::move(node), std::move(options));
}

template <auto kMake>
Made MakeChange(Daemon& daemon, Arguments args) {
  absl::StatusOr<NodePtr> node = FindBitmapNode(daemon, args.String("node"));
  if (!node.ok()) return node.status();
  return kMake(*std::move(node), args.String("name"));
}

absl::StatusOr<block::BitmapInfo> FindBitmap(const block::BitmapOfNode& bitmap) {
  return bitmap.node->bitmaps().Find(bitmap.name);
}

Made MakeMerge(Daemon& daemon, Arguments args) {
  absl::StatusOr<NodePtr> node = FindBitmapNode(daemon, args.String("node"));
  if (!node.ok()) return node.status();
  block::BitmapOfNode target = {.node = *node, .name = args.String("target")};
  if (absl::Status s = FindBitmap(target).status(); !s.ok()) return s;
  std::vector<block::BitmapOfNode> sources;
  sources.reserve(args.List("bitmaps").size());
  for (const JsonValue& value : args.List("bitmaps")) {
    block::BitmapOfNode source = {.node = *node, .name = {}};
    if (const std::string* const name = value.AsString()) {
      source.name = *name;
    } else {
      const Arguments bitmap(*value.AsObject());
      source.name = bitmap.String("name");
      absl::StatusOr<NodePtr> other = FindBitmapNode(daemon, bitmap.String("node"));
      if (!other.ok()) return other.status();
      source.node = *std::move(other);
    }
    if (absl::Status s = FindBitmap(source).status(); !s.ok()) return s;
    if (source.node->size() != target.node->size()) {
      return absl::InvalidArgumentError(absl::StrCat("Bitmaps are of different sizes (destination size is ",
                                                     target.node->size(), ", source size is ", source.node->size(),
                                                     ") and can't be merged"));
    }
    sources.push_back(std::move(source));
  }
  return block::MergeBitmapsAction(std::move(target), std::move(sources));
}

// --- All of them ---

constexpr std::array<WireAction, 9> kWireActions = {{
    {.type = "abort", .data = &jobcore::qmp::kNoArguments, .groups = true},
    {.type = "blockdev-backup", .data = &kBackupArguments, .groups = true},
    {.type = "x-blockdev-mirror", .data = &kMirrorArguments, .groups = true},
    {.type = "block-dirty-bitmap-add", .data = &kAdd, .help = "begins to note what is written to a node"},
    {.type = "block-dirty-bitmap-remove", .data = &kBitmap, .help = "forgets a bitmap"},
    {.type = "block-dirty-bitmap-clear", .data = &kBitmap, .help = "nothing is dirty any more"},
    {.type = "block-dirty-bitmap-enable", .data = &kBitmap, .help = "goes on noting what is written"},
    {.type = "block-dirty-bitmap-disable", .data = &kBitmap, .help = "stops noting what is written"},
    {.type = "block-dirty-bitmap-merge", .data = &kMerge, .help = "what is dirty in others is dirty in this one, too"},
}};

ChangesBitmap::Make MakerOf(std::string_view type) {
  if (type == "block-dirty-bitmap-add") return &MakeAdd;
  if (type == "block-dirty-bitmap-remove") return &MakeChange<&block::RemoveBitmapAction>;
  if (type == "block-dirty-bitmap-clear") return &MakeChange<&block::ClearBitmapAction>;
  if (type == "block-dirty-bitmap-enable") return &MakeChange<&block::EnableBitmapAction>;
  if (type == "block-dirty-bitmap-disable") return &MakeChange<&block::DisableBitmapAction>;
  return &MakeMerge;
}

}  // namespace

std::span<const WireAction> WireActions() { return kWireActions; }

std::unique_ptr<Action> MakeAction(Daemon& daemon, const WireAction& action, Arguments data) {
  const std::string_view type = action.type;
  if (type == "abort") return jobcore::monitor::FailingAction();
  if (type == "blockdev-backup") {
    return std::make_unique<StartsJob<block::BackupOptions>>(daemon, type, data, &ReadBackup,
                                                             &block::StartBackupAction);
  }
  if (type == "x-blockdev-mirror") {
    return std::make_unique<StartsJob<block::MirrorOptions>>(daemon, type, data, &ReadMirror,
                                                             &block::StartMirrorAction);
  }
  return std::make_unique<ChangesBitmap>(daemon, type, data, MakerOf(type));
}

}  // namespace jobcored
