// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/remote_copy.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "block/file_error.h"

namespace jobctl {
namespace {

using jobcore::internal::Quoted;

// Those of blockdev-backup and blockdev-mirror.
qmp::JsonObject ArgumentsOf(const RemoteCopy& copy, const std::string& source, const std::string& target) {
  qmp::JsonObject arguments = {{"job-id", target}, {"device", source}, {"target", target}, {"sync", "full"}};
  if (copy.bytes_per_second > 0) arguments.Set("speed", copy.bytes_per_second);
  if (copy.write_blocking) arguments.Set("copy-mode", "write-blocking");
  if (!copy.finalize) arguments.Set("auto-finalize", false);
  if (copy.keep) arguments.Set("auto-dismiss", false);
  return arguments;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> StartCopies(QmpClient& client, const RemoteCopy& copy) {
  if (copy.nodes.size() % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("source ", Quoted(copy.nodes.back()), " has no target"));
  }
  const std::string command = copy.mirror ? "blockdev-mirror" : "blockdev-backup";
  std::vector<std::string> ids;
  qmp::JsonArray actions;
  for (size_t i = 0; i < copy.nodes.size(); i += 2) {
    const std::string& target = ids.emplace_back(copy.nodes[i + 1]);
    qmp::JsonObject arguments = ArgumentsOf(copy, copy.nodes[i], target);
    if (copy.group) {
      actions.push_back(qmp::JsonObject{{"type", command}, {"data", std::move(arguments)}});
    } else if (absl::Status s = client.Execute(command, std::move(arguments)).status(); !s.ok()) {
      return s;
    }
  }
  if (!copy.group) return ids;
  absl::Status started = client
                             .Execute("transaction", {{"actions", std::move(actions)},
                                                      {"properties", qmp::JsonObject{{"completion-mode", "grouped"}}}})
                             .status();
  if (!started.ok()) return started;
  return ids;
}

}  // namespace jobctl
