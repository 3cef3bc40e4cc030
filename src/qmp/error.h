// SPDX-License-Identifier: Apache-2.0
//
// What a command answers: a value, or an error of the wire. The classes are the wire's: clients look at them, and show
// the texts to people.

#ifndef JOBCORE_QMP_ERROR_H_
#define JOBCORE_QMP_ERROR_H_

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "job-common/fwd.h"
#include "qmp/json_value.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

enum class ErrorClass : unsigned char { kGenericError, kCommandNotFound, kDeviceNotActive, kDeviceNotFound };
inline constexpr std::array<std::string_view, 4> kErrorClassNames = {"GenericError", "CommandNotFound",
                                                                     "DeviceNotActive", "DeviceNotFound"};

struct Error {
  ErrorClass error_class = ErrorClass::kGenericError;
  std::string text;
};

inline Error GenericError(std::string text) { return {ErrorClass::kGenericError, std::move(text)}; }

// The texts of the library begin with the wire's, and may go on, after "; ", with what would work.
inline Error FromStatus(const absl::Status& status) {
  const std::string text(status.message());
  return GenericError(text.substr(0, text.find("; ")));
}

class [[nodiscard]] Reply {
 public:
  Reply() : held_(JsonValue(JsonObject())) {}                      // {}: there is nothing to say
  Reply(JsonValue value) : held_(std::move(value)) {}              // NOLINT(google-explicit-constructor)
  Reply(JsonObject value) : held_(JsonValue(std::move(value))) {}  // NOLINT(google-explicit-constructor)
  Reply(JsonArray value) : held_(JsonValue(std::move(value))) {}   // NOLINT(google-explicit-constructor)
  Reply(Error error) : held_(std::move(error)) {}                  // NOLINT(google-explicit-constructor)
  Reply(const absl::Status& status)                                // NOLINT(google-explicit-constructor)
      : held_(status.ok() ? Held(JsonValue(JsonObject())) : Held(FromStatus(status))) {}

  // Null: it is a value.
  const Error* error() const { return std::get_if<Error>(&held_); }
  // It is not an error.
  JsonValue TakeValue() && { return std::get<JsonValue>(std::move(held_)); }

 private:
  using Held = std::variant<JsonValue, Error>;
  Held held_;
};

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_ERROR_H_
