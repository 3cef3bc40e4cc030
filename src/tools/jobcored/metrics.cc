// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/metrics.h"

#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "job-common/job_outcome.h"
#include "job-common/job_status.h"
#include "job-monitor/contention.h"
#include "job-monitor/job_query.h"

namespace jobcored {
namespace {

using jobcore::JobEvent;
using jobcore::JobStatus;
using jobcore::internal::ToAbsl;

// By JobOutcome::Kind.
constexpr std::array<std::string_view, 3> kOutcomes = {"succeeded", "failed", "cancelled"};

}  // namespace

class Metrics::Writer {
 public:
  void Begin(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    absl::StrAppend(&text_, "# HELP ", ToAbsl(name), " ", ToAbsl(help), "\n# TYPE ", ToAbsl(name), " ", ToAbsl(type),
                    "\n");
  }
  void Add(uint64_t value) { absl::StrAppend(&text_, ToAbsl(name_), " ", value, "\n"); }
  // Values of labels are words.
  void Add(std::string_view label, std::string_view word, uint64_t value) {
    absl::StrAppend(&text_, ToAbsl(name_), "{", ToAbsl(label), "=\"", ToAbsl(word), "\"} ", value, "\n");
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string_view name_;
  std::string text_;
};

Metrics::Metrics(Daemon& daemon)
    : daemon_(daemon),
      observer_(daemon.core, daemon.core.main_context(), [this](const jobcore::EventPage& page) { Count(page); }) {}

void Metrics::Count(const jobcore::EventPage& page) {
  for (const JobEvent& event : page.events) {
    if (event.kind == JobEvent::Kind::kIoError) ++io_errors_;
    if (event.kind != JobEvent::Kind::kStatus || event.status != JobStatus::kConcluded || !event.outcome) continue;
    ++ended_[static_cast<size_t>(event.outcome->kind)];
  }
}

std::string Metrics::Text() {
  std::array<uint64_t, jobcore::kJobStatusCount> jobs{};
  for (const jobcore::monitor::JobInfo& job : jobcore::monitor::SnapshotJobs(daemon_.core)) {
    ++jobs[static_cast<size_t>(job.status)];
  }
  uint64_t events = 0;
  {
    jobcore::JobLock lock(daemon_.core);
    events = daemon_.core.last_event();
  }
  Writer text;
  text.Begin("jobcore_jobs", "gauge", "Jobs that there are, by status.");
  for (const JobStatus status :
       {JobStatus::kCreated, JobStatus::kRunning, JobStatus::kPaused, JobStatus::kReady, JobStatus::kStandby,
        JobStatus::kWaiting, JobStatus::kPending, JobStatus::kAborting, JobStatus::kConcluded}) {
    text.Add("status", JobStatusName(status), jobs[static_cast<size_t>(status)]);
  }
  text.Begin("jobcore_jobs_ended_total", "counter", "Jobs that have concluded, by outcome.");
  for (size_t i = 0; i < kOutcomes.size(); ++i) text.Add("outcome", kOutcomes[i], ended_[i]);
  text.Begin("jobcore_io_errors_total", "counter", "Reads and writes of jobs that have failed.");
  text.Add(io_errors_);
  text.Begin("jobcore_events_total", "counter", "Events of jobs.");
  text.Add(events);
  text.Begin("jobcore_monitor_clients", "gauge", "Clients of monitors.");
  text.Add(daemon_.server.clients());
  AddContention(text);
  return text.Take();
}

// Of job_mutex, while that is being counted (x-query-contention).
void Metrics::AddContention(Writer& text) {
  const std::optional<jobcore::monitor::ContentionReport> report = jobcore::monitor::ReadContention(daemon_.core);
  text.Begin("jobcore_mutex_profiled", "gauge", "Whether job_mutex is watched; if not, what follows is missing.");
  text.Add(report ? 1 : 0);
  if (!report) return;
  text.Begin("jobcore_mutex_acquisitions_total", "counter", "How often job_mutex was taken.");
  text.Add(report->acquisitions);
  text.Begin("jobcore_mutex_waits_total", "counter", "How often somebody had to wait for it.");
  text.Add(report->waits.count);
  text.Begin("jobcore_mutex_wait_nanoseconds_total", "counter", "How long they waited.");
  text.Add(static_cast<uint64_t>(report->waits.total.count()));
  text.Begin("jobcore_mutex_longest_hold_nanoseconds", "gauge", "The longest hold of those measured, one in 16.");
  text.Add(static_cast<uint64_t>(report->holds.longest.count()));
}

}  // namespace jobcored
