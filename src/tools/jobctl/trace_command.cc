// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/trace_command.h"

#include <chrono>
#include <fstream>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "job-common/clock.h"
#include "qmp/json_text.h"
#include "tools/jobctl/job_trace.h"
#include "tools/jobctl/json_member.h"
#include "tools/jobctl/remote_job.h"

namespace jobctl {
namespace {

using jobcore::WallTime;
using jobcore::internal::Quoted;

constexpr int kMostRecords = 1024;

// All events that there are by now.
absl::Status AddPresentEvents(QmpClient& client, JobTrace& trace) {
  const absl::StatusOr<Subscription> subscription = Subscribe(client, 1);
  if (!subscription.ok()) return subscription.status();
  if (!subscription->numbered) return absl::UnimplementedError("the daemon keeps no events: there is nothing to trace");
  // The answer to this comes after what happened before it.
  if (absl::Status s = client.Execute("query-jobs").status(); !s.ok()) return s;
  for (;;) {
    const absl::StatusOr<std::optional<qmp::JsonObject>> event = client.NextEvent(jobcore::TimePoint());
    if (!event.ok()) return event.status();
    if (!*event) return absl::OkStatus();
    if (const std::optional<RemoteEvent> read = ReadEvent(**event, /*numbered=*/true)) trace.AddEvent(*read);
  }
}

WallTime TimeMember(const qmp::JsonObject& record, std::string_view name) {
  return WallTime(jobcore::Nanoseconds(CountMember(record, name)));
}

absl::Status AddHistory(QmpClient& client, JobTrace& trace) {
  const absl::StatusOr<qmp::JsonValue> history = client.Execute("x-query-history", {{"limit", kMostRecords}});
  if (!history.ok()) return history.status();
  const qmp::JsonArray* const records = history->AsArray();
  if (records == nullptr) return absl::OkStatus();
  for (const qmp::JsonValue& value : *records) {
    const qmp::JsonObject* const record = value.AsObject();
    if (record == nullptr) continue;
    const uint64_t number = CountMember(*record, "number");
    trace.AddPast(number, StringMember(*record, "id"), TimeMember(*record, "created"), TimeMember(*record, "ended"));
    trace.AddContext(number, StringMember(*record, "context"));
  }
  return absl::OkStatus();
}

absl::Status AddContexts(QmpClient& client, JobTrace& trace) {
  const absl::StatusOr<std::vector<jobcore::monitor::JobInfo>> jobs = QueryJobs(client);
  if (!jobs.ok()) return jobs.status();
  for (const jobcore::monitor::JobInfo& job : *jobs) trace.AddContext(job.number, job.context);
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteTrace(QmpClient& client, const std::string& filename) {
  JobTrace trace;
  for (const auto add : {AddPresentEvents, AddHistory, AddContexts}) {
    if (absl::Status s = add(client, trace); !s.ok()) return s;
  }
  const WallTime now = std::chrono::time_point_cast<jobcore::Nanoseconds>(std::chrono::system_clock::now());
  std::ofstream file(filename, std::ios::binary | std::ios::trunc);
  file << qmp::WriteJson(std::move(trace).Finish(now)) << "\n";
  if (!file.flush().good()) return absl::UnknownError(absl::StrCat("cannot write ", Quoted(filename)));
  return absl::OkStatus();
}

}  // namespace jobctl
