// SPDX-License-Identifier: Apache-2.0
//
// jobcored: a storage daemon: I/O threads, nodes, jobs and exports, controlled by monitors that speak QMP.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "job-common/aio_wait.h"
#include "job-common/coroutine.h"
#include "job-monitor/job_wait.h"
#include "tools/jobcored/config_file.h"
#include "tools/jobcored/daemon.h"
#include "tools/jobcored/end_of_service.h"
#include "tools/jobcored/event_log.h"
#include "tools/jobcored/http_server.h"
#include "tools/jobcored/log.h"
#include "tools/jobcored/metrics.h"
#include "tools/jobcored/pidfile.h"
#include "tools/jobcored/supervisor.h"
#include "tools/jobctl/signals.h"

namespace jobcored {
namespace {

constexpr int kExitUsage = 2;

struct Options {
  std::vector<std::string> monitors;
  std::string config;
  std::string pidfile;
  std::string metrics;
  LogLevel log_level = LogLevel::kWarning;
  std::vector<uid_t> allowed_users;
  EndPolicy end;
  bool list_commands = false;
};

std::string SocketOf(const std::string& monitor) {
  constexpr std::string_view kUnix = "unix:";
  return monitor.starts_with(kUnix) ? monitor.substr(kUnix.size()) : std::string();
}

void AddOptions(CLI::App& app, Options& options) {
  app.set_version_flag("--version", "jobcored " JOBCORE_VERSION);
  app.add_option("--qmp", options.monitors, "Where monitors can connect; may be given several times")
      ->type_name("unix:PATH")
      ->check([](const std::string& text) { return SocketOf(text).empty() ? "expected unix:PATH" : ""; });
  app.add_option("--allow-uid", options.allowed_users,
                 "A user who may connect, besides root and the one that this runs as")
      ->type_name("UID");
  app.add_option("--config", options.config, "Commands to carry out first, as monitors would send them")
      ->type_name("FILE");
  std::map<std::string, LogLevel> levels;
  for (size_t i = 0; i < kLogLevelNames.size(); ++i) {
    levels.emplace(kLogLevelNames[i], static_cast<LogLevel>(i));
  }
  app.add_option("--log-level", options.log_level, "What is said on standard error, at least")
      ->transform(CLI::CheckedTransformer(std::move(levels)).description(""))
      ->type_name("debug|info|warning|error|off")
      ->default_str("warning");
  app.add_option("--metrics", options.metrics, "Where Prometheus can ask for metrics, over HTTP, at /metrics")
      ->type_name("unix:PATH|127.0.0.1:PORT");
  app.add_option("--pidfile", options.pidfile, "Where to write the process's id, when it can be used")
      ->type_name("FILE");
  app.add_flag("--finish", options.end.finish,
               "On SIGTERM or SIGINT, let jobs finish before the deadline; otherwise they are cancelled at once");
  app.add_option("--deadline", options.end.seconds, "Seconds that jobs have to end after such a signal")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 86400).description(""))
      ->default_str("30");
  app.add_flag("--list-commands", options.list_commands, "What the monitors understand, as Markdown, and exit");
}

void TellSupervisor(std::string_view state) {
  const absl::Status told = NotifySupervisor(state);
  if (!told.ok()) Log(LogLevel::kWarning, std::string(told.message()));
}

// A signal ends the service; a second one does not wait for jobs any more.
class Terminator {
 public:
  Terminator(Daemon& daemon, const EndPolicy& policy) : daemon_(daemon), policy_(policy) {}

  void OnSignal(int signal) JOBCORE_EXCLUDES(jobcore::job_mutex) {
    if (signal == SIGTSTP) return jobctl::ActOnSignal(signal);
    if (signal != SIGTERM && signal != SIGINT && signal != SIGHUP && signal != SIGQUIT) return;
    if (std::exchange(ending_, true)) {
      Log(LogLevel::kWarning, "told to end once more: jobs are cancelled");
      policy_.finish = false;
      (void)jobcore::monitor::CancelAll(daemon_.core);
      return;
    }
    Log(LogLevel::kInfo, absl::StrCat("told to end by signal ", signal));
    TellSupervisor("STOPPING=1");
    jobcore::Spawn("end of service", End());
  }
  ExitCode exit_code() const { return exit_code_; }

 private:
  jobcore::Co<void> End() JOBCORE_EXCLUDES(jobcore::job_mutex) {
    exit_code_ = co_await EndService(daemon_, policy_);
    daemon_.core.QuitMainLoop();
  }

  Daemon& daemon_;
  EndPolicy policy_;
  bool ending_ = false;
  ExitCode exit_code_ = ExitCode::kDone;
};

