// SPDX-License-Identifier: Apache-2.0

#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/daemon.h"
#include "tools/jobcored/well_formed_id.h"

namespace jobcored {
namespace {

using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::GenericError;
using jobcore::qmp::kInt;
using jobcore::qmp::kString;
using jobcore::qmp::Reply;
using jobcore::qmp::Type;

constexpr std::array<std::string_view, 1> kTypes = {"iothread"};
constexpr Type kObjectType = jobcore::qmp::EnumOf(kTypes);
constexpr Field kIOThreadFields[] = {
    {.name = "poll-max-ns", .type = &kInt, .optional = true, .otherwise = int64_t{32768}, .help = "of busy polling"},
};
constexpr Type kIOThread = jobcore::qmp::ObjectOf(kIOThreadFields);
constexpr jobcore::qmp::Variant kVariants[] = {{.value = "iothread", .object = &kIOThread}};
constexpr Field kAddFields[] = {{.name = "qom-type", .type = &kObjectType}, {.name = "id", .type = &kString}};
constexpr Type kAdd = jobcore::qmp::UnionOf(kAddFields, "qom-type", kVariants);
constexpr Field kDelFields[] = {{.name = "id", .type = &kString}};
constexpr Type kDel = jobcore::qmp::ObjectOf(kDelFields);

Reply ObjectAdd(Daemon& daemon, Arguments args) {
  const std::string& id = args.String("id");
  if (!IsWellFormedId(id)) return GenericError("Parameter 'id' expects an identifier");
  if (daemon.iothreads.contains(id)) {
    return GenericError(absl::StrCat("attempt to add duplicate property '", id, "' to object (type 'container')"));
  }
  constexpr size_t kMost = 64;  // each takes descriptors, of which clients need some, too
  if (daemon.iothreads.size() >= kMost) return GenericError(absl::StrCat("There are ", kMost, " I/O threads already"));
  const int64_t poll_max = args.Int("poll-max-ns");
  if (poll_max < 0) return GenericError("poll-max-ns value must be in range [0, 9223372036854775807]");
  jobcore::IOThread::Options options;
  options.poll_max = jobcore::Nanoseconds(poll_max);
  daemon.iothreads.emplace(id, std::make_unique<jobcore::IOThread>(id, std::move(options)));
  return {};
}

Reply ObjectDel(Daemon& daemon, Arguments args) {
  const std::string& id = args.String("id");
  const auto found = daemon.iothreads.find(id);
  if (found == daemon.iothreads.end()) return GenericError(absl::StrCat("object '", id, "' not found"));
  const jobcore::AioContext* const context = &found->second->context();
  for (const NodeRegistry::NodePtr& node : daemon.nodes.All()) {
    if (node->context().get() == context) {
      return GenericError(absl::StrCat("object '", id, "' is in use, can not be deleted"));
    }
  }
  if (!found->second->Stop().ok()) {
    return GenericError(absl::StrCat("object '", id, "' is in use, can not be deleted"));
  }
  daemon.iothreads.erase(found);
  return {};
}

}  // namespace

void AddIOThreadCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add("object-add", "starts an I/O thread", kAdd, [&daemon](Arguments args) { return ObjectAdd(daemon, args); });
  table.Add("object-del", "ends an I/O thread that nobody uses", kDel,
            [&daemon](Arguments args) { return ObjectDel(daemon, args); });
}

}  // namespace jobcored
