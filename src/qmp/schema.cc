// SPDX-License-Identifier: Apache-2.0

#include "qmp/schema.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "aio/check.h"
#include "block/file_error.h"

namespace jobcore::inline JOBCORE_ABI::qmp {
namespace {

using internal::ToAbsl;
using Kind = Type::Kind;

// Where a value is: the errors of the reference name members by their whole path, values that an enum lacks by the
// member alone.
struct Place {
  std::string path;
  std::string_view name;
};

Error WrongType(const Place& place, std::string_view expected) {
  return GenericError(absl::StrCat("Invalid parameter type for '", place.path, "', expected: ", ToAbsl(expected)));
}

std::optional<Error> CheckValue(const Type& type, JsonValue& value, const Place& place);

// Names and files: what is longer than any of them, or would end before its end elsewhere, is none.
std::optional<Error> CheckText(const std::string& text, const Place& place) {
  constexpr size_t kLongest = 16384;  // bytes
  if (text.size() > kLongest) {
    return GenericError(absl::StrCat("Parameter '", place.path, "' has more than ", kLongest, " bytes"));
  }
  if (text.find('\0') != std::string::npos) {
    return GenericError(absl::StrCat("Parameter '", place.path, "' contains a NUL character"));
  }
  return std::nullopt;
}

std::optional<Error> CheckInt(const Type& type, const JsonValue& value, const Place& place) {
  const uint64_t* const large = value.AsLargeUint();
  const int64_t* const small = value.AsInt();
  if (large == nullptr && small == nullptr) return WrongType(place, "integer");
  const bool fits = large != nullptr ? *large <= type.most
                    : *small < 0     ? type.negative && *small >= -static_cast<int64_t>(type.most) - 1
                                     : static_cast<uint64_t>(*small) <= type.most;
  if (fits) return std::nullopt;
  if (type.name == "int64" || type.name == "uint64") {
    return WrongType(place, type.negative ? "integer" : "uint64");
  }
  return GenericError(absl::StrCat("Parameter '", ToAbsl(place.name), "' expects ", ToAbsl(type.name)));
}

std::optional<Error> CheckEnum(const Type& type, const JsonValue& value, const Place& place) {
  const std::string* const text = value.AsString();
  if (text == nullptr) return WrongType(place, "string");
  if (std::find(type.values.begin(), type.values.end(), *text) != type.values.end()) return std::nullopt;
  return GenericError(absl::StrCat("Parameter '", place.name.empty() ? "null" : ToAbsl(place.name),
                                   "' does not accept value '", *text, "'"));
}

JsonValue ToJson(const Default& value) {
  return std::visit(
      [](const auto& held) -> JsonValue {
        if constexpr (std::is_same_v<decltype(held), const None&>) {
          return nullptr;
        } else {
          return held;
        }
      },
      value);
}

class ObjectCheck {
 public:
  ObjectCheck(JsonObject& object, const std::string& path) : object_(object), path_(path) {}

  std::optional<Error> Fields(const Type& type) {
    for (const Field& field : type.fields) {
      known_.push_back(field.name);
      const Place place = PlaceOf(field.name);
      if (JsonValue* const value = object_.Find(field.name)) {
        if (std::optional<Error> error = CheckValue(*field.type, *value, place)) return error;
      } else if (!field.optional) {
        return GenericError(absl::StrCat("Parameter '", place.path, "' is missing"));
      } else if (!std::holds_alternative<None>(field.otherwise)) {
        object_.Set(field.name, ToJson(field.otherwise));
      }
    }
    if (type.tag.empty()) return std::nullopt;
    const JsonValue* const tag = object_.Find(type.tag);
    for (const Variant& variant : type.variants) {
      if (tag == nullptr || variant.value != *tag->AsString()) continue;
      return variant.object != nullptr ? Fields(*variant.object) : std::nullopt;
    }
    return std::nullopt;
  }
  // The reference names the one that comes first in its hash table: any.
  std::optional<Error> Unknown() const {
    for (const auto& [name, value] : object_) {
      if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
      return GenericError(absl::StrCat("Parameter '", PlaceOf(name).path, "' is unexpected"));
    }
    return std::nullopt;
  }

