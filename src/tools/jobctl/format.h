// SPDX-License-Identifier: Apache-2.0
//
// Numbers for people, and JSON for programs.

#ifndef JOBCORE_TOOLS_JOBCTL_FORMAT_H_
#define JOBCORE_TOOLS_JOBCTL_FORMAT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "job-common/clock.h"

namespace jobctl {

// "512 B", "1.2 GiB".
std::string HumanBytes(uint64_t bytes);
// "0:07", "12:34", "3:00:00"; "99:59:59" if it takes longer.
std::string Duration(jobcore::Nanoseconds time);
// "1.234".
std::string Seconds(jobcore::Nanoseconds time);

// One JSON object, built in order.
class JsonObject {
 public:
  JsonObject& Add(std::string_view key, std::string_view text);
  JsonObject& Add(std::string_view key, uint64_t number);
  JsonObject& Add(std::string_view key, jobcore::Nanoseconds seconds);
  JsonObject& AddRaw(std::string_view key, std::string_view json);
  std::string Take() { return std::move(text_.append("}")); }

 private:
  std::string text_ = "{";
};

// With its quotes. Bytes that are no UTF-8 (file names may hold any) become U+FFFD.
std::string JsonString(std::string_view text);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_FORMAT_H_
