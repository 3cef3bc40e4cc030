// SPDX-License-Identifier: Apache-2.0

#include "qmp/request.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace jobcore::inline JOBCORE_ABI::qmp {
namespace {

// What is wrong with the member, if anything.
std::optional<Error> TakeMember(const std::string& name, JsonValue& value, bool oob, Request& request) {
  if (name == "execute" || (name == "exec-oob" && oob)) {
    const std::string* const command = value.AsString();
    if (command == nullptr) return GenericError(absl::StrCat("QMP input member '", name, "' must be a string"));
    if (!request.command.empty()) {
      return GenericError("QMP input member 'exec-oob' clashes with 'execute'");
    }
    request.command = *command;
    request.oob = name == "exec-oob";
  } else if (name == "arguments") {
    JsonObject* const arguments = value.AsObject();
    if (arguments == nullptr) return GenericError("QMP input member 'arguments' must be an object");
    request.arguments = std::move(*arguments);
  } else if (name != "id") {
    return GenericError(absl::StrCat("QMP input member '", name, "' is unexpected"));
  }
  return std::nullopt;
}

}  // namespace

Request ParseRequest(JsonValue value, bool oob) {
  Request request;
  JsonObject* const members = value.AsObject();
  if (members == nullptr) {
    request.error = GenericError("QMP input must be a JSON object");
    return request;
  }
  if (const JsonValue* const id = members->Find("id")) request.id = *id;
  bool has_command = false;
  for (auto& [name, member] : *members) {
    has_command = has_command || name == "execute" || name == "exec-oob";
    request.error = TakeMember(name, member, oob, request);
    if (request.error.has_value()) return request;
  }
  if (!has_command) request.error = GenericError("QMP input lacks member 'execute'");
  return request;
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
