// SPDX-License-Identifier: Apache-2.0

#include "qmp/command_table.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "block/file_error.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

namespace {

constexpr std::array<std::string_view, 1> kCapabilities = {"oob"};
constexpr Type kCapability = EnumOf(kCapabilities);
constexpr Type kCapabilityList = ListOf(kCapability);
constexpr Field kNegotiationFields[] = {{.name = "enable", .type = &kCapabilityList, .optional = true}};
constexpr Type kNegotiationArguments = ObjectOf(kNegotiationFields);

}  // namespace

std::span<const std::string_view> CommandTable::Capabilities() { return kCapabilities; }

CommandTable::CommandTable() {
  Add(kNegotiation, "ends the negotiation, in which it is the only command", kNegotiationArguments, [](Arguments) {
    return Error{ErrorClass::kCommandNotFound, "Capabilities negotiation is already complete, command ignored"};
  });
  Add("query-commands", "the names of all commands", kNoArguments, [this](Arguments) {
    JsonArray names;
    names.reserve(commands_.size());
    for (const auto& [name, command] : commands_) names.push_back(JsonObject{{"name", name}});
    return names;
  });
}

void CommandTable::Add(Command command) {
  const std::string_view name = command.name;
  if (!commands_.emplace(name, std::move(command)).second) {
    internal::Die(absl::StrCat("two commands are called '", internal::ToAbsl(name), "'"));
  }
}

const Command* CommandTable::Find(std::string_view name) const {
  const auto found = commands_.find(name);
  return found == commands_.end() ? nullptr : &found->second;
}

std::vector<const Command*> CommandTable::All() const {
  std::vector<const Command*> all;
  all.reserve(commands_.size());
  for (const auto& [name, command] : commands_) all.push_back(&command);
  return all;
}

std::string CommandTable::Documentation() const {
  std::string text;
  for (const auto& [name, command] : commands_) {
    absl::StrAppend(&text, "* `", internal::ToAbsl(name), "` (", Describe(*command.arguments),
                    "): ", internal::ToAbsl(command.help), "\n");
  }
  return text;
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
