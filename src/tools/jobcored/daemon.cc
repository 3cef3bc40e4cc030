// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/daemon.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "job-common/aio_wait.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"
#include "tools/jobcored/commands.h"

namespace jobcored {

using jobcore::Co;
using jobcore::JobLock;
using jobcore::JobStatus;
using jobcore::TimePoint;
using jobcore::qmp::JsonObject;

JsonObject Daemon::Version() {
  return {{"qemu", JsonObject{{"micro", 22}, {"minor", 2}, {"major", 7}}}, {"package", "jobcore " JOBCORE_VERSION}};
}

Daemon::Daemon(jobcore::qmp::Server::Options options)
    : job_uses(core),
      monitor{.commands = commands, .version = Version(), .before_reply = [this] { events.Pump(); }},
      server(core.main_context(), monitor, std::move(options)),
      events(core, [this](const std::string& line) { server.SendEvent(line); }) {
  AddMiscCommands(commands, *this);
  AddNodeCommands(commands, *this);
  AddIOThreadCommands(commands, *this);
  AddJobCommands(commands, *this);
  AddBlockJobCommands(commands, *this);
  AddStartCommands(commands, *this);
  AddTransactionCommands(commands, *this);
  AddExportCommands(commands, *this);
}

Daemon::~Daemon() = default;

void Daemon::SendEvent(std::string_view name, JsonObject data) {
  events.Pump();  // what happened before
  const TimePoint now = core.main_context().now();
  server.SendEvent(jobcore::qmp::EventLine(name, std::move(data), core.WallTimeOf(now)));
}

TimePoint Daemon::Deadline() const {
  return jobcore::SaturatingAdd(core.main_context().clock().Now(), std::chrono::seconds(30));
}

namespace {

bool HasOpenJobs(jobcore::JobCore& core) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  JobLock lock(core);
  jobcore::monitor::QueryCursor cursor;
  for (;;) {
    const auto page = jobcore::monitor::QueryPage(core, cursor);
    for (const jobcore::monitor::JobInfo& job : page) {
      if (job.status != JobStatus::kConcluded) return true;
    }
    if (page.size() < jobcore::monitor::kMaxPage) return false;
  }
}

void DismissAll(jobcore::JobCore& core) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  for (const jobcore::monitor::JobInfo& info : jobcore::monitor::SnapshotJobs(core)) {
    JobLock lock(core);
    jobcore::Job* const job = jobcore::monitor::Find(core, info.number);
    if (job != nullptr) (void)jobcore::monitor::Dismiss(*job);  // refused: it has not concluded
  }
}

}  // namespace

Co<absl::Status> Daemon::EndAll(TimePoint deadline) {
  jobcore::monitor::CancelAll(core);
  const auto open = [this]() JOBCORE_EXCLUDES(jobcore::job_mutex) { return HasOpenJobs(core); };
  const absl::Status ended = co_await AioWaitWhile(core, open, {.name = "end of all jobs", .deadline = deadline});
  DismissAll(core);
  co_await StopNbdServer();
  co_return ended;
}

Co<void> Daemon::StopNbdServer() {
  if (nbd == nullptr) co_return;
  const std::unique_ptr<jobcore::nbd::Server> stopping = std::move(nbd);
  stopping->Shutdown();
  const auto busy = [&stopping] { return !stopping->stopped(); };
  (void)co_await AioWaitWhile(core, busy, {.name = "NBD server"});
}

}  // namespace jobcored
