// SPDX-License-Identifier: Apache-2.0

#include "qmp/job_events.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "qmp/json_text.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

bool IsBlockJobType(std::string_view type) {
  constexpr std::array<std::string_view, 4> kTypes = {"commit", "stream", "mirror", "backup"};
  return std::find(kTypes.begin(), kTypes.end(), type) != kTypes.end();
}

std::string ErrorText(const JobOutcome& outcome) {
  return outcome.kind == JobOutcome::Kind::kCancelled ? "Operation canceled" : outcome.message;
}

std::string EventLine(std::string_view name, JsonObject data, WallTime time) {
  const auto since = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  constexpr int64_t kMicroseconds = 1'000'000;
  const JsonObject timestamp = {{"seconds", since / kMicroseconds}, {"microseconds", since % kMicroseconds}};
  JsonObject event = {{"timestamp", timestamp}, {"event", name}};
  if (!data.empty()) event.Set("data", std::move(data));
  return WriteJson(std::move(event));
}

JobEvents::JobEvents(JobCore& core, SendLine send)
    : core_(core),
      send_(std::move(send)),
      observer_(core, core.main_context(), [this](const EventPage&) JOBCORE_EXCLUDES(job_mutex) { Pump(); }) {
  JobLock lock(core_);
  cursor_.next = core_.last_event() + 1;
}

void JobEvents::Pump() {
  for (;;) {
    EventPage page;
    {
      JobLock lock(core_);
      page = core_.ReadEvents(cursor_);
      // While they can still be found.
      for (const JobEvent& event : page.events) {
        if (event.kind != JobEvent::Kind::kStatus || event.status != JobStatus::kCreated) continue;
        if (Job* const job = monitor::Find(core_, event.job_number)) jobs_[event.job_number] = {JobRef(*job)};
      }
    }
    if (page.lost > 0) {  // the ends of some may have been among them
      JobLock lock(core_);
      std::erase_if(jobs_, [](const auto& known) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
        return known.second.job->status() == JobStatus::kNull;
      });
    }
    if (page.events.empty()) return;
    for (const JobEvent& event : page.events) Send(event);
  }
}

const Job* JobEvents::BlockJob(const JobEvent& event) const {
  const auto known = jobs_.find(event.job_number);
  if (known == jobs_.end() || !IsBlockJobType(known->second.job->type())) return nullptr;
  return known->second.job.get();
}

void JobEvents::Send(const JobEvent& event) {
  const Job* const job = BlockJob(event);
  if (event.kind == JobEvent::Kind::kIoError && job != nullptr) {
    const JsonObject data = {{"device", event.job_id},
                             {"operation", IoOperationName(event.io_error->operation)},
                             {"action", ErrorActionName(event.io_error->action)}};
    send_(EventLine("BLOCK_JOB_ERROR", data, core_.WallTimeOf(event.time)));
  }
  if (event.kind != JobEvent::Kind::kStatus) return;

  const auto known = jobs_.find(event.job_number);
  if (event.status == JobStatus::kRunning && known != jobs_.end()) known->second.started = true;
  if (event.status == JobStatus::kConcluded && job != nullptr && known->second.started) SendEnd(event, *job);
  SendStatus(event);
  if (event.status == JobStatus::kReady && job != nullptr && !std::exchange(known->second.ready, true)) {
    SendBlockEvent("BLOCK_JOB_READY", event, *job);
  }
  if (event.status == JobStatus::kPending && job != nullptr && !job->auto_finalize()) {
    const JsonObject data = {{"type", job->type()}, {"id", event.job_id}};
    send_(EventLine("BLOCK_JOB_PENDING", data, core_.WallTimeOf(event.time)));
  }
  if (event.status == JobStatus::kNull && known != jobs_.end()) jobs_.erase(known);
}

void JobEvents::SendStatus(const JobEvent& event) {
  const JsonObject data = {{"status", JobStatusName(event.status)}, {"id", event.job_id}};
  send_(EventLine("JOB_STATUS_CHANGE", data, core_.WallTimeOf(event.time)));
}

void JobEvents::SendEnd(const JobEvent& event, const Job& job) {
  const JobOutcome* const outcome = event.outcome.get();
  if (outcome != nullptr && outcome->kind == JobOutcome::Kind::kCancelled) {
    return SendBlockEvent("BLOCK_JOB_CANCELLED", event, job);
  }
  JsonObject more;
  if (outcome != nullptr && !outcome->succeeded()) more.Set("error", ErrorText(*outcome));
  SendBlockEvent("BLOCK_JOB_COMPLETED", event, job, std::move(more));
}

void JobEvents::SendBlockEvent(std::string_view name, const JobEvent& event, const Job& job, JsonObject more) {
  monitor::JobInfo info;
  {
    JobLock lock(core_);
    info = monitor::Query(job);
  }
  JsonObject data = std::move(more);
  data.Set("device", event.job_id);
  data.Set("len", info.progress.total);
  data.Set("offset", info.progress.current);
  data.Set("speed", info.speed);
  data.Set("type", info.type);
  send_(EventLine(name, std::move(data), core_.WallTimeOf(event.time)));
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
