// SPDX-License-Identifier: Apache-2.0
//
// Boxed: a std::optional that takes one pointer where there is nothing: for what is rarely there.

#ifndef JOBCORE_JOB_COMMON_BOXED_H_
#define JOBCORE_JOB_COMMON_BOXED_H_

#include <memory>
#include <optional>
#include <utility>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

template <typename T>
class Boxed {
 public:
  Boxed() = default;
  // Both ways implicit, as with std::optional.
  Boxed(T value) : value_(std::make_unique<T>(std::move(value))) {}  // NOLINT(google-explicit-constructor)
  Boxed(const Boxed& other) : value_(other.has_value() ? std::make_unique<T>(*other) : nullptr) {}
  Boxed(Boxed&&) noexcept = default;
  Boxed& operator=(const Boxed& other) {
    if (has_value() || other.has_value()) *this = Boxed(other);
    return *this;
  }
  Boxed& operator=(Boxed&&) noexcept = default;

  bool has_value() const { return value_ != nullptr; }
  explicit operator bool() const { return has_value(); }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return value_.get(); }
  const T* operator->() const { return value_.get(); }
  void reset() { value_.reset(); }
  operator std::optional<T>() const {  // NOLINT(google-explicit-constructor)
    return has_value() ? std::optional<T>(*value_) : std::nullopt;
  }

  friend bool operator==(const Boxed& a, const Boxed& b) {
    return a.has_value() == b.has_value() && (!a.has_value() || *a == *b);
  }

 private:
  std::unique_ptr<T> value_;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_BOXED_H_
