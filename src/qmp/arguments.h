// SPDX-License-Identifier: Apache-2.0
//
// Arguments: what a handler reads its arguments from, once they have been checked against the schema. Asking for what
// the schema does not promise is a broken invariant, and aborts.

#ifndef JOBCORE_QMP_ARGUMENTS_H_
#define JOBCORE_QMP_ARGUMENTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "job-common/fwd.h"
#include "qmp/json_value.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

// A view: of a request that lives until it has been answered.
class Arguments {
 public:
  explicit Arguments(const JsonObject& object) : object_(&object) {}

  bool Has(std::string_view name) const { return object_->Find(name) != nullptr; }
  const JsonValue& Value(std::string_view name) const;  // it is there

  // Required ones, and those with a default.
  const std::string& String(std::string_view name) const;
  bool Bool(std::string_view name) const;
  int64_t Int(std::string_view name) const;  // INT64_MAX if it is more
  Arguments Object(std::string_view name) const;
  const JsonArray& List(std::string_view name) const;

  // Those that may be missing.
  std::optional<std::string> OptionalString(std::string_view name) const;
  std::optional<int64_t> OptionalInt(std::string_view name) const;

 private:
  const JsonObject* object_;
};

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_ARGUMENTS_H_
