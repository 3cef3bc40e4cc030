// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/remote_verbs.h"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "qmp/json_text.h"
#include "tools/jobctl/job_table.h"
#include "tools/jobctl/json_member.h"
#include "tools/jobctl/put.h"
#include "tools/jobctl/remote_job.h"
#include "tools/jobctl/terminal.h"

namespace jobctl {
namespace {

using jobcore::internal::Quoted;
using jobcore::internal::ToAbsl;

void PutLine(std::string_view text) { Put(STDOUT_FILENO, absl::StrCat(ToAbsl(text), "\n")); }

// The record of the job, or that of the history; nothing: there is none.
absl::StatusOr<std::optional<qmp::JsonObject>> FindRecord(QmpClient& client, const std::string& id) {
  const absl::StatusOr<qmp::JsonArray> records = QueryJobRecords(client);
  if (!records.ok()) return records.status();
  for (const qmp::JsonValue& record : *records) {
    const qmp::JsonObject* const object = record.AsObject();
    if (object != nullptr && StringMember(*object, "id") == id) return *object;
  }
  const absl::StatusOr<qmp::JsonValue> past = client.Execute("x-query-history", {{"id", id}});
  if (absl::IsUnimplemented(past.status())) return std::nullopt;
  if (!past.ok()) return past.status();
  const qmp::JsonArray* const list = past->AsArray();
  if (list == nullptr || list->empty() || list->front().AsObject() == nullptr) return std::nullopt;
  return *list->front().AsObject();
}

// A member a line, objects as they are written in a path: "times.running".
void PutMembers(const qmp::JsonObject& object, const std::string& prefix, size_t width) {
  for (const auto& [name, value] : object) {
    const std::string path = prefix + name;
    if (const qmp::JsonObject* const inner = value.AsObject()) {
      PutMembers(*inner, path + ".", width);
    } else {
      const std::string* const text = value.AsString();
      PutLine(absl::StrCat(Left(path, width), "  ", text == nullptr ? qmp::WriteJson(value) : *text));
    }
  }
}

size_t LongestPath(const qmp::JsonObject& object, size_t prefix = 0) {
  size_t longest = 0;
  for (const auto& [name, value] : object) {
    const size_t here = prefix + name.size();
    const qmp::JsonObject* const inner = value.AsObject();
    longest = std::max(longest, inner == nullptr ? here : LongestPath(*inner, here + 1));
  }
  return longest;
}

}  // namespace

absl::Status ListJobs(QmpClient& client, bool json) {
  if (json) {
    const absl::StatusOr<qmp::JsonArray> records = QueryJobRecords(client);
    if (!records.ok()) return records.status();
    for (const qmp::JsonValue& record : *records) PutLine(qmp::WriteJson(record));
    return absl::OkStatus();
  }
  const absl::StatusOr<std::vector<jobcore::monitor::JobInfo>> jobs = QueryJobs(client);
  if (!jobs.ok()) return jobs.status();
  const bool terminal = CanPaint();
  const size_t width = terminal ? Window().columns : SIZE_MAX;
  for (const StatusLine& line : JobTable(*jobs, {.bars = terminal, .types = true})) {
    const std::string text = line.Fit(width, {.color = terminal && WantsColor(), .utf8 = terminal && ShowsUtf8()});
    PutLine(std::string_view(text).substr(0, text.find_last_not_of(' ') + 1));
  }
  return absl::OkStatus();
}

absl::Status ShowJob(QmpClient& client, const std::string& id, bool json) {
  const absl::StatusOr<std::optional<qmp::JsonObject>> record = FindRecord(client, id);
  if (!record.ok()) return record.status();
  if (!*record) return absl::NotFoundError(absl::StrCat("there is no job ", Quoted(id)));
  if (json) {
    PutLine(qmp::WriteJson(**record));
  } else {
    PutMembers(**record, "", LongestPath(**record));
  }
  return absl::OkStatus();
}

absl::Status DoToJob(QmpClient& client, std::string_view verb, const std::string& id) {
  return client.Execute(absl::StrCat("job-", ToAbsl(verb)), {{"id", id}}).status();
}

absl::Status KeepJob(QmpClient& client, const std::string& id) {
  return client.Execute("block-job-cancel", {{"device", id}}).status();
}

absl::Status SetJobSpeed(QmpClient& client, const std::string& id, int64_t bytes_per_second) {
  return client.Execute("block-job-set-speed", {{"device", id}, {"speed", bytes_per_second}}).status();
}

}  // namespace jobctl
