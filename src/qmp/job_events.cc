// SPDX-License-Identifier: Apache-2.0

#include "qmp/job_events.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>
#include <vector>

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
    if (page.lost > 0) CatchUp(cursor_.next - page.events.size());
    if (page.events.empty()) return;
    for (const JobEvent& event : page.events) Send(event);
  }
}

void JobEvents::LearnOfJobs() {
  for (const monitor::JobInfo& info : monitor::SnapshotJobs(core_)) {
    if (jobs_.contains(info.number)) continue;
    JobLock lock(core_);
    if (Job* const job = monitor::Find(core_, info.number)) jobs_[info.number] = {JobRef(*job)};
  }
}

void JobEvents::CatchUp(uint64_t kept) {
  LearnOfJobs();
  std::vector<uint64_t> numbers;  // to tell of a job's end is to forget it
  numbers.reserve(jobs_.size());
  for (const auto& [number, known] : jobs_) numbers.push_back(number);
  for (const uint64_t number : numbers) {
    Known& known = jobs_[number];
    monitor::JobInfo info;
    {
      JobLock lock(core_);
      info = monitor::Query(*known.job);
    }
    known.started = info.times.started.has_value();
    if (info.last_event >= kept || info.status == known.told) continue;
    JobEvent news;
    news.job_number = number;
    news.job_id = info.id;
    news.status = info.status;
    news.time = info.status_since;
    if (info.outcome.has_value()) news.outcome = *info.outcome;
    Send(news);
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
  if (event.status == JobStatus::kNull && known != jobs_.end() && !known->second.ended) SendLostEnd(event);
  if (known != jobs_.end()) {
    known->second.told = event.status;
    known->second.ended |= event.status == JobStatus::kConcluded;
  }
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

void JobEvents::SendLostEnd(const JobEvent& gone) {
  {
    JobLock lock(core_);
    if (!monitor::Query(*jobs_[gone.job_number].job).times.concluded.has_value()) return;  // it was never to be
  }
  JobEvent end = gone;
  end.status = JobStatus::kConcluded;
  Send(end);
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
