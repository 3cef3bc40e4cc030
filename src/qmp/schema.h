// SPDX-License-Identifier: Apache-2.0
//
// What arguments look like: types as constant tables, from which arguments are checked and documented.
//
//   inline constexpr Field kJobPauseFields[] = {{.name = "id", .type = &kString, .help = "the job"}};
//   inline constexpr Type kJobPause = ObjectOf(kJobPauseFields);
//
// The texts of errors are the reference's, and so is the order in which they are found: members in the order of the
// table, then those that the table does not know.

#ifndef JOBCORE_QMP_SCHEMA_H_
#define JOBCORE_QMP_SCHEMA_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "job-common/fwd.h"
#include "qmp/error.h"
#include "qmp/json_value.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

struct Field;
struct Variant;

struct Type {
  enum class Kind : unsigned char {
    kString,
    kBool,
    kInt,           // from `least` to `most`
    kEnum,          // one of `values`
    kObject,        // `fields`, and those of the variant that the member `tag` chooses, if there is such
    kList,          // of `element`
    kStringOrNull,  //
    kReference,     // a string, or `element`
  };

  Kind kind = Kind::kString;
  std::string_view name = {};  // of an integer type, for errors
  uint64_t most = std::numeric_limits<uint64_t>::max();
  bool negative = false;                          // kInt: from INT64_MIN on
  std::span<const std::string_view> values = {};  // kEnum
  std::span<const Field> fields = {};             // kObject
  std::string_view tag = {};                      // kObject: the name of a field, an enum
  std::span<const Variant> variants = {};         // kObject
  const Type* element = nullptr;                  // kList, kReference
};

// A member that may be missing has a default, or none: then whoever reads it sees that.
struct None {};
using Default = std::variant<None, bool, int64_t, std::string_view>;

struct Field {
  std::string_view name;
  const Type* type;
  bool optional = false;
  Default otherwise = None{};  // optional: what it is if it is not there
  std::string_view help = {};
};

struct Variant {
  std::string_view value;  // of the tag
  const Type* object;      // whose fields are members of the same object; null: none
};

inline constexpr Type kString = {.kind = Type::Kind::kString};
inline constexpr Type kBool = {.kind = Type::Kind::kBool};
inline constexpr Type kInt = {.kind = Type::Kind::kInt, .name = "int64", .most = INT64_MAX, .negative = true};
inline constexpr Type kInt32 = {.kind = Type::Kind::kInt, .name = "int32_t", .most = INT32_MAX, .negative = true};
inline constexpr Type kUint32 = {.kind = Type::Kind::kInt, .name = "uint32_t", .most = UINT32_MAX};
inline constexpr Type kUint64 = {.kind = Type::Kind::kInt, .name = "uint64"};
inline constexpr Type kStringOrNull = {.kind = Type::Kind::kStringOrNull};

constexpr Type EnumOf(std::span<const std::string_view> values) {
  return {.kind = Type::Kind::kEnum, .values = values};
}
constexpr Type ObjectOf(std::span<const Field> fields) { return {.kind = Type::Kind::kObject, .fields = fields}; }
constexpr Type UnionOf(std::span<const Field> fields, std::string_view tag, std::span<const Variant> variants) {
  return {.kind = Type::Kind::kObject, .fields = fields, .tag = tag, .variants = variants};
}
constexpr Type ListOf(const Type& element) { return {.kind = Type::Kind::kList, .element = &element}; }
constexpr Type ReferenceTo(const Type& object) { return {.kind = Type::Kind::kReference, .element = &object}; }

inline constexpr Type kNoArguments = ObjectOf({});

// Whether `arguments` are of `type`, an object; defaults are added where they are missing.
std::optional<Error> CheckArguments(const Type& type, JsonObject& arguments);

// "id: string, force: boolean = false": for people.
std::string Describe(const Type& type);

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_SCHEMA_H_
