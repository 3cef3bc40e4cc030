// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "job-monitor/action_transaction.h"
#include "tools/jobcored/commands.h"
#include "tools/jobcored/daemon.h"
#include "tools/jobcored/wire_actions.h"

namespace jobcored {
namespace {

namespace monitor = jobcore::monitor;
using jobcore::Co;
using jobcore::qmp::Arguments;
using jobcore::qmp::Field;
using jobcore::qmp::JsonValue;
using jobcore::qmp::Reply;
using jobcore::qmp::Type;
using jobcore::qmp::Variant;

// The schema of an action: its type, and its data. Built when the command is added, and kept as long as the program
// runs.
const Type& ActionList() {
  static const auto* const list = [] {
    struct Schema {
      std::vector<std::string_view> names;
      std::vector<std::array<Field, 1>> fields;
      std::vector<Type> objects;
      std::vector<Variant> variants;
      Type enumeration;
      std::array<Field, 1> common;
      Type action;
      Type list;
    };
    auto* const schema = new Schema();
    const size_t n = WireActions().size();
    schema->names.reserve(n);
    schema->fields.reserve(n);
    schema->objects.reserve(n);
    schema->variants.reserve(n);
    for (const WireAction& action : WireActions()) {
      schema->names.push_back(action.type);
      schema->fields.push_back({Field{.name = "data", .type = action.data}});
      schema->objects.push_back(jobcore::qmp::ObjectOf(schema->fields.back()));
      schema->variants.push_back({.value = action.type, .object = &schema->objects.back()});
    }
    schema->enumeration = jobcore::qmp::EnumOf(schema->names);
    schema->common = {Field{.name = "type", .type = &schema->enumeration}};
    schema->action = jobcore::qmp::UnionOf(schema->common, "type", schema->variants);
    schema->list = jobcore::qmp::ListOf(schema->action);
    return &schema->list;
  }();
  return *list;
}

constexpr std::array<std::string_view, 2> kModes = {"individual", "grouped"};
constexpr Type kMode = jobcore::qmp::EnumOf(kModes);
constexpr Field kPropertiesFields[] = {
    {.name = "completion-mode", .type = &kMode, .optional = true, .otherwise = "individual"}};
constexpr Type kProperties = jobcore::qmp::ObjectOf(kPropertiesFields);

const Type& TransactionArguments() {
  static const std::array<Field, 2> fields = {{
      {.name = "actions", .type = &ActionList()},
      {.name = "properties", .type = &kProperties, .optional = true},
  }};
  static const Type type = jobcore::qmp::ObjectOf(fields);
  return type;
}

const WireAction& FindAction(std::string_view type) {
  const auto actions = WireActions();  // the schema knows no others
  return *std::find_if(actions.begin(), actions.end(), [&](const WireAction& action) { return action.type == type; });
}

Co<Reply> Transaction(Daemon& daemon, Arguments args) {
  const bool grouped = args.Has("properties") && args.Object("properties").String("completion-mode") == "grouped";
  monitor::ActionTransaction transaction(
      daemon.core, {.completion = grouped ? monitor::CompletionMode::kGrouped : monitor::CompletionMode::kIndividual});
  for (const JsonValue& value : args.List("actions")) {
    const Arguments arguments(*value.AsObject());
    const WireAction& action = FindAction(arguments.String("type"));
    if (grouped && !action.groups) {
      co_return absl::InvalidArgumentError(absl::StrCat(
          "Action '", std::string(action.type), "' does not support Transaction property completion-mode = grouped"));
    }
    transaction.Add(MakeAction(daemon, action, arguments.Object("data")));
  }
  const absl::Status status = co_await monitor::ActionTransaction::Run(std::move(transaction));
  co_return status;
}

Co<Reply> SingleAction(Daemon& daemon, const WireAction& action, Arguments args) {
  monitor::ActionTransaction transaction(daemon.core, {.name = std::string(action.type)});
  transaction.Add(MakeAction(daemon, action, args));
  const absl::Status status = co_await monitor::ActionTransaction::Run(std::move(transaction));
  co_return status;
}

}  // namespace

void AddTransactionCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add({.name = "transaction",
             .help = "several actions at one moment, or none of them",
             .arguments = &TransactionArguments(),
             .handler = [&daemon](Arguments args) { return Transaction(daemon, args); }});
  for (const WireAction& action : WireActions()) {
    if (action.help.empty()) continue;
    table.Add({.name = action.type,
               .help = action.help,
               .arguments = action.data,
               .handler = [&daemon, &action](Arguments args) { return SingleAction(daemon, action, args); }});
  }
}

}  // namespace jobcored
