// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/node_options.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "job-driver/block/fault_node.h"
#include "job-driver/block/file_node.h"
#include "job-driver/block/null_node.h"
#include "job-driver/block/raw_node.h"

namespace jobcored {
namespace {

namespace block = jobcore::block;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::kBool;
using jobcore::qmp::kInt;
using jobcore::qmp::kString;
using jobcore::qmp::kUint64;
using jobcore::qmp::Type;
using jobcore::qmp::Variant;
using NodePtr = NodeRegistry::NodePtr;

// --- What options there are ---

constexpr std::array<std::string_view, 2> kDiscards = {"ignore", "unmap"};
constexpr Type kDiscard = jobcore::qmp::EnumOf(kDiscards);
constexpr std::array<std::string_view, 3> kOnOffAutos = {"auto", "on", "off"};
constexpr Type kOnOffAuto = jobcore::qmp::EnumOf(kOnOffAutos);
constexpr std::array<std::string_view, 3> kAios = {"threads", "native", "io_uring"};
constexpr Type kAio = jobcore::qmp::EnumOf(kAios);
constexpr std::array<std::string_view, 1> kDetects = {"off"};
constexpr Type kDetectZeroes = jobcore::qmp::EnumOf(kDetects);

constexpr Field kCacheFields[] = {
    {.name = "direct", .type = &kBool, .optional = true, .help = "past the page cache"},
    {.name = "no-flush", .type = &kBool, .optional = true, .help = "need not outlive a power failure"},
};
constexpr Type kCache = jobcore::qmp::ObjectOf(kCacheFields);

constexpr Field kFileFields[] = {
    {.name = "filename", .type = &kString},
    {.name = "locking", .type = &kOnOffAuto, .optional = true, .otherwise = "auto"},
    {.name = "aio", .type = &kAio, .optional = true, .otherwise = "threads"},
};
constexpr Type kFile = jobcore::qmp::ObjectOf(kFileFields);

constexpr Type kNodeReference = jobcore::qmp::ReferenceTo(kNodeOptions);
constexpr Field kRawFields[] = {
    {.name = "file", .type = &kNodeReference},
    {.name = "offset", .type = &kInt, .optional = true, .otherwise = int64_t{0}},
    {.name = "size", .type = &kInt, .optional = true},
};
constexpr Type kRaw = jobcore::qmp::ObjectOf(kRawFields);

constexpr Field kNullFields[] = {
    {.name = "size", .type = &kInt, .optional = true, .otherwise = int64_t{1} << 30},
    {.name = "latency-ns", .type = &kUint64, .optional = true, .otherwise = int64_t{0}},
    {.name = "read-zeroes", .type = &kBool, .optional = true, .otherwise = false},
};
constexpr Type kNull = jobcore::qmp::ObjectOf(kNullFields);

// Of the reference's, those that its raw and file drivers reach, and "none": at any.
constexpr std::array<std::string_view, 7> kEvents = {"none",         "read_aio",     "write_aio",    "pwritev",
                                                     "pwritev_zero", "pwritev_done", "flush_to_disk"};
constexpr Type kEvent = jobcore::qmp::EnumOf(kEvents);
constexpr std::array<std::string_view, 6> kIoTypes = {"read",    "write", "write-zeroes",
                                                      "discard", "flush", "block-status"};
constexpr Type kIoType = jobcore::qmp::EnumOf(kIoTypes);
constexpr Field kInjectErrorFields[] = {
    {.name = "event", .type = &kEvent},
    {.name = "iotype", .type = &kIoType, .optional = true},
    {.name = "errno", .type = &jobcore::qmp::kInt32, .optional = true, .otherwise = int64_t{5}},
    {.name = "sector", .type = &kInt, .optional = true},
    {.name = "once", .type = &kBool, .optional = true, .otherwise = false},
    {.name = "immediately", .type = &kBool, .optional = true, .otherwise = false},
};
constexpr Type kInjectError = jobcore::qmp::ObjectOf(kInjectErrorFields);
constexpr Type kInjectErrors = jobcore::qmp::ListOf(kInjectError);
constexpr Field kFaultFields[] = {
    {.name = "image", .type = &kNodeReference},
    {.name = "inject-error", .type = &kInjectErrors, .optional = true},
};
constexpr Type kFault = jobcore::qmp::ObjectOf(kFaultFields);

constexpr std::array<std::string_view, 4> kDrivers = {"blkdebug", "file", "null-co", "raw"};
constexpr Type kDriver = jobcore::qmp::EnumOf(kDrivers);
constexpr Variant kDriverOptions[] = {
    {.value = "blkdebug", .object = &kFault},
    {.value = "file", .object = &kFile},
    {.value = "null-co", .object = &kNull},
    {.value = "raw", .object = &kRaw},
};
constexpr Field kNodeFields[] = {
    {.name = "driver", .type = &kDriver},
    {.name = "node-name", .type = &kString, .optional = true},
    {.name = "discard", .type = &kDiscard, .optional = true},
    {.name = "cache", .type = &kCache, .optional = true},
    {.name = "read-only", .type = &kBool, .optional = true},
    {.name = "auto-read-only", .type = &kBool, .optional = true},
    {.name = "force-share", .type = &kBool, .optional = true},
    {.name = "detect-zeroes", .type = &kDetectZeroes, .optional = true},
};

// --- Making them ---

// What a node hands down to those that it is made with, unless they have it otherwise.
struct Common {
  bool read_only = false;
  bool auto_read_only = false;
  bool direct = false;
  bool no_flush = false;
  bool discard = false;
  bool force_share = false;

