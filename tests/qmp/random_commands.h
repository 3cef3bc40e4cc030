// SPDX-License-Identifier: Apache-2.0
//
// RandomCommands: what a monitor understands, and what it nearly does, made by chance from its own table. Names come
// from a few, so that commands meet each other's nodes and jobs; amounts are such that nothing lasts; no file is
// touched, and the daemon is not ended.

#ifndef JOBCORE_TESTS_QMP_RANDOM_COMMANDS_H_
#define JOBCORE_TESTS_QMP_RANDOM_COMMANDS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "qmp/command_table.h"
#include "qmp/json_value.h"
#include "qmp/schema.h"

namespace jobcore_test {

class RandomCommands {
 public:
  // A number below `n`; n > 0.
  using Choose = std::function<uint32_t(uint32_t n)>;

  RandomCommands(const jobcore::qmp::CommandTable& table, Choose choose)
      : commands_(table.All()), choose_(std::move(choose)) {
    std::erase_if(commands_, [](const jobcore::qmp::Command* c) {
      return c->name == "quit" || c->name == jobcore::qmp::CommandTable::kNegotiation;
    });
  }

  jobcore::qmp::JsonObject Next() {
    const jobcore::qmp::Command& command = *Pick(std::span(commands_));
    return {{"execute", command.name}, {"arguments", Object(*command.arguments, command.name)}};
  }

 private:
  using JsonValue = jobcore::qmp::JsonValue;
  using JsonObject = jobcore::qmp::JsonObject;
  using JsonArray = jobcore::qmp::JsonArray;
  using Type = jobcore::qmp::Type;

  bool OneIn(uint32_t n) { return choose_(n) == n - 1; }  // not where all choices are 0
  template <typename T>
  const T& Pick(std::span<const T> from) {
    return from[choose_(static_cast<uint32_t>(from.size()))];
  }
  template <typename T>
  const T& Pick(std::span<T> from) {
    return Pick(std::span<const T>(from));
  }
  std::string Name(std::string_view prefix, uint32_t n) { return absl::StrCat(std::string(prefix), choose_(n)); }

  JsonObject Object(const Type& type, std::string_view command) {
    JsonObject object;
    AddFields(type, command, object);
    for (const jobcore::qmp::Variant& variant : type.variants) {
      const JsonValue* const tag = object.Find(type.tag);
      if (tag == nullptr || *tag != JsonValue(variant.value) || variant.object == nullptr) continue;
      AddFields(*variant.object, command, object);
      break;
    }
    if (OneIn(40)) object.Set("surplus", 1);
    return object;
  }

  void AddFields(const Type& type, std::string_view command, JsonObject& object) {
    for (const jobcore::qmp::Field& field : type.fields) {
      if (field.optional ? !OneIn(3) && field.name != "node-name" && field.name != "job-id" : OneIn(40)) continue;
      object.Set(field.name, OneIn(40) ? Wrong() : Value(*field.type, field.name, command));
    }
  }

  JsonValue Wrong() {
    switch (choose_(6)) {
      case 0:
        return nullptr;
      case 1:
        return -1;
      case 2:
        return 1.5;
      case 3:
        return std::string(choose_(3000), 'x');
      case 4:
        return JsonArray({JsonArray(), JsonObject()});
      default:
        return UINT64_MAX;
    }
  }

  JsonValue Value(const Type& type, std::string_view field, std::string_view command) {
    using Kind = Type::Kind;
    switch (type.kind) {
      case Kind::kString:
        return Text(field, command);
      case Kind::kStringOrNull:
        return OneIn(2) ? JsonValue(nullptr) : Text(field, command);
      case Kind::kBool:
        return choose_(2) == 1;
      case Kind::kInt:
        return Number(field);
      case Kind::kEnum:
        if (field == "driver" && !OneIn(4)) return "null-co";  // what can be had without files
        return Pick(type.values);
      case Kind::kObject:
        return Object(type, command);
      case Kind::kList: {
        JsonArray list;
        for (uint32_t n = choose_(3); n > 0; --n) list.push_back(Value(*type.element, field, command));
        return list;
      }
      case Kind::kReference:
        return OneIn(2) ? Object(*type.element, command) : Text("node-name", command);
    }
    return nullptr;
  }

  JsonValue Text(std::string_view field, std::string_view command) {
    const bool of_job = command.starts_with("block-job") || command.starts_with("job-") || command.starts_with("x-job");
    if (field == "filename" || field == "path") return "/nonexistent/file";
    if (field == "host") return "127.0.0.1";
    if (field == "port") return "0";
    if (field == "iothread" || (field == "id" && command.starts_with("object"))) return Name("thread", 2);
    if (field == "job-id" || of_job || (field == "id" && command.starts_with("x-query"))) return Name("job", 6);
    if (field == "id") return Name("export", 2);
    if (field == "reason") return Name("reason", 3);
    if (field == "name" || field == "bitmap") return Name("name", 2);
    return Name("node", 8);
  }

  JsonValue Number(std::string_view field) {
    if (field == "size") return 1 << 20;
    if (field == "speed") return Pick(std::span<const int>(kSpeeds));
    if (field == "latency-ns") return choose_(1'000'000);
    if (field == "group" || field == "from" || field == "limit") return choose_(200);
    if (field == "granularity") return 65536;
    if (field == "poll-max-ns") return 0;
    return choose_(100);
  }
  static constexpr int kSpeeds[] = {0, 1, 65536, 1 << 20};

  std::vector<const jobcore::qmp::Command*> commands_;
  Choose choose_;
};

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_QMP_RANDOM_COMMANDS_H_
