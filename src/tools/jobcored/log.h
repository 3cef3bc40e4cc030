// SPDX-License-Identifier: Apache-2.0
//
// The daemon's log, on standard error. The library never logs: what it has to say comes as events and results.

#ifndef JOBCORE_TOOLS_JOBCORED_LOG_H_
#define JOBCORE_TOOLS_JOBCORED_LOG_H_

#include <array>
#include <string_view>

namespace jobcored {

enum class LogLevel : unsigned char { kDebug, kInfo, kWarning, kError, kOff };
inline constexpr std::array<std::string_view, 5> kLogLevelNames = {"debug", "info", "warning", "error", "off"};

// From the main thread, before anything is logged.
void StartLog(LogLevel least);

// Any thread. Nothing that may hold secrets, or megabytes, belongs here.
void Log(LogLevel level, std::string_view text);

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_LOG_H_
