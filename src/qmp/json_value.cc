// SPDX-License-Identifier: Apache-2.0

#include "qmp/json_value.h"

#include <algorithm>

namespace jobcore::inline JOBCORE_ABI::qmp {

JsonObject::JsonObject(std::initializer_list<Member> members) {
  members_.reserve(members.size());
  for (const Member& member : members) Set(member.name, member.value);
}

const JsonValue* JsonObject::Find(std::string_view name) const {
  const auto found = std::find_if(members_.begin(), members_.end(), [&](const Member& m) { return m.name == name; });
  return found == members_.end() ? nullptr : &found->value;
}

JsonValue* JsonObject::Find(std::string_view name) { return const_cast<JsonValue*>(std::as_const(*this).Find(name)); }

JsonValue& JsonObject::Set(std::string_view name, JsonValue value) {
  if (JsonValue* const there = Find(name)) {
    *there = std::move(value);
    return *there;
  }
  return Append(std::string(name), std::move(value));
}

JsonValue& JsonObject::Append(std::string name, JsonValue value) {
  return members_.emplace_back(Member{std::move(name), std::move(value)}).value;
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
