// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/job_id.h"

#include <charconv>

#include "absl/strings/str_cat.h"

namespace jobcore::inline JOBCORE_ABI::gate {
namespace {

constexpr size_t kDigits = 16;

std::optional<uint64_t> ParseHalf(std::string_view digits) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string ToString(const JobId& id) {
  return absl::StrCat(absl::Hex(id.instance, absl::kZeroPad16), absl::Hex(id.number, absl::kZeroPad16));
}

std::optional<JobId> ParseJobId(std::string_view text) {
  if (text.size() != 2 * kDigits) return std::nullopt;
  const std::optional<uint64_t> instance = ParseHalf(text.substr(0, kDigits));
  const std::optional<uint64_t> number = ParseHalf(text.substr(kDigits));
  if (!instance.has_value() || !number.has_value()) return std::nullopt;
  return JobId{*instance, *number};
}

}  // namespace jobcore::inline JOBCORE_ABI::gate