  void Read(Arguments options) {
    Set(read_only, options, "read-only");
    Set(auto_read_only, options, "auto-read-only");
    Set(force_share, options, "force-share");
    if (options.Has("discard")) discard = options.String("discard") == "unmap";
    if (!options.Has("cache")) return;
    const Arguments cache = options.Object("cache");
    Set(direct, cache, "direct");
    Set(no_flush, cache, "no-flush");
  }

 private:
  static void Set(bool& value, Arguments options, std::string_view name) {
    if (options.Has(name)) value = options.Bool(name);
  }
};

absl::Status NotNegative(Arguments options, std::string_view name) {
  if (options.OptionalInt(name).value_or(0) >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("Parameter '", std::string(name), "' expects a non-negative value"));
}

using Operation = block::FaultRule::Operation;

std::optional<Operation> OperationOf(Arguments rule) {
  const std::string& event = rule.String("event");
  if (!rule.Has("iotype")) {
    if (event == "none") return Operation::kAny;
    if (event == "read_aio") return Operation::kRead;
    if (event == "flush_to_disk") return Operation::kFlush;
    if (event == "pwritev_zero") return Operation::kWriteZeroes;
    return Operation::kWrite;
  }
  constexpr std::array<Operation, kIoTypes.size()> kOperations = {Operation::kRead,        Operation::kWrite,
                                                                  Operation::kWriteZeroes, Operation::kDiscard,
                                                                  Operation::kFlush,       Operation::kBlockStatus};
  const auto found = std::find(kIoTypes.begin(), kIoTypes.end(), rule.String("iotype"));
  return kOperations[static_cast<size_t>(found - kIoTypes.begin())];
}

std::vector<block::FaultRule> FaultRules(Arguments options) {
  std::vector<block::FaultRule> rules;
  if (!options.Has("inject-error")) return rules;
  for (const jobcore::qmp::JsonValue& value : options.List("inject-error")) {
    const Arguments rule(*value.AsObject());
    if (rule.Int("errno") <= 0) continue;  // what it returns is no error, there either
    block::FaultRule made = {
        .operation = *OperationOf(rule), .error = static_cast<int>(rule.Int("errno")), .once = rule.Bool("once")};
    if (const std::optional<int64_t> sector = rule.OptionalInt("sector"); sector.value_or(-1) >= 0) {
      made.sector = static_cast<uint64_t>(*sector);
    }
    rules.push_back(made);
  }
  return rules;
}

class Maker {
 public:
  Maker(jobcore::JobCore& core, Engines& engines, NodeRegistry& nodes)
      : core_(core), engines_(engines), nodes_(nodes) {}

  absl::StatusOr<NodePtr> Make(Arguments options, Common common) {
    common.Read(options);
    block::Node::Options node = {.name = options.OptionalString("node-name").value_or(""),
                                 .read_only = common.read_only};
    const bool named = !node.name.empty();
    if (named) {
      if (absl::Status s = CheckName(node.name); !s.ok()) return s;
      names_.push_back(node.name);
    } else {
      node.name = UnusedName();
    }
    if (common.force_share && !common.read_only) {
      return absl::InvalidArgumentError("force-share=on can only be used with read-only images");
    }
    absl::StatusOr<NodePtr> made = MakeOfDriver(options, common, std::move(node));
    if (made.ok() && named) made_.push_back(*made);
    return made;
  }
  // Those with names, as long as this lives; the last is the topmost.
  const std::vector<NodePtr>& made() const { return made_; }

 private:
  absl::Status CheckName(const std::string& name) const {
    if (std::find(names_.begin(), names_.end(), name) == names_.end()) return nodes_.CheckName(name);
    return absl::AlreadyExistsError(absl::StrCat("Duplicate nodes with node-name='", name, "'"));
  }
  // As the reference calls them: nobody can choose such a one.
  static std::string UnusedName() {
    static std::atomic<int> last{0};
    return absl::StrCat("#block", last.fetch_add(1, std::memory_order_relaxed));
  }

