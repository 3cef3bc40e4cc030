// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/copy_arguments.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "job-common/error_policy.h"
#include "job-driver/block/node_bitmaps.h"
#include "job-monitor/job_monitor.h"

namespace jobcored {
namespace {

namespace block = jobcore::block;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::kBool;
using jobcore::qmp::kInt;
using jobcore::qmp::kString;
using jobcore::qmp::kUint32;
using jobcore::qmp::Type;
using NodePtr = NodeRegistry::NodePtr;

constexpr std::array<std::string_view, 5> kSyncs = {"top", "full", "none", "incremental", "bitmap"};
constexpr Type kSync = jobcore::qmp::EnumOf(kSyncs);
constexpr Type kOnError = jobcore::qmp::EnumOf(jobcore::kOnErrorNames);
constexpr std::array<std::string_view, 2> kCopyModes = {"background", "write-blocking"};
constexpr Type kCopyMode = jobcore::qmp::EnumOf(kCopyModes);
constexpr std::array<std::string_view, 3> kBitmapModes = {"on-success", "never", "always"};
constexpr Type kBitmapMode = jobcore::qmp::EnumOf(kBitmapModes);

constexpr Field kPerfFields[] = {
    {.name = "use-copy-range", .type = &kBool, .optional = true, .otherwise = false},
    {.name = "max-workers", .type = &kInt, .optional = true, .otherwise = int64_t{64}},
    {.name = "max-chunk", .type = &kInt, .optional = true, .otherwise = int64_t{0}},
};
constexpr Type kPerf = jobcore::qmp::ObjectOf(kPerfFields);

constexpr Field kBackupFields[] = {
    {.name = "job-id", .type = &kString, .optional = true, .otherwise = ""},
    {.name = "device", .type = &kString, .help = "the node that is copied"},
    {.name = "sync", .type = &kSync},
    {.name = "speed", .type = &kInt, .optional = true, .otherwise = int64_t{0}},
    {.name = "bitmap", .type = &kString, .optional = true},
    {.name = "bitmap-mode", .type = &kBitmapMode, .optional = true},
    {.name = "compress", .type = &kBool, .optional = true, .otherwise = false},
    {.name = "on-source-error", .type = &kOnError, .optional = true, .otherwise = "report"},
    {.name = "on-target-error", .type = &kOnError, .optional = true, .otherwise = "report"},
    {.name = "auto-finalize", .type = &kBool, .optional = true, .otherwise = true},
    {.name = "auto-dismiss", .type = &kBool, .optional = true, .otherwise = true},
    {.name = "filter-node-name", .type = &kString, .optional = true},
    {.name = "x-perf", .type = &kPerf, .optional = true},
    {.name = "target", .type = &kString},
};

constexpr Field kMirrorFields[] = {
    {.name = "job-id", .type = &kString, .optional = true, .otherwise = ""},
    {.name = "device", .type = &kString, .help = "the node that is copied"},
    {.name = "target", .type = &kString},
    {.name = "replaces", .type = &kString, .optional = true},
    {.name = "sync", .type = &kSync},
    {.name = "speed", .type = &kInt, .optional = true, .otherwise = int64_t{0}},
    {.name = "granularity", .type = &kUint32, .optional = true, .otherwise = int64_t{0}},
    {.name = "buf-size", .type = &kInt, .optional = true, .otherwise = int64_t{0}},
    {.name = "on-source-error", .type = &kOnError, .optional = true, .otherwise = "report"},
    {.name = "on-target-error", .type = &kOnError, .optional = true, .otherwise = "report"},
    {.name = "filter-node-name", .type = &kString, .optional = true},
    {.name = "copy-mode", .type = &kCopyMode, .optional = true, .otherwise = "background"},
    {.name = "auto-finalize", .type = &kBool, .optional = true, .otherwise = true},
    {.name = "auto-dismiss", .type = &kBool, .optional = true, .otherwise = true},
};

template <typename... Text>
absl::Status Invalid(const Text&... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

jobcore::OnError ReadPolicy(Arguments args, std::string_view name) {
  return *jobcore::ParseOnError(args.String(name));  // the schema knows no others
}

// The library would refuse it, too; this is how the wire says it.
absl::Status Busy(const block::Node& node, const std::string& job) {
  return absl::FailedPreconditionError(
      absl::StrCat("Node '", node.name(), "' is busy: block device is in use by block job: ", job));
}

absl::Status CheckNotInUse(Daemon& daemon, const block::Node& target) {
  std::string job = daemon.job_uses.TargetOf(target);
  if (job.empty()) job = daemon.job_uses.SourceOf(target);
  return job.empty() ? absl::OkStatus() : Busy(target, job);
}

// Several backups may have one source; the wire knows no more than that.
absl::Status CheckBackupSource(Daemon& daemon, const block::Node& source) {
  const std::string target_of = daemon.job_uses.TargetOf(source);
  if (!target_of.empty()) return Busy(source, target_of);
  const std::string source_of = daemon.job_uses.SourceOf(source);
  return source_of.empty() || source_of == "backup" ? absl::OkStatus() : Busy(source, source_of);
}

// `options.source` is known. What the library would refuse, too, is told as the wire says it.
absl::Status ReadBackupSync(Arguments args, block::BackupOptions& options) {
  using Sync = block::BackupOptions::Sync;
  using BitmapMode = block::BackupOptions::BitmapMode;
  const std::string& sync = args.String("sync");
  if (sync == "none") options.sync = Sync::kNone;
  if (sync == "bitmap" || sync == "incremental") options.sync = Sync::kBitmap;
  const std::optional<std::string> bitmap = args.OptionalString("bitmap");
  if (options.sync == Sync::kBitmap && !bitmap.has_value()) {
    return Invalid("must provide a valid bitmap name for '", sync, "' sync mode");
  }
  std::optional<std::string> mode = args.OptionalString("bitmap-mode");
  if (sync == "incremental") {
    if (mode.value_or("on-success") != "on-success") {
      return Invalid("Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
    }
    mode = "on-success";
  }
  if (bitmap.has_value()) {
    const absl::StatusOr<block::BitmapInfo> found = options.source->bitmaps().Find(*bitmap);
    if (!found.ok()) return absl::NotFoundError(absl::StrCat("Bitmap '", *bitmap, "' could not be found"));
    if (!mode.has_value()) return Invalid("Bitmap sync mode must be given when providing a bitmap");
    if (!found->busy_with.empty()) {
      return Invalid("Bitmap '", *bitmap, "' is currently in use by another operation and cannot be used");
    }
    if (sync == "none") return Invalid("sync mode 'none' does not produce meaningful bitmap outputs");
    if (*mode == "never" && options.sync != Sync::kBitmap) {
      return Invalid("Bitmap sync mode 'never' has no meaningful effect when combined with sync mode '", sync, "'");
    }
    options.bitmap = *bitmap;
    options.bitmap_mode = *mode == "never"    ? BitmapMode::kNever
                          : *mode == "always" ? BitmapMode::kAlways
                                              : BitmapMode::kOnSuccess;
  } else if (mode.has_value()) {
    return Invalid("Cannot specify bitmap sync mode without a bitmap");
  }
  if (args.Bool("compress")) return Invalid("Compression is not supported for this drive");
  return absl::OkStatus();
}

}  // namespace

constinit const Type kBackupArguments = jobcore::qmp::ObjectOf(kBackupFields);
constinit const Type kMirrorArguments = jobcore::qmp::ObjectOf(kMirrorFields);

absl::StatusOr<NodePtr> FindNode(Daemon& daemon, const std::string& name) {
  NodePtr node = daemon.nodes.Find(name);
  if (node == nullptr) {
    return absl::NotFoundError(absl::StrCat("Cannot find device='", name, "' nor node-name='", name, "'"));
  }
  return node;
}

absl::StatusOr<jobcore::JobSpec> ReadJobSpec(Arguments args) {
  jobcore::JobSpec spec = {.id = args.String("job-id")};
  // Without one a job is called what its device is: nodes are none, and so it gets no name that is one.
  if (spec.id.empty()) return Invalid("Invalid job ID ''");
  spec.auto_finalize = args.Bool("auto-finalize");
  spec.auto_dismiss = args.Bool("auto-dismiss");
  return spec;
}

absl::Status SetFirstSpeed(Daemon& daemon, jobcore::Job& job, int64_t speed) {
  absl::Status set;
  {
    jobcore::JobLock lock(daemon.core);
    set = jobcore::monitor::SetSpeed(job, speed);
  }
  if (!set.ok()) (void)AbandonJob(job);  // refused: somebody has cancelled it meanwhile
  return set;
}

absl::StatusOr<CopyRequest<block::BackupOptions>> ReadBackup(Daemon& daemon, Arguments args) {
  CopyRequest<block::BackupOptions> request;
  block::BackupOptions& options = request.options;
  for (const auto& [name, node] : {std::pair("device", &options.source), std::pair("target", &options.target)}) {
    absl::StatusOr<NodePtr> found = FindNode(daemon, args.String(name));
    if (!found.ok()) return found.status();
    *node = *std::move(found);
  }
  if (absl::Status s = ReadBackupSync(args, options); !s.ok()) return s;
  if (options.source == options.target) return Invalid("Source and target cannot be the same");
  if (absl::Status s = CheckBackupSource(daemon, *options.source); !s.ok()) return s;
  if (absl::Status s = CheckNotInUse(daemon, *options.target); !s.ok()) return s;
  if (options.source->size() != options.target->size()) {
    return Invalid("Source and target image have different sizes");
  }
  options.on_source_error = ReadPolicy(args, "on-source-error");
  options.on_target_error = ReadPolicy(args, "on-target-error");
  if (args.Has("x-perf")) {
    const Arguments perf = args.Object("x-perf");
    const int64_t workers = perf.Int("max-workers");
    if (workers < 1 || workers > INT32_MAX) return Invalid("max-workers must be between 1 and ", INT32_MAX);
    if (perf.Int("max-chunk") < 0) return Invalid("max-chunk must be zero (which means no limit) or positive");
    constexpr int64_t kMostInFlight = 256;
    options.in_flight = static_cast<int>(std::min(workers, kMostInFlight));
  }
  request.speed = args.Int("speed");
  absl::StatusOr<jobcore::JobSpec> spec = ReadJobSpec(args);
  if (!spec.ok()) return spec.status();
  request.spec = *std::move(spec);
  return request;
}

absl::StatusOr<CopyRequest<block::MirrorOptions>> ReadMirror(Daemon& daemon, Arguments args) {
  CopyRequest<block::MirrorOptions> request;
  block::MirrorOptions& options = request.options;
  for (const auto& [name, node] : {std::pair("device", &options.source), std::pair("target", &options.target)}) {
    absl::StatusOr<NodePtr> found = FindNode(daemon, args.String(name));
    if (!found.ok()) return found.status();
    *node = *std::move(found);
  }
  if (!daemon.job_uses.SourceOf(*options.source).empty() || !daemon.job_uses.TargetOf(*options.source).empty()) {
    return Invalid("Need a root block node");
  }
  const std::string& sync = args.String("sync");
  if (sync == "bitmap" || sync == "incremental") return Invalid("Sync mode '", sync, "' not supported");
  if (args.Has("replaces")) return Invalid("Parameter 'replaces' is not supported: the users of the source follow");

  const auto granularity = static_cast<uint64_t>(args.Int("granularity"));
  if (granularity != 0) {
    if (granularity < 512 || granularity > uint64_t{64} << 20) {
      return Invalid("Parameter 'granularity' expects a value in range [512B, 64MB]");
    }
    if (!std::has_single_bit(granularity)) return Invalid("Parameter 'granularity' expects a power of 2");
    options.granularity = granularity;
  }
  const int64_t buffer = args.Int("buf-size");
  if (buffer < 0) return Invalid("Invalid parameter 'buf-size'");
  if (buffer > 0) options.buffer_bytes = static_cast<size_t>(buffer);
  if (options.source == options.target) return Invalid("Can't mirror node into itself");
  if (absl::Status s = CheckNotInUse(daemon, *options.target); !s.ok()) return s;

  if (sync == "none") options.sync = block::MirrorOptions::Sync::kNone;
  if (args.String("copy-mode") == "write-blocking") {
    options.copy_mode = block::MirrorOptions::CopyMode::kWriteBlocking;
  }
  options.on_source_error = ReadPolicy(args, "on-source-error");
  options.on_target_error = ReadPolicy(args, "on-target-error");
  request.speed = args.Int("speed");
  absl::StatusOr<jobcore::JobSpec> spec = ReadJobSpec(args);
  if (!spec.ok()) return spec.status();
  request.spec = *std::move(spec);
  return request;
}

}  // namespace jobcored
