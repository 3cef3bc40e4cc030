// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/format.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

namespace jobctl {
namespace {

template <typename... Args>
std::string Print(const char* format, Args... args) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, args...);
  return buffer.data();
}

// The length of the UTF-8 sequence at the beginning of `text`; 0: there is none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) -> uint32_t { return static_cast<unsigned char>(text[i]); };
  const uint32_t first = byte(0);
  const size_t length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (length == 0 || first > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Too long for what they say, surrogates, beyond the last character.
  if (first == 0xE0 && byte(1) < 0xA0) return 0;
  if (first == 0xED && byte(1) > 0x9F) return 0;
  if (first == 0xF0 && byte(1) < 0x90) return 0;
  if (first == 0xF4 && byte(1) > 0x8F) return 0;
  return length;
}

}  // namespace

std::string HumanBytes(uint64_t bytes) {
  constexpr std::array<const char*, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return Print(value < 99.95 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
}

std::string Seconds(jobcore::Nanoseconds time) { return Print("%.3f", std::chrono::duration<double>(time).count()); }

std::string Duration(jobcore::Nanoseconds time) {
  const int64_t all = std::clamp<int64_t>(std::chrono::ceil<std::chrono::seconds>(time).count(), 0, 359999);
  const int hours = static_cast<int>(all / 3600);
  const int minutes = static_cast<int>(all / 60 % 60);
  const int seconds = static_cast<int>(all % 60);
  return hours > 0 ? Print("%d:%02d:%02d", hours, minutes, seconds) : Print("%d:%02d", minutes, seconds);
}

std::string JsonString(std::string_view text) {
  std::string result = "\"";
  while (!text.empty()) {
    const char c = text[0];
    size_t length = 1;
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (c == '\n') {
      result += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      result += Print("\\u%04x", static_cast<unsigned>(c));
    } else if (length = Utf8Length(text); length > 0) {
      result += text.substr(0, length);
    } else {
      result += "\\ufffd";
      length = 1;
    }
    text.remove_prefix(length);
  }
  return result += '"';
}

JsonObject& JsonObject::AddRaw(std::string_view key, std::string_view json) {
  if (text_.size() > 1) text_ += ',';
  text_ += JsonString(key);
  text_ += ':';
  text_ += json;
  return *this;
}
JsonObject& JsonObject::Add(std::string_view key, std::string_view text) { return AddRaw(key, JsonString(text)); }
JsonObject& JsonObject::Add(std::string_view key, uint64_t number) { return AddRaw(key, std::to_string(number)); }
JsonObject& JsonObject::Add(std::string_view key, jobcore::Nanoseconds seconds) {
  return AddRaw(key, Seconds(seconds));
}

}  // namespace jobctl