// What there is besides the daemon itself.
struct Service {
  std::optional<Pidfile> pidfile;
  std::unique_ptr<HttpServer> metrics;
};

// What is configured is there before anybody can see it; and nothing is done if another one is at it already.
absl::Status Open(Daemon& daemon, Metrics& metrics, const Options& options, Service& service)
    JOBCORE_EXCLUDES(jobcore::job_mutex) {
  if (!options.pidfile.empty()) {
    absl::StatusOr<Pidfile> pidfile = Pidfile::Create(options.pidfile);
    if (!pidfile.ok()) return pidfile.status();
    service.pidfile.emplace(*std::move(pidfile));
  }
  if (!options.config.empty()) {
    if (absl::Status s = RunConfigFile(daemon, options.config); !s.ok()) return s;
  }
  if (!options.metrics.empty()) {
    auto listening = HttpServer::Listen(daemon.core.main_context(), options.metrics, "/metrics",
                                        [&metrics]() JOBCORE_EXCLUDES(jobcore::job_mutex) { return metrics.Text(); });
    if (!listening.ok()) return listening.status();
    service.metrics = *std::move(listening);
    Log(LogLevel::kInfo, "metrics are at " + service.metrics->address());
  }
  for (const std::string& monitor : options.monitors) {
    if (absl::Status s = daemon.server.Listen(SocketOf(monitor)); !s.ok()) return s;
    Log(LogLevel::kInfo, "monitors can connect to " + SocketOf(monitor));
  }
  return service.pidfile ? service.pidfile->Write() : absl::OkStatus();
}

// It has not come to serve anybody.
int GiveUp(Daemon& daemon, const absl::Status& why) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  std::cerr << "jobcored: " << why.message() << "\n";
  daemon.server.StopListening();
  bool ended = false;
  jobcore::Spawn("end of a failed start", [](Daemon& daemon, bool& ended) -> jobcore::Co<void> {
    (void)co_await daemon.EndAll(/*callers=*/0);
    ended = true;
    daemon.core.main_context().wait_domain().Kick();
  }(daemon, ended));
  (void)AioWaitWhileUnlocked(daemon.core, [&ended] { return !ended; }, {.name = "end of a failed start"});
  return kExitUsage;
}

int Serve(const Options& options) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  jobctl::BlockSignals();
  StartLog(options.log_level);
  jobcore::qmp::Server::Options server;
  server.allowed_users = options.allowed_users;
  Daemon daemon(std::move(server));
  if (options.list_commands) {
    std::cout << daemon.commands.Documentation();
    return 0;
  }
  const EventLog event_log(daemon.core);
  Terminator terminator(daemon, options.end);
  const absl::StatusOr<jobctl::SignalWatch> signals = jobctl::SignalWatch::Create(
      daemon.core.main_context(), [&terminator](int signal) { terminator.OnSignal(signal); });
  if (!signals.ok()) return GiveUp(daemon, signals.status());
  Metrics metrics(daemon);
  Service service;
  if (absl::Status s = Open(daemon, metrics, options, service); !s.ok()) return GiveUp(daemon, s);
  Log(LogLevel::kInfo, "ready");
  TellSupervisor("READY=1");
  daemon.core.RunMainLoop();

  TellSupervisor("STOPPING=1");  // if that has not been said yet
  // Clients have a moment to read the last answer.
  daemon.server.StopListening();
  const jobcore::TimePoint soon = daemon.core.main_context().clock().Now() + std::chrono::seconds(1);
  (void)AioWaitWhileUnlocked(daemon.core, [&daemon] { return !daemon.server.all_sent(); },
                             {.name = "last answers", .deadline = soon});
  // A job that does not let go of what it has cannot be taken apart under its feet.
  if (terminator.exit_code() == ExitCode::kStuck) {
    Log(LogLevel::kError, "some jobs did not end");
    service.pidfile.reset();
    _exit(static_cast<int>(ExitCode::kStuck));
  }
  Log(LogLevel::kInfo, "ended");
  return static_cast<int>(terminator.exit_code());
}

}  // namespace
}  // namespace jobcored

int main(int argc, char** argv) {
  CLI::App app("Serves images, and runs jobs on them, as monitors tell it", "jobcored");
  jobcored::Options options;
  jobcored::AddOptions(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : jobcored::kExitUsage;
  }
  if (options.monitors.empty() && !options.list_commands) {
    std::cerr << "jobcored: nobody could control it: give it a --qmp unix:PATH\n";
    return jobcored::kExitUsage;
  }
  return jobcored::Serve(options);
}
