// SPDX-License-Identifier: Apache-2.0

#include "job-testing/choices.h"

#include <charconv>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "testing/choices_mirror.h"
#include "testing/tsan.h"

namespace jobcore::inline JOBCORE_ABI::testing {

Choices::Choices(uint64_t seed) : state_(seed) {}

Choices Choices::Replay(std::vector<uint32_t> record) {
  Choices choices;
  choices.source_ = Source::kRecord;
  choices.replay_ = std::move(record);
  return choices;
}

Choices Choices::FromBytes(std::span<const uint8_t> bytes) {
  Choices choices;
  choices.source_ = Source::kBytes;
  choices.replay_.reserve(bytes.size() / 2 + 1);
  for (size_t i = 0; i < bytes.size(); i += 2) {
    choices.replay_.push_back(bytes[i] | (i + 1 < bytes.size() ? bytes[i + 1] << 8 : 0));
  }
  return choices;
}

uint32_t Choices::Below(uint32_t n) {
  const internal::HiddenFromTsan hidden;
  uint32_t value;
  if (source_ == Source::kSeed) {
    // splitmix64 (Steele, Lea and Flood, OOPSLA 2014): any seed will do, neighbours too.
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    value = static_cast<uint32_t>(((z ^ (z >> 31)) >> 32) * n >> 32);
  } else {
    const size_t next = record_.size();
    value = next < replay_.size() ? replay_[next] % n : 0;
  }
  Record(value);
  return value;
}

void Choices::Record(uint32_t value) {
  if (mirror_ != nullptr) mirror_->Append(value);
  record_.push_back(value);
}

std::string FormatChoices(const std::vector<uint32_t>& record) {
  std::string text;
  for (size_t i = 0; i < record.size();) {
    size_t end = i + 1;
    while (end < record.size() && record[end] == record[i]) ++end;
    absl::StrAppend(&text, text.empty() ? "" : ",", record[i]);
    if (end - i > 1) absl::StrAppend(&text, "x", end - i);
    i = end;
  }
  return text;
}

absl::StatusOr<std::vector<uint32_t>> ParseChoices(std::string_view text) {
  constexpr uint64_t kMost = 100'000'000;  // a list that long is a slip of the pen
  std::vector<uint32_t> record;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    uint32_t value = 0;
    uint64_t times = 1;
    auto parsed = std::from_chars(at, end, value);
    if (parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == 'x') {
      parsed = std::from_chars(parsed.ptr + 1, end, times);
    }
    const bool ends_well = parsed.ptr == end || (*parsed.ptr == ',' && parsed.ptr + 1 != end);
    if (parsed.ec != std::errc() || !ends_well || times > kMost - record.size()) {
      return absl::InvalidArgumentError(absl::StrCat("choices, at character ", at - text.data(),
                                                     ": expected NUMBER or NUMBERxTIMES, separated by commas"));
    }
    record.insert(record.end(), times, value);
    at = parsed.ptr == end ? end : parsed.ptr + 1;
  }
  return record;
}

}  // namespace jobcore::inline JOBCORE_ABI::testing
