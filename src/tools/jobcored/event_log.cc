// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/event_log.h"

#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "job-common/job_event.h"
#include "tools/jobcored/log.h"

namespace jobcored {
namespace {

using jobcore::EventPage;
using jobcore::JobEvent;
using jobcore::JobOutcome;
using jobcore::JobStatus;

LogLevel LevelOf(const JobEvent& event) {
  if (event.kind != JobEvent::Kind::kStatus) return LogLevel::kWarning;
  if (event.status == JobStatus::kCreated) return LogLevel::kInfo;
  if (event.status != JobStatus::kConcluded) return LogLevel::kDebug;
  return event.outcome && event.outcome->kind == JobOutcome::Kind::kFailed ? LogLevel::kWarning : LogLevel::kInfo;
}

void LogEvents(const EventPage& page) {
  if (page.lost > 0) Log(LogLevel::kWarning, absl::StrCat(page.lost, " events were lost: too many at a time"));
  for (const JobEvent& event : page.events) {
    Log(LevelOf(event), absl::StrCat("job ", jobcore::internal::Quoted(event.job_id), " ", ToString(event)));
  }
}

}  // namespace

EventLog::EventLog(jobcore::JobCore& core) : observer_(core, core.main_context(), LogEvents) {}

}  // namespace jobcored
