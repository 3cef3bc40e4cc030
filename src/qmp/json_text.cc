// SPDX-License-Identifier: Apache-2.0

#include "qmp/json_text.h"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace jobcore::inline JOBCORE_ABI::qmp {
namespace {

using Library = nlohmann::ordered_json;

// Builds the value from the library's parser, because that keeps the last of two members of one name in silence.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t&) override { return Add(value); }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t&) override { return Fail("expecting value"); }
  bool start_object(size_t) override { return Begin(JsonObject()); }
  bool start_array(size_t) override { return Begin(JsonArray()); }
  bool end_object() override { return End(); }
  bool end_array() override { return End(); }
  bool key(string_t& name) override {
    Level& level = open_.back();
    if (!level.names.insert(name).second) return Fail("duplicate key");
    level.name = std::move(name);
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    constexpr int kOutOfRange = 406;
    return Fail(error.id == kOutOfRange ? "number out of range" : "expecting value");
  }

  absl::StatusOr<JsonValue> Take() && {
    if (!error_.empty()) return absl::InvalidArgumentError(absl::StrCat("JSON parse error, ", error_));
    return std::move(result_);
  }

 private:
  struct Level {
    JsonValue value;                              // an object or an array
    std::string name;                             // of the member that comes next
    absl::flat_hash_set<std::string> names = {};  // so far: others decide how many there are
  };

  bool Add(JsonValue value) {
    if (open_.empty()) {
      result_ = std::move(value);
    } else if (JsonArray* const array = open_.back().value.AsArray()) {
      array->push_back(std::move(value));
    } else {
      open_.back().value.AsObject()->Append(std::move(open_.back().name), std::move(value));
    }
    return true;
  }
  bool Begin(JsonValue value) {
    open_.push_back({.value = std::move(value), .name = {}});
    return true;
  }
  bool End() {
    JsonValue value = std::move(open_.back().value);
    open_.pop_back();
    return Add(std::move(value));
  }
  bool Fail(const char* text) {
    if (error_.empty()) error_ = text;
    return false;
  }

  std::vector<Level> open_;
  JsonValue result_;
  std::string error_;
};

Library ToLibrary(const JsonValue& value) {
  return std::visit(
      [](const auto& held) -> Library {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, JsonArray>) {
          Library array = Library::array();
          for (const JsonValue& element : held) array.push_back(ToLibrary(element));
          return array;
        } else if constexpr (std::is_same_v<T, JsonObject>) {
          Library object = Library::object();
          for (const auto& [name, member] : held) object.emplace(name, ToLibrary(member));
          return object;
        } else {
          return Library(held);
        }
      },
      value.variant());
}

}  // namespace

absl::StatusOr<JsonValue> ParseJson(std::string_view text) {
  Builder builder;
  nlohmann::json::sax_parse(text, &builder);
  return std::move(builder).Take();
}

std::string WriteJson(const JsonValue& value) {
  return ToLibrary(value).dump(-1, ' ', /*ensure_ascii=*/true, Library::error_handler_t::replace);
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
