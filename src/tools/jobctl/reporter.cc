// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/reporter.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "block/file_error.h"
#include "tools/jobctl/format.h"
#include "tools/jobctl/job_table.h"
#include "tools/jobctl/put.h"

namespace jobctl {
namespace {

using jobcore::JobEvent;
using jobcore::JobOutcome;
using jobcore::JobStatus;
using jobcore::Nanoseconds;
using jobcore::monitor::JobInfo;

class TextReporter final : public Reporter {
 public:
  void Event(Nanoseconds time, const JobEvent& event) override {
    if (event.kind == JobEvent::Kind::kStatus && event.status == JobStatus::kNull)
      return;  // dismissed: of no interest to people
    id_width_ = std::max(id_width_, event.job_id.size());
    Line(Stamp(time) + " " + Left(event.job_id, id_width_) + "  " + ToString(event));
  }
  void EventsLost(Nanoseconds time, uint64_t count) override {
    Line(absl::StrCat(Stamp(time), " ", count, " events lost"));
  }
  Nanoseconds interval() const override { return std::chrono::seconds(2); }
  void Progress(Nanoseconds time, const std::vector<JobInfo>& jobs) override {
    for (const JobInfo& job : jobs) {
      if (!IsCompleted(job.status)) Line(Stamp(time) + " " + ProgressText(job, id_width_));
    }
  }
  void Ask(const Question& question) override { Line(ToString(question)); }
  void Clients(Nanoseconds time, const ClientReport& report) override {
    Line(absl::StrCat(Stamp(time), " ", Left(report.job, id_width_), "  ", ToString(report)));
  }
  void Summary(Nanoseconds time, int, const std::vector<JobSummary>& jobs) override {
    for (const JobSummary& job : jobs) {
      std::string line = absl::StrCat(Stamp(time), " ", Left(job.id, id_width_), "  ");
      if (job.outcome.succeeded()) {
        absl::StrAppend(&line, "done  ", ToString(job));
      } else {
        absl::StrAppend(&line, job.outcome.ToString());
      }
      Line(line);
    }
  }

 private:
  static void Line(const std::string& text) { Put(STDOUT_FILENO, text + "\n"); }

  size_t id_width_ = 0;
};

class JsonReporter final : public Reporter {
 public:
  Nanoseconds interval() const override { return std::chrono::milliseconds(500); }
  void Event(Nanoseconds time, const JobEvent& event) override {
    JsonObject object;
    object.Add("type", "event").Add("time", time).Add("sequence", event.sequence);
    object.Add("job", event.job_id).Add("status", JobStatusName(event.status));
    AddKind(object, event);
    if (event.outcome) AddOutcome(object, *event.outcome);
    Line(object);
  }
  void EventsLost(Nanoseconds time, uint64_t count) override {
    Line(JsonObject().Add("type", "lost").Add("time", time).Add("count", count));
  }
  void Progress(Nanoseconds time, const std::vector<JobInfo>& jobs) override {
    for (const JobInfo& job : jobs) {
      if (IsCompleted(job.status)) continue;
      JsonObject object;
      object.Add("type", "progress").Add("time", time).Add("job", job.id);
      object.Add("status", JobStatusName(job.status)).Add("current", job.progress.current);
      object.Add("total", job.progress.total).Add("bytes-per-second", static_cast<uint64_t>(job.rate));
      if (job.eta) object.Add("eta", *job.eta);
      Line(object);
    }
  }
  void Ask(const Question& question) override {
    std::vector<std::string> quoted;
    quoted.reserve(question.jobs.size());
    for (const std::string& id : question.jobs) quoted.push_back(JsonString(id));
    Line(JsonObject()
             .Add("type", "question")
             .Add("question", question.name)
             .AddRaw("jobs", "[" + absl::StrJoin(quoted, ",") + "]"));
  }
  void Clients(Nanoseconds time, const ClientReport& report) override {
    JsonObject object;
    object.Add("type", "writers").Add("time", time).Add("job", report.job);
    object.Add("acknowledged-before-switch", report.on_source).Add("acknowledged-after-switch", report.on_target);
    object.Add("image", report.image).Add("blocks", report.blocks).Add("lost", report.lost);
    if (!report.ok()) object.Add("error", report.wrong);
    Line(object);
  }
  void Summary(Nanoseconds time, int exit_status, const std::vector<JobSummary>& jobs) override {
    std::vector<std::string> list;
    for (const JobSummary& job : jobs) {
      JsonObject object;
      object.Add("job", job.id).Add("source", job.source).Add("target", job.target);
      AddOutcome(object.Add("bytes", job.bytes), job.outcome);
      list.push_back(object.Take());
    }
    Line(JsonObject()
             .Add("type", "summary")
             .Add("time", time)
             .Add("exit-status", static_cast<uint64_t>(exit_status))
             .AddRaw("jobs", "[" + absl::StrJoin(list, ",") + "]"));
  }

 private:
  // What the status alone does not say.
  static void AddKind(JsonObject& object, const JobEvent& event) {
    switch (event.kind) {
      case JobEvent::Kind::kStatus:
        break;
      case JobEvent::Kind::kIoError:
        object.Add("event", "io-error").Add("operation", IoOperationName(event.io_error->operation));
        object.Add("action", ErrorActionName(event.io_error->action)).Add("error", event.io_error->text);
        break;
      case JobEvent::Kind::kUnresponsive:
        object.Add("event", "unresponsive").Add("waits-for", event.waits_for);
        break;
    }
  }
  static void AddOutcome(JsonObject& object, const JobOutcome& outcome) {
    switch (outcome.kind) {
      case JobOutcome::Kind::kSucceeded:
        object.Add("outcome", "succeeded");
        break;
      case JobOutcome::Kind::kFailed:
        object.Add("outcome", "failed");
        break;
      case JobOutcome::Kind::kCancelled:
        object.Add("outcome", "cancelled");
        break;
    }
    if (!outcome.message.empty()) object.Add("message", outcome.message);
  }
  static void Line(JsonObject& object) { Put(STDOUT_FILENO, object.Take() + "\n"); }
};

}  // namespace

std::string ToString(const JobSummary& job) {
  return absl::StrCat(HumanBytes(job.bytes), job.mirrored ? " copied to " : " of data in ",
                      jobcore::internal::Quoted(job.target));
}

void Reporter::Error(std::string_view lines) { Put(STDERR_FILENO, lines); }

std::unique_ptr<Reporter> Reporter::Text() { return std::make_unique<TextReporter>(); }
std::unique_ptr<Reporter> Reporter::Json() { return std::make_unique<JsonReporter>(); }

}  // namespace jobctl
