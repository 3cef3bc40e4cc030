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
#include "tools/jobcored/log.h"

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
      monitor{.commands = commands,
              .version = Version(),
              .before_reply = [this] { events.Pump(); },
              .check =
                  [this](const jobcore::qmp::Command& command) {
                    Log(LogLevel::kDebug, absl::StrCat("command ", std::string(command.name)));
                    return Refuse(command);
                  },
              .on_executed = [this] { core.main_context().wait_domain().Kick(); }},
      server(core.main_context(), monitor, std::move(options)),
      events(core, [this](const std::string& line) { server.SendEvent(line); }) {
  AddMiscCommands(commands, *this);
  AddNodeCommands(commands, *this);
  AddIOThreadCommands(commands, *this);
  AddJobCommands(commands, *this);
  AddBlockJobCommands(commands, *this);
  AddStartCommands(commands, *this);
  AddTransactionCommands(commands, *this);
  AddFullJobCommands(commands, *this);
  AddGroupCommands(commands, *this);
  AddSubscriptionCommands(commands, *this);
  AddDiagnosticCommands(commands, *this);
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

namespace {

bool IsQuery(std::string_view command) {
  return command.starts_with("query-") || command.starts_with("x-query-") || command == "x-subscribe";
}

}  // namespace

std::optional<jobcore::qmp::Error> Daemon::Refuse(const jobcore::qmp::Command& command) const {
  if (!ending_ || command.name == "quit" || IsQuery(command.name)) return std::nullopt;
  return jobcore::qmp::GenericError("The daemon is about to end");
}

Co<absl::Status> Daemon::EndAll(size_t callers, TimePoint deadline) {
  ending_callers_ += callers;
  if (std::exchange(ending_, true)) {  // somebody else sees to it, and does not wait for this one any more
    core.main_context().wait_domain().Kick();
    const auto going_on = [this] { return !ended_.has_value(); };
    const absl::Status waited = co_await AioWaitWhile(core, going_on, {.name = "end of all", .deadline = deadline});
    co_return waited.ok() ? *ended_ : waited;
  }
  ended_ = co_await EndEverything(deadline);
  core.main_context().wait_domain().Kick();
  co_return *ended_;
}

Co<absl::Status> Daemon::EndEverything(TimePoint deadline) {
  (void)jobcore::monitor::CancelAll(core);  // what commands under way may be waiting for
  const auto under_way = [this] { return monitor.executing > ending_callers_; };
  const absl::Status idle =
      co_await AioWaitWhile(core, under_way, {.name = "commands under way", .deadline = deadline});
  if (!idle.ok()) co_return idle;
  (void)jobcore::monitor::CancelAll(core);  // what they have begun
  const auto open = [this]() JOBCORE_EXCLUDES(jobcore::job_mutex) { return HasOpenJobs(core); };
  const absl::Status ended = co_await AioWaitWhile(core, open, {.name = "end of all jobs", .deadline = deadline});
  DismissAll(core);
  const absl::Status stopped = co_await StopNbdServer(deadline);
  co_return ended.ok() ? stopped : ended;
}

Co<absl::Status> Daemon::StopNbdServer(TimePoint deadline) {
  if (nbd == nullptr) co_return absl::OkStatus();
  std::shared_ptr<jobcore::nbd::Server> stopping = nbd;
  stopping->Shutdown();
  const auto busy = [&stopping] { return !stopping->stopped(); };
  const absl::Status stopped = co_await AioWaitWhile(core, busy, {.name = "NBD server", .deadline = deadline});
  if (stopped.ok() && nbd == stopping) nbd = nullptr;
  co_return stopped;
}

}  // namespace jobcored
