// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/remote_job.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "tools/jobctl/json_member.h"

namespace jobctl {
namespace {

using jobcore::JobOutcome;
using jobcore::JobStatus;
using jobcore::Nanoseconds;
using jobcore::internal::ToAbsl;
using jobcore::monitor::JobInfo;

constexpr std::string_view kCancelledText = "Operation canceled";  // as QMP says it where there is only a text

jobcore::WallTime TimestampOf(const qmp::JsonObject& event) {
  const qmp::JsonObject* const timestamp = ObjectMember(event, "timestamp");
  if (timestamp == nullptr) return {};
  return jobcore::WallTime(std::chrono::seconds(CountMember(*timestamp, "seconds")) +
                           std::chrono::microseconds(CountMember(*timestamp, "microseconds")));
}

bool IsUnknownCommand(const absl::Status& status) { return absl::IsUnimplemented(status); }

// What block jobs have told at their end, before the change of their status, where nobody says it with that.
std::optional<JobOutcome> EndOfBlockJob(std::string_view event, const qmp::JsonObject& data) {
  if (event == "BLOCK_JOB_CANCELLED") return JobOutcome::Cancelled();
  if (event != "BLOCK_JOB_COMPLETED") return std::nullopt;
  const std::string error = StringMember(data, "error");
  return error.empty() ? JobOutcome::Succeeded() : JobOutcome::Failed(absl::UnknownError(error));
}

// For people.
std::string TextOf(std::string_view kind, const qmp::JsonObject& data, const std::optional<JobOutcome>& outcome) {
  const std::string status = StringMember(data, "status");
  if (kind == "status") return outcome ? absl::StrCat(status, " (", outcome->ToString(), ")") : status;
  if (kind == "io-error") {
    return absl::StrCat("error ", StringMember(data, "operation"), " ", StringMember(data, "action"), " (",
                        StringMember(data, "text"), ")");
  }
  const std::string waits_for = StringMember(data, "waits-for");
  return absl::StrCat(ToAbsl(kind), waits_for.empty() ? "" : ": ", waits_for);
}

RemoteEvent ReadNumberedEvent(const qmp::JsonObject& event, const qmp::JsonObject& data) {
  RemoteEvent read = {.sequence = CountMember(data, "seq"),
                      .time = TimestampOf(event),
                      .id = StringMember(data, "id"),
                      .number = CountMember(data, "number"),
                      .kind = StringMember(data, "kind"),
                      .status = jobcore::ParseJobStatus(StringMember(data, "status")),
                      .outcome = ReadOutcome(data),
                      .text = {},
                      .context = StringMember(data, "context"),
                      .data = data};
  read.text = TextOf(read.kind, data, read.outcome);
  if (read.kind != "status") read.status.reset();
  return read;
}

}  // namespace

std::optional<JobOutcome> ReadOutcome(const qmp::JsonObject& record) {
  const std::string outcome = StringMember(record, "outcome");
  const std::string error = StringMember(record, "error");
  if (outcome == "succeeded") return JobOutcome::Succeeded();
  if (outcome == "cancelled" || (outcome.empty() && error == kCancelledText)) return JobOutcome::Cancelled();
  if (outcome == "failed" || !error.empty()) return JobOutcome::Failed(absl::UnknownError(error));
  return std::nullopt;
}

JobInfo ReadJob(const qmp::JsonObject& record) {
  JobInfo job;
  job.id = StringMember(record, "id");
  job.number = CountMember(record, "number");
  job.group = CountMember(record, "group");
  job.type = StringMember(record, "type");
  job.context = StringMember(record, "context");
  job.status = jobcore::ParseJobStatus(StringMember(record, "status")).value_or(JobStatus::kUndefined);
  job.cancelling = BoolMember(record, "cancelling");
  if (const qmp::JsonArray* const reasons = ArrayMember(record, "reasons")) {
    for (const qmp::JsonValue& reason : *reasons) {
      if (const std::string* const text = reason.AsString()) job.pause_reasons.push_back(*text);
    }
  }
  const bool plain = record.Find("current-progress") != nullptr;
  job.progress.current = CountMember(record, plain ? "current-progress" : "current");
  job.progress.total = std::max(CountMember(record, plain ? "total-progress" : "total"), job.progress.current);
  job.rate = NumberMember(record, "rate").value_or(0);
  if (record.Find("eta") != nullptr) job.eta = Nanoseconds(CountMember(record, "eta"));
  job.speed = static_cast<int64_t>(CountMember(record, "speed"));
  job.outcome = ReadOutcome(record);
  if (!job.outcome && jobcore::IsConcluded(job.status)) job.outcome = JobOutcome::Succeeded();
  return job;
}

absl::StatusOr<qmp::JsonArray> QueryJobRecords(QmpClient& client) {
  absl::StatusOr<qmp::JsonValue> reply = client.Execute("x-query-jobs");
  if (IsUnknownCommand(reply.status())) reply = client.Execute("query-jobs");
  if (!reply.ok()) return reply.status();
  qmp::JsonArray* const list = reply->AsArray();
  if (list == nullptr) return absl::InternalError("the daemon's list of jobs is none");
  return std::move(*list);
}

absl::StatusOr<std::vector<JobInfo>> QueryJobs(QmpClient& client) {
  const absl::StatusOr<qmp::JsonArray> records = QueryJobRecords(client);
  if (!records.ok()) return records.status();
  std::vector<JobInfo> jobs;
  jobs.reserve(records->size());
  for (const qmp::JsonValue& record : *records) {
    if (const qmp::JsonObject* const object = record.AsObject()) jobs.push_back(ReadJob(*object));
  }
  std::reverse(jobs.begin(), jobs.end());
  return jobs;
}

absl::StatusOr<std::optional<JobOutcome>> QueryOutcome(QmpClient& client, const std::string& id) {
  const absl::StatusOr<qmp::JsonValue> reply = client.Execute("x-query-history", {{"id", id}});
  if (IsUnknownCommand(reply.status())) return std::nullopt;
  if (!reply.ok()) return reply.status();
  const qmp::JsonArray* const records = reply->AsArray();
  if (records == nullptr || records->empty() || records->front().AsObject() == nullptr) return std::nullopt;
  return ReadOutcome(*records->front().AsObject());
}

absl::StatusOr<Subscription> Subscribe(QmpClient& client, uint64_t from) {
  const absl::StatusOr<qmp::JsonValue> reply =
      client.Execute("x-subscribe", from == 0 ? qmp::JsonObject() : qmp::JsonObject{{"from", from}});
  if (IsUnknownCommand(reply.status())) return Subscription();
  if (!reply.ok()) return reply.status();
  Subscription made = {.numbered = true};
  if (const qmp::JsonObject* const object = reply->AsObject()) {
    made.next = CountMember(*object, "next");
    made.missed = CountMember(*object, "missed");
  }
  return made;
}

uint64_t MissedEvents(const qmp::JsonObject& event) {
  const qmp::JsonObject* const data = ObjectMember(event, "data");
  return data != nullptr && StringMember(event, "event") == "X_EVENTS_MISSED" ? CountMember(*data, "missed") : 0;
}

std::optional<RemoteEvent> ReadEvent(const qmp::JsonObject& event, bool numbered) {
  const std::string name = StringMember(event, "event");
  const qmp::JsonObject* const data = ObjectMember(event, "data");
  if (data == nullptr) return std::nullopt;
  if (name == "X_JOB_EVENT") return ReadNumberedEvent(event, *data);
  if (numbered) return std::nullopt;

  RemoteEvent read;
  read.time = TimestampOf(event);
  read.data = event;  // what it is called is said there
  if (name == "JOB_STATUS_CHANGE") {
    read.id = StringMember(*data, "id");
    read.kind = "status";
    read.text = StringMember(*data, "status");
    read.status = jobcore::ParseJobStatus(read.text);
    return read;
  }
  read.id = StringMember(*data, "device");
  if (name == "BLOCK_JOB_ERROR") {
    read.kind = "io-error";
    read.text = absl::StrCat("error ", StringMember(*data, "operation"), " ", StringMember(*data, "action"));
    return read;
  }
  read.outcome = EndOfBlockJob(name, *data);
  if (!read.outcome) return std::nullopt;
  read.kind = "outcome";
  read.text = read.outcome->ToString();
  return read;
}

}  // namespace jobctl
