// SPDX-License-Identifier: Apache-2.0
//
// JsonValue: what JSON texts say, as values. Reading and writing the texts is json_text.h's business.

#ifndef JOBCORE_QMP_JSON_VALUE_H_
#define JOBCORE_QMP_JSON_VALUE_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

class JsonValue;
struct JsonMember;

using JsonArray = std::vector<JsonValue>;

// Members in the order in which they were set; names are unique. Objects of a protocol are small: looking for a name
// looks at all of them.
class JsonObject {
 public:
  using Member = JsonMember;

  JsonObject();
  JsonObject(const JsonObject&);
  JsonObject(JsonObject&&) noexcept;
  JsonObject& operator=(const JsonObject&);
  JsonObject& operator=(JsonObject&&) noexcept;
  ~JsonObject();
  JsonObject(std::initializer_list<Member> members);

  bool empty() const;
  size_t size() const;
  std::vector<Member>::const_iterator begin() const;
  std::vector<Member>::const_iterator end() const;
  std::vector<Member>::iterator begin();
  std::vector<Member>::iterator end();

  // Null: there is none of that name.
  const JsonValue* Find(std::string_view name) const;
  JsonValue* Find(std::string_view name);
  // In place of a member of that name, if there is one.
  JsonValue& Set(std::string_view name, JsonValue value);
  // There is none of that name.
  JsonValue& Append(std::string name, JsonValue value);

  friend bool operator==(const JsonObject& a, const JsonObject& b);

 private:
  std::vector<Member> members_;
};

// Integers up to INT64_MAX are always int64_t, so that each number has one form.
class JsonValue {
 public:
  using Variant = std::variant<std::nullptr_t, bool, int64_t, uint64_t, double, std::string, JsonArray, JsonObject>;

  // From what it can hold, so that objects can be written down: JsonObject{{"id", id}, {"status", "running"}}.
  JsonValue() = default;
  JsonValue(std::nullptr_t) {}                                       // NOLINT
  JsonValue(bool value) : value_(value) {}                           // NOLINT
  JsonValue(double value) : value_(value) {}                         // NOLINT
  JsonValue(std::string value) : value_(std::move(value)) {}         // NOLINT
  JsonValue(std::string_view value) : value_(std::string(value)) {}  // NOLINT
  JsonValue(const char* value) : value_(std::string(value)) {}       // NOLINT
  JsonValue(JsonArray value) : value_(std::move(value)) {}           // NOLINT
  JsonValue(JsonObject value) : value_(std::move(value)) {}          // NOLINT
  template <std::integral T>
  JsonValue(T value) : value_(Integer(value)) {}  // NOLINT

  const Variant& variant() const { return value_; }
  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }

  // Null: it is of another type.
  const bool* AsBool() const { return std::get_if<bool>(&value_); }
  const int64_t* AsInt() const { return std::get_if<int64_t>(&value_); }
  const uint64_t* AsLargeUint() const { return std::get_if<uint64_t>(&value_); }  // beyond INT64_MAX
  const std::string* AsString() const { return std::get_if<std::string>(&value_); }
  const JsonArray* AsArray() const { return std::get_if<JsonArray>(&value_); }
  JsonArray* AsArray() { return std::get_if<JsonArray>(&value_); }
  const JsonObject* AsObject() const { return std::get_if<JsonObject>(&value_); }
  JsonObject* AsObject() { return std::get_if<JsonObject>(&value_); }

  friend bool operator==(const JsonValue& a, const JsonValue& b) { return a.value_ == b.value_; }

 private:
  template <std::integral T>
  static Variant Integer(T value) {
    if (std::unsigned_integral<T> && static_cast<uint64_t>(value) > uint64_t{std::numeric_limits<int64_t>::max()}) {
      return static_cast<uint64_t>(value);
    }
    return static_cast<int64_t>(value);
  }

  Variant value_ = nullptr;
};

struct JsonMember {
  std::string name;
  JsonValue value;

  friend bool operator==(const JsonMember&, const JsonMember&) = default;
};

// Here, where a member is complete.
inline JsonObject::JsonObject() = default;
inline JsonObject::JsonObject(const JsonObject&) = default;
inline JsonObject::JsonObject(JsonObject&&) noexcept = default;
inline JsonObject& JsonObject::operator=(const JsonObject&) = default;
inline JsonObject& JsonObject::operator=(JsonObject&&) noexcept = default;
inline JsonObject::~JsonObject() = default;
inline bool JsonObject::empty() const { return members_.empty(); }
inline size_t JsonObject::size() const { return members_.size(); }
inline auto JsonObject::begin() const -> std::vector<Member>::const_iterator { return members_.begin(); }
inline auto JsonObject::end() const -> std::vector<Member>::const_iterator { return members_.end(); }
inline auto JsonObject::begin() -> std::vector<Member>::iterator { return members_.begin(); }
inline auto JsonObject::end() -> std::vector<Member>::iterator { return members_.end(); }
inline bool operator==(const JsonObject& a, const JsonObject& b) { return a.members_ == b.members_; }

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_JSON_VALUE_H_
