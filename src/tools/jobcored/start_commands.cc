// SPDX-License-Identifier: Apache-2.0

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "job-common/error_policy.h"
#include "job-driver/block/backup.h"
#include "job-driver/block/create_image.h"
#include "job-driver/block/mirror.h"
#include "job-driver/job_driver.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/copy_arguments.h"
#include "tools/jobcored/daemon.h"
#include "tools/jobcored/settled_job.h"

namespace jobcored {
namespace {

namespace block = jobcore::block;
using jobcore::Co;
using jobcore::JobRef;
using jobcore::qmp::Arguments;
using jobcore::qmp::Error;
using jobcore::qmp::Field;
using jobcore::qmp::GenericError;
using jobcore::qmp::kBool;
using jobcore::qmp::kInt;
using jobcore::qmp::kString;
using jobcore::qmp::Reply;
using jobcore::qmp::Type;
using NodePtr = NodeRegistry::NodePtr;

constexpr Type kOnError = jobcore::qmp::EnumOf(jobcore::kOnErrorNames);

constexpr Field kCommitFields[] = {
    {.name = "job-id", .type = &kString, .optional = true, .otherwise = ""},
    {.name = "device", .type = &kString},
    {.name = "base-node", .type = &kString, .optional = true},
    {.name = "base", .type = &kString, .optional = true},
    {.name = "top-node", .type = &kString, .optional = true},
    {.name = "top", .type = &kString, .optional = true},
    {.name = "backing-file", .type = &kString, .optional = true},
    {.name = "speed", .type = &kInt, .optional = true, .otherwise = int64_t{0}},
    {.name = "on-error", .type = &kOnError, .optional = true, .otherwise = "report"},
    {.name = "filter-node-name", .type = &kString, .optional = true},
    {.name = "auto-finalize", .type = &kBool, .optional = true, .otherwise = true},
    {.name = "auto-dismiss", .type = &kBool, .optional = true, .otherwise = true},
};
constexpr Type kCommit = jobcore::qmp::ObjectOf(kCommitFields);

constexpr Field kStreamFields[] = {
    {.name = "job-id", .type = &kString, .optional = true, .otherwise = ""},
    {.name = "device", .type = &kString},
    {.name = "base", .type = &kString, .optional = true},
    {.name = "base-node", .type = &kString, .optional = true},
    {.name = "backing-file", .type = &kString, .optional = true},
    {.name = "bottom", .type = &kString, .optional = true},
    {.name = "speed", .type = &kInt, .optional = true, .otherwise = int64_t{0}},
    {.name = "on-error", .type = &kOnError, .optional = true, .otherwise = "report"},
    {.name = "filter-node-name", .type = &kString, .optional = true},
    {.name = "auto-finalize", .type = &kBool, .optional = true, .otherwise = true},
    {.name = "auto-dismiss", .type = &kBool, .optional = true, .otherwise = true},
};
constexpr Type kStream = jobcore::qmp::ObjectOf(kStreamFields);

constexpr std::array<std::string_view, 3> kPreallocations = {"off", "falloc", "full"};
constexpr Type kPreallocation = jobcore::qmp::EnumOf(kPreallocations);
constexpr Field kCreateFileFields[] = {
    {.name = "filename", .type = &kString},
    {.name = "size", .type = &jobcore::qmp::kUint64},
    {.name = "preallocation", .type = &kPreallocation, .optional = true, .otherwise = "off"},
};
constexpr Type kCreateFile = jobcore::qmp::ObjectOf(kCreateFileFields);
constexpr std::array<std::string_view, 1> kCreateDrivers = {"file"};
constexpr Type kCreateDriver = jobcore::qmp::EnumOf(kCreateDrivers);
constexpr jobcore::qmp::Variant kCreateVariants[] = {{.value = "file", .object = &kCreateFile}};
constexpr Field kCreateOptionsFields[] = {{.name = "driver", .type = &kCreateDriver}};
constexpr Type kCreateOptions = jobcore::qmp::UnionOf(kCreateOptionsFields, "driver", kCreateVariants);
constexpr Field kCreateFields[] = {
    {.name = "job-id", .type = &kString},
    {.name = "options", .type = &kCreateOptions},
};
constexpr Type kCreate = jobcore::qmp::ObjectOf(kCreateFields);

Co<Reply> BlockdevBackup(Daemon& daemon, Arguments args) {
  const absl::StatusOr<CopyRequest<block::BackupOptions>> request = ReadBackup(daemon, args);
  if (!request.ok()) co_return request.status();
  const block::BackupOptions& options = request->options;
  const absl::StatusOr<JobRef> job =
      co_await block::CreateBackup(daemon.core, request->spec, options, daemon.Deadline());
  if (!job.ok()) co_return job.status();
  if (absl::Status s = SetFirstSpeed(daemon, **job, request->speed); !s.ok()) co_return s;
  daemon.job_uses.Add(**job, *options.source, *options.target);
  co_return StartJob(**job);
}

absl::Status StartSettled(Daemon& daemon, const jobcore::JobSpec& spec, int64_t speed, std::string_view type,
                          absl::Status end) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  auto driver = std::make_unique<SettledJob>(type, std::move(end));
  const absl::StatusOr<JobRef> job = CreateJob(daemon.core, spec, std::move(driver));
  if (!job.ok()) return job.status();
  if (absl::Status s = SetFirstSpeed(daemon, **job, speed); !s.ok()) return s;
  return StartJob(**job);
}

Co<Reply> BlockdevMirror(Daemon& daemon, Arguments args) {
  const absl::StatusOr<CopyRequest<block::MirrorOptions>> request = ReadMirror(daemon, args);
  if (!request.ok()) co_return request.status();
  const block::MirrorOptions& options = request->options;
  if (options.source->size() != options.target->size()) {
    // The library says it here; clients of the wire expect to hear of it by a job that fails.
    const absl::Status end = absl::InvalidArgumentError("Source and target image have different sizes");
    co_return StartSettled(daemon, request->spec, request->speed, "mirror", end);
  }
  const absl::StatusOr<JobRef> job =
      co_await block::CreateMirror(daemon.core, request->spec, options, daemon.Deadline());
  if (!job.ok()) co_return job.status();
  if (absl::Status s = SetFirstSpeed(daemon, **job, request->speed); !s.ok()) co_return s;
  daemon.job_uses.Add(**job, *options.source, *options.target);
  co_return StartJob(**job);
}

Error NoSuchNode(const std::string& name) {
  return GenericError(absl::StrCat("Cannot find device='' nor node-name='", name, "'"));
}

// No node has a backing image: there is nothing that could be committed. What clients can still get wrong is told as
// the reference tells it.
Reply BlockCommit(Daemon& daemon, Arguments args) {
  const std::string& device = args.String("device");
  if (daemon.nodes.Find(device) == nullptr) {
    return Error{jobcore::qmp::ErrorClass::kDeviceNotFound, absl::StrCat("Device '", device, "' not found")};
  }
  for (const auto& [node, file] : {std::pair("top-node", "top"), std::pair("base-node", "base")}) {
    if (args.Has(node) && args.Has(file)) {
      return GenericError(absl::StrCat("'", node, "' and '", file, "' are mutually exclusive"));
    }
    if (const std::optional<std::string> name = args.OptionalString(node)) {
      if (daemon.nodes.Find(*name) == nullptr) return NoSuchNode(*name);
      if (*name != device) return GenericError(absl::StrCat("'", *name, "' is not in this backing file chain"));
    }
    if (const std::optional<std::string> name = args.OptionalString(file)) {
      return GenericError(absl::StrCat("Can't find '", *name, "' in the backing chain"));
    }
  }
  return GenericError("cannot commit an image into itself");
}

// The same: but to take in what is below, where nothing is, is done at once.
Reply BlockStream(Daemon& daemon, Arguments args) {
  const std::array<std::pair<const char*, const char*>, 3> kExclusive = {
      {{"base", "base-node"}, {"base", "bottom"}, {"bottom", "base-node"}}};
  for (const auto& [a, b] : kExclusive) {
    if (args.Has(a) && args.Has(b)) {
      return GenericError(absl::StrCat("'", a, "' and '", b, "' cannot be specified at the same time"));
    }
  }
  const std::string& device = args.String("device");
  if (absl::Status s = FindNode(daemon, device).status(); !s.ok()) return s;
  if (const std::optional<std::string> base = args.OptionalString("base")) {
    return GenericError(absl::StrCat("Can't find '", *base, "' in the backing chain"));
  }
  if (const std::optional<std::string> base = args.OptionalString("base-node")) {
    if (daemon.nodes.Find(*base) == nullptr) return NoSuchNode(*base);
    return GenericError(absl::StrCat("Node '", *base, "' is not a backing image of '", device, "'"));
  }
  if (const std::optional<std::string> bottom = args.OptionalString("bottom");
      bottom.has_value() && *bottom != device) {
    if (daemon.nodes.Find(*bottom) == nullptr) return NoSuchNode(*bottom);
    return GenericError(absl::StrCat("Node '", *bottom, "' is not in a chain starting from '", device, "'"));
  }
  if (args.Has("backing-file")) {
    return GenericError("backing file specified, but streaming the entire chain");
  }
  const absl::StatusOr<jobcore::JobSpec> spec = ReadJobSpec(args);
  if (!spec.ok()) return spec.status();
  return StartSettled(daemon, *spec, args.Int("speed"), "stream", absl::OkStatus());
}

Reply BlockdevCreate(Daemon& daemon, Arguments args) {
  using Preallocation = block::CreateImageOptions::Preallocation;
  const Arguments options = args.Object("options");
  const std::string& preallocation = options.String("preallocation");
  absl::StatusOr<std::unique_ptr<jobcore::JobDriver>> create = block::MakeCreateImage({
      .filename = options.String("filename"),
      .size = static_cast<uint64_t>(options.Int("size")),
      .preallocation = preallocation == "full"     ? Preallocation::kFull
                       : preallocation == "falloc" ? Preallocation::kFalloc
                                                   : Preallocation::kOff,
      .mode = 0644,
      .replace = true,
      .engine = &daemon.engines.threads(),
  });
  if (args.String("job-id").empty()) return GenericError("Invalid job ID ''");
  // A client that creates an image wants to know what came of it.
  const jobcore::JobSpec spec = {.id = args.String("job-id"), .auto_dismiss = false};
  // What the library says here clients expect to hear from the job.
  if (!create.ok()) return StartSettled(daemon, spec, /*speed=*/0, "create", create.status());
  const absl::StatusOr<JobRef> job = CreateJob(daemon.core, spec, *std::move(create));
  return job.ok() ? StartJob(**job) : job.status();
}

}  // namespace

void AddStartCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add({.name = "blockdev-backup",
             .help = "starts a job that copies a node as it is now",
             .arguments = &kBackupArguments,
             .handler = [&daemon](Arguments args) { return BlockdevBackup(daemon, args); }});
  table.Add({.name = "blockdev-mirror",
             .help = "starts a job that makes a node the copy of another one, which is written to meanwhile",
             .arguments = &kMirrorArguments,
             .handler = [&daemon](Arguments args) { return BlockdevMirror(daemon, args); }});
  table.Add("block-commit", "refused: no node has a backing image", kCommit,
            [&daemon](Arguments args) { return BlockCommit(daemon, args); });
  table.Add("block-stream", "starts a job that has nothing to do: no node has a backing image", kStream,
            [&daemon](Arguments args) { return BlockStream(daemon, args); });
  table.Add("blockdev-create", "starts a job that makes an image", kCreate,
            [&daemon](Arguments args) { return BlockdevCreate(daemon, args); });
}

}  // namespace jobcored
