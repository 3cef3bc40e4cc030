// SPDX-License-Identifier: Apache-2.0

#include "qmp/job_report.h"

#include <cmath>

#include "job-common/error_policy.h"
#include "job-common/job_status.h"
#include "qmp/job_events.h"

namespace jobcore::inline JOBCORE_ABI::qmp {
namespace {

std::string_view OutcomeName(JobOutcome::Kind kind) {
  switch (kind) {
    case JobOutcome::Kind::kSucceeded:
      return "succeeded";
    case JobOutcome::Kind::kFailed:
      return "failed";
    case JobOutcome::Kind::kCancelled:
      return "cancelled";
  }
  return "";
}

void AddOutcome(JsonObject& shown, const JobOutcome& outcome) {
  shown.Set("outcome", OutcomeName(outcome.kind));
  if (!outcome.succeeded()) shown.Set("error", ErrorText(outcome));
}

void AddTimes(JsonObject& shown, const JobTimes& times) {
  shown.Set("created", InNanoseconds(times.created.wall));
  if (times.started.has_value()) shown.Set("started", InNanoseconds(times.started->wall));
  if (times.concluded.has_value()) shown.Set("ended", InNanoseconds(times.concluded->wall));
  shown.Set("running", InNanoseconds(times.Running()));
  shown.Set("parked", InNanoseconds(times.Parked()));
  shown.Set("throttled", InNanoseconds(times.throttled));
  shown.Set("waiting", InNanoseconds(times.waiting));
}

void AddProgress(JsonObject& shown, const ProgressSnapshot& progress, ProgressUnit unit) {
  shown.Set("current", progress.current);
  shown.Set("total", progress.total);
  if (!progress.total_known) shown.Set("total-known", false);
  shown.Set("unit", ProgressUnitName(unit));
}

}  // namespace

JsonArray StringList(const std::vector<std::string>& strings) { return JsonArray(strings.begin(), strings.end()); }

JsonObject JobReport(const monitor::JobInfo& job) {
  JsonObject shown = {{"id", job.id},
                      {"number", job.number},
                      {"type", job.type},
                      {"group", job.group},
                      {"context", job.context},
                      {"status", JobStatusName(job.status)},
                      {"io-status", IoStatusName(job.io_status)},
                      {"reasons", StringList(job.pause_reasons)},
                      {"cancelling", job.cancelling}};
  AddProgress(shown, job.progress, job.unit);
  shown.Set("rate", std::llround(job.rate));
  if (job.eta.has_value()) shown.Set("eta", InNanoseconds(*job.eta));
  shown.Set("speed", job.speed);
  shown.Set("auto-finalize", job.auto_finalize);
  shown.Set("auto-dismiss", job.auto_dismiss);
  if (job.outcome.has_value()) AddOutcome(shown, *job.outcome);
  AddTimes(shown, job.times);
  shown.Set("seq", job.last_event);
  return shown;
}

JsonObject RecordReport(const monitor::JobRecord& record) {
  JsonObject shown = {{"id", record.id},
                      {"number", record.number},
                      {"type", record.type},
                      {"group", record.group},
                      {"context", record.context}};
  AddProgress(shown, record.progress, record.unit);
  shown.Set("auto-finalize", record.auto_finalize);
  shown.Set("auto-dismiss", record.auto_dismiss);
  AddOutcome(shown, record.outcome);
  AddTimes(shown, record.times);
  JsonArray pauses;
  pauses.reserve(record.times.pauses.size());
  for (const PauseTime& pause : record.times.pauses) {
    pauses.push_back(JsonObject{{"reason", pause.reason}, {"time", InNanoseconds(pause.time)}});
  }
  shown.Set("pauses", std::move(pauses));
  return shown;
}

JsonObject EventReport(const JobEvent& event, WallTime time, const EventSubject& subject) {
  constexpr std::string_view kKinds[] = {"status", "io-error", "unresponsive"};
  JsonObject shown = {
      {"seq", event.sequence}, {"time", InNanoseconds(time)}, {"kind", kKinds[static_cast<size_t>(event.kind)]},
      {"id", event.job_id},    {"number", event.job_number},  {"status", JobStatusName(event.status)}};
  if (event.outcome.has_value()) AddOutcome(shown, *event.outcome);
  if (event.kind == JobEvent::Kind::kIoError) {
    shown.Set("operation", IoOperationName(event.io_error->operation));
    shown.Set("action", ErrorActionName(event.io_error->action));
    shown.Set("errno", event.io_error->error);
    shown.Set("text", event.io_error->text);
  }
  if (event.kind == JobEvent::Kind::kUnresponsive) shown.Set("waits-for", event.waits_for);
  if (!subject.known) return shown;
  shown.Set("type", subject.type);
  shown.Set("group", subject.group);
  shown.Set("context", subject.context);
  shown.Set("reasons", StringList(subject.pause_reasons));
  shown.Set("current", subject.progress.current);
  shown.Set("total", subject.progress.total);
  return shown;
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
