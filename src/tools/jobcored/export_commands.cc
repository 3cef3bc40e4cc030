// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "job-driver/nbd/address.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/copy_arguments.h"
#include "tools/jobcored/daemon.h"
#include "tools/jobcored/well_formed_id.h"

namespace jobcored {
namespace {

namespace nbd = jobcore::nbd;
using jobcore::Co;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::GenericError;
using jobcore::qmp::JsonArray;
using jobcore::qmp::JsonObject;
using jobcore::qmp::kBool;
using jobcore::qmp::kString;
using jobcore::qmp::Reply;
using jobcore::qmp::Type;

constexpr Field kUnixDataFields[] = {{.name = "path", .type = &kString}};
constexpr Type kUnixData = jobcore::qmp::ObjectOf(kUnixDataFields);
constexpr Field kUnixFields[] = {{.name = "data", .type = &kUnixData}};
constexpr Type kUnix = jobcore::qmp::ObjectOf(kUnixFields);
constexpr Field kInetDataFields[] = {{.name = "host", .type = &kString}, {.name = "port", .type = &kString}};
constexpr Type kInetData = jobcore::qmp::ObjectOf(kInetDataFields);
constexpr Field kInetFields[] = {{.name = "data", .type = &kInetData}};
constexpr Type kInet = jobcore::qmp::ObjectOf(kInetFields);
constexpr std::array<std::string_view, 2> kAddressTypes = {"inet", "unix"};
constexpr Type kAddressType = jobcore::qmp::EnumOf(kAddressTypes);
constexpr jobcore::qmp::Variant kAddresses[] = {{.value = "inet", .object = &kInet},
                                                {.value = "unix", .object = &kUnix}};
constexpr Field kAddressFields[] = {{.name = "type", .type = &kAddressType}};
constexpr Type kAddress = jobcore::qmp::UnionOf(kAddressFields, "type", kAddresses);
constexpr Field kStartFields[] = {
    {.name = "addr", .type = &kAddress},
    {.name = "max-connections", .type = &jobcore::qmp::kUint32, .optional = true, .otherwise = int64_t{100}},
};
constexpr Type kStart = jobcore::qmp::ObjectOf(kStartFields);

constexpr std::array<std::string_view, 1> kExportTypes = {"nbd"};
constexpr Type kExportType = jobcore::qmp::EnumOf(kExportTypes);
constexpr Field kNbdFields[] = {
    {.name = "name", .type = &kString, .optional = true},
    {.name = "description", .type = &kString, .optional = true, .otherwise = ""},
};
constexpr Type kNbd = jobcore::qmp::ObjectOf(kNbdFields);
constexpr jobcore::qmp::Variant kExports[] = {{.value = "nbd", .object = &kNbd}};
constexpr Field kAddFields[] = {
    {.name = "type", .type = &kExportType},
    {.name = "id", .type = &kString},
    {.name = "fixed-iothread", .type = &kBool, .optional = true, .otherwise = false},
    {.name = "iothread", .type = &kString, .optional = true},
    {.name = "node-name", .type = &kString},
    {.name = "writable", .type = &kBool, .optional = true, .otherwise = false},
    {.name = "writethrough", .type = &kBool, .optional = true, .otherwise = false},
};
constexpr Type kAdd = jobcore::qmp::UnionOf(kAddFields, "type", kExports);
constexpr std::array<std::string_view, 2> kRemoveModes = {"safe", "hard"};
constexpr Type kRemoveMode = jobcore::qmp::EnumOf(kRemoveModes);
constexpr Field kDelFields[] = {
    {.name = "id", .type = &kString},
    {.name = "mode", .type = &kRemoveMode, .optional = true, .otherwise = "safe"},
};
constexpr Type kDel = jobcore::qmp::ObjectOf(kDelFields);

nbd::Address ReadAddress(Arguments address) {
  const Arguments data = address.Object("data");
  if (address.String("type") == "unix") return nbd::Address::Unix(data.String("path"));
  return nbd::Address::Inet(data.String("host"), data.String("port"));
}

Reply NbdServerStart(Daemon& daemon, Arguments args) {
  if (daemon.nbd != nullptr) return GenericError("NBD server already running");
  nbd::Server::Options options;
  options.address = ReadAddress(args.Object("addr"));
  options.max_connections = static_cast<int>(std::min<int64_t>(args.Int("max-connections"), INT32_MAX));
  options.on_removed = [&daemon](const std::string& id) { daemon.SendEvent("BLOCK_EXPORT_DELETED", {{"id", id}}); };
  absl::StatusOr<std::unique_ptr<nbd::Server>> server = nbd::Server::Start(daemon.core, std::move(options));
  if (!server.ok()) return server.status();
  daemon.nbd = *std::move(server);
  return {};
}

Co<Reply> NbdServerStop(Daemon& daemon) {
  if (daemon.nbd == nullptr) co_return GenericError("NBD server not running");
  const absl::Status stopped = co_await daemon.StopNbdServer();
  co_return stopped;
}

absl::Status CheckExport(Daemon& daemon, const nbd::ExportOptions& wanted) {
  for (const nbd::ExportInfo& there : daemon.nbd->Exports()) {
    if (there.id == wanted.id) {
      return absl::AlreadyExistsError(absl::StrCat("Block export id '", wanted.id, "' is already in use"));
    }
    if (there.name == wanted.name && !there.removing) {
      return absl::AlreadyExistsError(absl::StrCat("NBD server already has export named '", wanted.name, "'"));
    }
  }
  if (wanted.writable && wanted.node->read_only()) {
    return absl::PermissionDeniedError("Cannot export read-only node as writable");
  }
  return absl::OkStatus();
}

Reply BlockExportAdd(Daemon& daemon, Arguments args) {
  nbd::ExportOptions wanted = {
      .id = args.String("id"), .description = args.String("description"), .writable = args.Bool("writable")};
  if (args.Bool("writethrough")) return GenericError("Parameter 'writethrough' is not supported: clients can flush");
  if (!IsWellFormedId(wanted.id)) return GenericError("Invalid block export id");
  const std::string& node = args.String("node-name");
  wanted.node = daemon.nodes.Find(node);
  if (wanted.node == nullptr) return GenericError(absl::StrCat("Cannot find device='' nor node-name='", node, "'"));
  wanted.name = args.OptionalString("name").value_or(node);
  if (daemon.nbd == nullptr) return GenericError("NBD server not running");
  if (const std::optional<std::string> iothread = args.OptionalString("iothread")) {
    const auto found = daemon.iothreads.find(*iothread);
    if (found == daemon.iothreads.end()) return GenericError(absl::StrCat("iothread \"", *iothread, "\" not found"));
    wanted.context = found->second->context().shared_from_this();
  }
  if (absl::Status s = CheckExport(daemon, wanted); !s.ok()) return s;
  return daemon.nbd->Add(std::move(wanted));
}

Reply BlockExportDel(Daemon& daemon, Arguments args) {
  const std::string& id = args.String("id");
  const absl::Status missing = absl::NotFoundError(absl::StrCat("Export '", id, "' is not found"));
  if (daemon.nbd == nullptr) return missing;
  const bool hard = args.String("mode") == "hard";
  const absl::Status removed = daemon.nbd->Remove(id, hard ? nbd::RemoveMode::kHard : nbd::RemoveMode::kSafe);
  if (absl::IsNotFound(removed)) return missing;
  if (!hard && absl::IsFailedPrecondition(removed)) {
    return GenericError(absl::StrCat("export '", id, "' still in use"));
  }
  return removed;
}

Reply QueryBlockExports(Daemon& daemon) {
  JsonArray list;
  if (daemon.nbd == nullptr) return list;
  for (const nbd::ExportInfo& exported : daemon.nbd->Exports()) {
    list.push_back(JsonObject{
        {"id", exported.id}, {"type", "nbd"}, {"node-name", exported.node}, {"shutting-down", exported.removing}});
  }
  return list;
}

}  // namespace

void AddExportCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add("nbd-server-start", "lets clients connect, by the NBD protocol", kStart,
            [&daemon](Arguments args) { return NbdServerStart(daemon, args); });
  table.Add({.name = "nbd-server-stop",
             .help = "ends all exports and their connections",
             .handler = [&daemon](Arguments) { return NbdServerStop(daemon); }});
  table.Add("block-export-add", "lets clients use a node", kAdd,
            [&daemon](Arguments args) { return BlockExportAdd(daemon, args); });
  table.Add("block-export-del", "ends an export", kDel,
            [&daemon](Arguments args) { return BlockExportDel(daemon, args); });
  table.Add("query-block-exports", "all exports", jobcore::qmp::kNoArguments,
            [&daemon](Arguments) { return QueryBlockExports(daemon); });
}

}  // namespace jobcored