  absl::StatusOr<NodePtr> MakeOfDriver(Arguments options, const Common& common, block::Node::Options node) {
    const std::string& driver = options.String("driver");
    if (driver == "file") return MakeFile(options, common, std::move(node));
    if (driver == "null-co") return MakeNull(options, std::move(node));
    absl::StatusOr<NodePtr> below = Below(options.Value(driver == "raw" ? "file" : "image"), common);
    if (!below.ok()) return below.status();
    if ((*below)->read_only()) node.read_only = true;  // opened so, because nothing else was allowed
    if (driver == "raw") return MakeRaw(options, std::move(node), *std::move(below));
    return block::MakeFaultNode(core_,
                                {.node = std::move(node), .image = *std::move(below), .rules = FaultRules(options)});
  }

  absl::StatusOr<NodePtr> Below(const jobcore::qmp::JsonValue& reference, const Common& common) {
    if (const std::string* const name = reference.AsString()) {
      NodePtr node = nodes_.Find(*name);
      if (node == nullptr) {
        return absl::NotFoundError(absl::StrCat("Cannot find device='", *name, "' nor node-name='", *name, "'"));
      }
      return node;
    }
    return Make(Arguments(*reference.AsObject()), common);
  }

  absl::StatusOr<NodePtr> MakeFile(Arguments options, const Common& common, block::Node::Options node) {
    using Locking = block::FileOptions::Locking;
    block::FileOptions file = {.node = std::move(node),
                               .filename = options.String("filename"),
                               .direct = common.direct,
                               .no_flush = common.no_flush,
                               .discard = common.discard};
    file.engine = options.String("aio") == "threads" ? &engines_.threads() : &engines_.uring();
    const std::string& locking = options.String("locking");
    file.locking = locking == "on" ? Locking::kOn : locking == "off" ? Locking::kOff : Locking::kAuto;
    if (common.force_share) file.locking = Locking::kOff;
    absl::StatusOr<NodePtr> opened = block::OpenFileNode(core_, file);
    if (absl::IsPermissionDenied(opened.status()) && common.auto_read_only && !common.read_only) {
      file.node.read_only = true;
      opened = block::OpenFileNode(core_, file);
    }
    if (opened.ok()) return opened;
    // The first words are the wire's; what follows says the same.
    constexpr absl::string_view kOurs = "cannot open ";
    const absl::string_view text = opened.status().message();
    if (!absl::StartsWith(text, kOurs)) return opened;
    return absl::Status(opened.status().code(), absl::StrCat("Could not open ", text.substr(kOurs.size())));
  }

  absl::StatusOr<NodePtr> MakeNull(Arguments options, block::Node::Options node) {
    for (const std::string_view name : {"size", "latency-ns"}) {
      if (absl::Status s = NotNegative(options, name); !s.ok()) return s;
    }
    return block::MakeNullNode(core_, {.node = std::move(node),
                                       .size = static_cast<uint64_t>(options.Int("size")),
                                       .latency = jobcore::Nanoseconds(options.Int("latency-ns")),
                                       .read_zeroes = options.Bool("read-zeroes")});
  }

  absl::StatusOr<NodePtr> MakeRaw(Arguments options, block::Node::Options node, NodePtr file) {
    for (const std::string_view name : {"offset", "size"}) {
      if (absl::Status s = NotNegative(options, name); !s.ok()) return s;
    }
    block::RawOptions raw = {
        .node = std::move(node), .file = std::move(file), .offset = static_cast<uint64_t>(options.Int("offset"))};
    if (const std::optional<int64_t> size = options.OptionalInt("size")) raw.size = static_cast<uint64_t>(*size);
    return block::MakeRawNode(core_, std::move(raw));
  }

  jobcore::JobCore& core_;
  Engines& engines_;
  NodeRegistry& nodes_;
  std::vector<std::string> names_;
  std::vector<NodePtr> made_;
};

}  // namespace

constinit const Type kNodeOptions = jobcore::qmp::UnionOf(kNodeFields, "driver", kDriverOptions);

jobcore::IoEngine& Engines::threads() {
  if (threads_ == nullptr) threads_ = jobcore::IoEngine::ThreadPool(kThreads);
  return *threads_;
}

jobcore::IoEngine& Engines::uring() {
  if (uring_ == nullptr) uring_ = jobcore::IoEngine::Best(kThreads);
  return *uring_;
}

absl::StatusOr<NodePtr> MakeNode(jobcore::JobCore& core, Engines& engines, NodeRegistry& nodes, Arguments options) {
  if (options.OptionalString("node-name").value_or("").empty()) {
    return absl::InvalidArgumentError("'node-name' must be specified for the root node");
  }
  Maker maker(core, engines, nodes);
  absl::StatusOr<NodePtr> node = maker.Make(options, Common());
  if (!node.ok()) return node;
  for (const NodePtr& made : maker.made()) nodes.Add(made, /*owned=*/made == *node);
  return node;
}

}  // namespace jobcored