 private:
  Place PlaceOf(std::string_view name) const {
    return {path_.empty() ? std::string(name) : absl::StrCat(path_, ".", ToAbsl(name)), name};
  }

  JsonObject& object_;
  const std::string& path_;
  std::vector<std::string_view> known_;
};

std::optional<Error> CheckObject(const Type& type, JsonObject& object, const std::string& path) {
  ObjectCheck check(object, path);
  if (std::optional<Error> error = check.Fields(type)) return error;
  return check.Unknown();
}

std::optional<Error> CheckList(const Type& type, JsonArray& list, const Place& place) {
  for (size_t i = 0; i < list.size(); ++i) {
    const Place element = {absl::StrCat(place.path, "[", i, "]"), {}};
    if (std::optional<Error> error = CheckValue(*type.element, list[i], element)) return error;
  }
  return std::nullopt;
}

std::optional<Error> CheckValue(const Type& type, JsonValue& value, const Place& place) {
  switch (type.kind) {
    case Kind::kString:
      if (value.AsString() == nullptr) return WrongType(place, "string");
      return CheckText(*value.AsString(), place);
    case Kind::kBool:
      if (value.AsBool() == nullptr) return WrongType(place, "boolean");
      return std::nullopt;
    case Kind::kInt:
      return CheckInt(type, value, place);
    case Kind::kEnum:
      return CheckEnum(type, value, place);
    case Kind::kObject:
      if (value.AsObject() == nullptr) return WrongType(place, "object");
      return CheckObject(type, *value.AsObject(), place.path);
    case Kind::kList:
      if (value.AsArray() == nullptr) return WrongType(place, "array");
      return CheckList(type, *value.AsArray(), place);
    case Kind::kStringOrNull:
      if (value.is_null()) return std::nullopt;
      if (value.AsString() == nullptr) return WrongType(place, "StrOrNull");
      return CheckText(*value.AsString(), place);
    case Kind::kReference:
      if (value.AsString() != nullptr) return CheckText(*value.AsString(), place);
      if (value.AsObject() == nullptr) return WrongType(place, "BlockdevRef");
      return CheckObject(*type.element, *value.AsObject(), place.path);
  }
  internal::Die("a schema type of no kind");
}

std::string DescribeValue(const Type& type) {
  switch (type.kind) {
    case Kind::kString:
      return "string";
    case Kind::kBool:
      return "boolean";
    case Kind::kInt:
      return "integer";
    case Kind::kEnum:
      return absl::StrJoin(type.values, "|", [](std::string* out, std::string_view value) { out->append(value); });
    case Kind::kObject:
      return absl::StrCat("{", Describe(type), "}");
    case Kind::kList:
      return absl::StrCat("[", DescribeValue(*type.element), "…]");
    case Kind::kStringOrNull:
      return "string or null";
    case Kind::kReference:
      return "name, or the options, of a node";
  }
  internal::Die("a schema type of no kind");
}

}  // namespace

std::optional<Error> CheckArguments(const Type& type, JsonObject& arguments) {
  return CheckObject(type, arguments, std::string());
}

std::string Describe(const Type& type) {
  std::vector<std::string> parts;
  parts.reserve(type.fields.size() + type.variants.size());
  for (const Field& field : type.fields) {
    std::string part = absl::StrCat(ToAbsl(field.name), field.optional ? "?" : "", ": ", DescribeValue(*field.type));
    if (const bool* b = std::get_if<bool>(&field.otherwise)) absl::StrAppend(&part, " = ", *b ? "true" : "false");
    if (const int64_t* i = std::get_if<int64_t>(&field.otherwise)) absl::StrAppend(&part, " = ", *i);
    if (const auto* s = std::get_if<std::string_view>(&field.otherwise)) absl::StrAppend(&part, " = ", ToAbsl(*s));
    parts.push_back(std::move(part));
  }
  for (const Variant& variant : type.variants) {
    if (variant.object == nullptr) continue;
    parts.push_back(
        absl::StrCat("if ", ToAbsl(type.tag), " is ", ToAbsl(variant.value), ": ", Describe(*variant.object)));
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
