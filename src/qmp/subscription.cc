// SPDX-License-Identifier: Apache-2.0

#include "qmp/subscription.h"

#include <algorithm>
#include <utility>

#include "job-monitor/job_history.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "qmp/job_events.h"
#include "qmp/json_value.h"

namespace jobcore::inline JOBCORE_ABI::qmp {
namespace {

EventSubject SubjectOf(JobCore& core, uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
  if (const Job* const job = monitor::Find(core, number)) {
    monitor::JobInfo info = monitor::Query(*job);
    return {.known = true,
            .type = std::move(info.type),
            .context = std::move(info.context),
            .group = info.group,
            .pause_reasons = std::move(info.pause_reasons),
            .progress = info.progress};
  }
  if (const monitor::JobRecordPtr record = monitor::FindRecord(core, number)) {
    return {.known = true,
            .type = record->type,
            .context = record->context,
            .group = record->group,
            .progress = record->progress};
  }
  return {};
}

}  // namespace

Subscription::Subscription(JobCore& core, Session& session, uint64_t from)
    : core_(core),
      session_(session),
      cursor_{from},
      observer_(core, core.main_context(), [this](const EventPage&) JOBCORE_EXCLUDES(job_mutex) { Pump(); }) {
  JobLock lock(core_);
  EventCursor looked = cursor_;
  missed_ = core_.ReadEvents(looked, /*max=*/1).lost;
  cursor_.next += missed_;
}

Subscription::Page Subscription::Read() {
  JobLock lock(core_);
  Page page = {.events = core_.ReadEvents(cursor_), .subjects = {}};
  page.subjects.reserve(page.events.events.size());
  for (const JobEvent& event : page.events.events) page.subjects.push_back(SubjectOf(core_, event.job_number));
  return page;
}

void Subscription::Pump() {
  // To send may make room, and who sees that pumps.
  if (std::exchange(pumping_, true)) return;
  while (session_.HasRoom()) {
    const Page page = Read();
    if (page.events.lost > 0) {
      const uint64_t next = cursor_.next - page.events.events.size();
      const JsonObject data = {{"missed", page.events.lost}, {"next", next}};
      session_.SendEvent(EventLine("X_EVENTS_MISSED", data, core_.WallTimeOf(core_.main_context().now())));
    }
    if (page.events.events.empty()) break;
    for (size_t i = 0; i < page.events.events.size(); ++i) {
      const JobEvent& event = page.events.events[i];
      const WallTime time = core_.WallTimeOf(event.time);
      session_.SendEvent(EventLine("X_JOB_EVENT", EventReport(event, time, page.subjects[i]), time));
    }
  }
  pumping_ = false;
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
