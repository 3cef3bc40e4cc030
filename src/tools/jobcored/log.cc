// SPDX-License-Identifier: Apache-2.0
//
// The only place that knows the logging library.

#include "tools/jobcored/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace jobcored {
namespace {

spdlog::level::level_enum ToLibrary(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

}  // namespace

void StartLog(LogLevel least) {
  auto logger = std::make_shared<spdlog::logger>("jobcored", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l: %v");
  logger->set_level(ToLibrary(least));
  spdlog::set_default_logger(std::move(logger));
}

void Log(LogLevel level, std::string_view text) {
  spdlog::log(ToLibrary(level), spdlog::string_view_t(text.data(), text.size()));
}

}  // namespace jobcored
