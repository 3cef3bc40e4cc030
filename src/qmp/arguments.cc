// SPDX-License-Identifier: Apache-2.0

#include "qmp/arguments.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "block/file_error.h"

namespace jobcore::inline JOBCORE_ABI::qmp {
namespace {

template <typename T>
const T& Promised(const T* value, std::string_view name) {
  if (value == nullptr) {
    internal::Die(absl::StrCat("a handler reads argument '", internal::ToAbsl(name), "', which its schema lacks"));
  }
  return *value;
}

}  // namespace

const JsonValue& Arguments::Value(std::string_view name) const { return Promised(object_->Find(name), name); }

const std::string& Arguments::String(std::string_view name) const { return Promised(Value(name).AsString(), name); }

bool Arguments::Bool(std::string_view name) const { return Promised(Value(name).AsBool(), name); }

int64_t Arguments::Int(std::string_view name) const {
  const JsonValue& value = Value(name);
  if (value.AsLargeUint() != nullptr) return std::numeric_limits<int64_t>::max();
  return Promised(value.AsInt(), name);
}

Arguments Arguments::Object(std::string_view name) const { return Arguments(Promised(Value(name).AsObject(), name)); }

const JsonArray& Arguments::List(std::string_view name) const { return Promised(Value(name).AsArray(), name); }

std::optional<std::string> Arguments::OptionalString(std::string_view name) const {
  if (!Has(name)) return std::nullopt;
  return String(name);
}

std::optional<int64_t> Arguments::OptionalInt(std::string_view name) const {
  if (!Has(name)) return std::nullopt;
  return Int(name);
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
