// SPDX-License-Identifier: Apache-2.0
//
// Members of what a daemon says. Another version of it may leave them out, or mean something else by them: what is not
// there, or of another type, is empty.

#ifndef JOBCORE_TOOLS_JOBCTL_JSON_MEMBER_H_
#define JOBCORE_TOOLS_JOBCTL_JSON_MEMBER_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "qmp/json_value.h"

namespace jobctl {

inline std::string StringMember(const jobcore::qmp::JsonObject& object, std::string_view name) {
  const jobcore::qmp::JsonValue* const value = object.Find(name);
  const std::string* const text = value == nullptr ? nullptr : value->AsString();
  return text == nullptr ? "" : *text;
}

inline bool BoolMember(const jobcore::qmp::JsonObject& object, std::string_view name) {
  const jobcore::qmp::JsonValue* const value = object.Find(name);
  const bool* const held = value == nullptr ? nullptr : value->AsBool();
  return held != nullptr && *held;
}

inline std::optional<double> NumberMember(const jobcore::qmp::JsonObject& object, std::string_view name) {
  const jobcore::qmp::JsonValue* const value = object.Find(name);
  if (value == nullptr) return std::nullopt;
  if (const int64_t* const whole = value->AsInt()) return static_cast<double>(*whole);
  if (const double* const number = std::get_if<double>(&value->variant())) return *number;
  return std::nullopt;
}

// Not negative.
inline uint64_t CountMember(const jobcore::qmp::JsonObject& object, std::string_view name) {
  const jobcore::qmp::JsonValue* const value = object.Find(name);
  const int64_t* const whole = value == nullptr ? nullptr : value->AsInt();
  return whole == nullptr ? 0 : static_cast<uint64_t>(std::max<int64_t>(*whole, 0));
}

// Null: there is none.
inline const jobcore::qmp::JsonObject* ObjectMember(const jobcore::qmp::JsonObject& object, std::string_view name) {
  const jobcore::qmp::JsonValue* const value = object.Find(name);
  return value == nullptr ? nullptr : value->AsObject();
}
inline const jobcore::qmp::JsonArray* ArrayMember(const jobcore::qmp::JsonObject& object, std::string_view name) {
  const jobcore::qmp::JsonValue* const value = object.Find(name);
  return value == nullptr ? nullptr : value->AsArray();
}

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_JSON_MEMBER_H_
