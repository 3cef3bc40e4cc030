// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/remote_main.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "tools/jobctl/events_command.h"
#include "tools/jobctl/put.h"
#include "tools/jobctl/qmp_client.h"
#include "tools/jobctl/remote_copy.h"
#include "tools/jobctl/remote_verbs.h"
#include "tools/jobctl/session.h"
#include "tools/jobctl/shell_command.h"
#include "tools/jobctl/trace_command.h"
#include "tools/jobctl/watch_command.h"

#ifndef JOBCORE_VERSION  // set by the build
#define JOBCORE_VERSION "unversioned"
#endif

namespace jobctl {
namespace {

constexpr char kFooter[] = R"(
The daemon is jobcored, or another one that speaks QMP, such as qemu-storage-daemon; that one says less.

Exit status: 0 done; 1 refused, failed, or no connection; 2 bad input; 130 what was watched was cancelled.)";

constexpr char kCopyFooter[] = R"(
SRC and DST are nodes of the daemon, which have the same size. Each job is called what its DST is.
With --watch it stays until the jobs have ended, and its exit status says how; Ctrl-C leaves them alone.)";

constexpr char kWatchFooter[] = R"(
Ends when the jobs that are given have ended, however; Ctrl-C ends it, and not the jobs. Without a job
it shows all that there are, and will be.)";

constexpr char kEventsFooter[] = R"(
A lost connection is made again, and the events go on where they stopped: the daemon keeps those that
happened last. What is lost nevertheless is counted.)";

constexpr char kTraceFooter[] = R"(
The file is for ui.perfetto.dev, or chrome://tracing: a track for each job, with what it has been at, and
one for each thread, with the jobs that it has run. It has what the daemon still knows.)";

constexpr char kShellFooter[] = R"(
Each line is one of the other commands, with what follows it; `quit` ends it. On a terminal there are history
and completion. Its exit status is that of the last command.)";

// What a command does once there is a connection. The exit status.
using Action = std::function<absl::StatusOr<int>(QmpClient&)>;

Action WithoutResult(std::function<absl::Status(QmpClient&)> action) {
  return [action = std::move(action)](QmpClient& client) -> absl::StatusOr<int> {
    if (absl::Status s = action(client); !s.ok()) return s;
    return kExitDone;
  };
}

int Fail(const absl::Status& status) {
  const std::string_view text(status.message().data(), status.message().size());
  Put(STDERR_FILENO, absl::StrCat("jobctl: ", status.message(), text.ends_with('\n') ? "" : "\n"));
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitFailed;
}

// The options of all commands, and what is to be done.
struct CommandLine {
  std::string socket;
  std::string id;
  std::vector<std::string> ids;
  bool json = false;
  int64_t speed = 0;
  WatchOptions watch;
  EventsOptions events;
  int64_t retry_seconds = 10;
  RemoteCopy copy;
  bool watch_copy = false;
  bool complete = true;
  bool keep_copy = false;
  std::string trace_file;
  Action action;
  std::function<int()> offline;  // instead: what sees to its connections itself
};

void AddVerb(CLI::App& app, CommandLine& line, const char* verb, const char* description) {
  CLI::App* const command = app.add_subcommand(verb, description);
  command->add_option("ID", line.ids, "Which jobs")->type_name("")->required();
  command->callback([&line, verb = std::string(verb)] {
    line.action = WithoutResult([&line, verb](QmpClient& client) {
      for (const std::string& id : line.ids) {
        const absl::Status done = line.keep_copy ? KeepJob(client, id) : DoToJob(client, verb, id);
        if (!done.ok()) return absl::Status(done.code(), absl::StrCat(id, ": ", done.message()));
      }
      return absl::OkStatus();
    });
  });
  if (std::string_view(verb) == "cancel") {
    command->add_flag("--soft", line.keep_copy, "A mirror that is ready keeps its copy, and ends well");
  }
}

void AddVerbs(CLI::App& app, CommandLine& line) {
  AddVerb(app, line, "pause", "Stop jobs at their next pause point");
  AddVerb(app, line, "resume", "Let paused jobs go on");
  AddVerb(app, line, "cancel", "End jobs now, and what is in one group with them");
  AddVerb(app, line, "complete", "Let jobs that are ready come to their end: mirrors switch over");
  AddVerb(app, line, "finalize", "Make the result of pending jobs definite");
  AddVerb(app, line, "dismiss", "Forget concluded jobs");

  CLI::App* const speed = app.add_subcommand("set-speed", "Limit what a job does per second");
  speed->add_option("ID", line.id, "Which job")->type_name("")->required();
  speed->add_option("SPEED", line.speed, "Bytes per second; 500k, 20m, …; 0: no limit")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()).description(""))
      ->type_name("")
      ->required();
  speed->callback([&line] {
    line.action = WithoutResult([&line](QmpClient& client) { return SetJobSpeed(client, line.id, line.speed); });
  });
}

void AddQueries(CLI::App& app, CommandLine& line) {
  CLI::App* const list = app.add_subcommand("list", "All jobs, a line for each");
  list->add_flag("--json", line.json, "What the daemon says, one JSON object per line");
  list->callback(
      [&line] { line.action = WithoutResult([&line](QmpClient& client) { return ListJobs(client, line.json); }); });

  CLI::App* const show = app.add_subcommand("show", "All that there is to know about a job");
  show->add_option("ID", line.id, "Which job; it may have ended")->type_name("")->required();
  show->add_flag("--json", line.json, "What the daemon says, as JSON");
  show->callback([&line] {
    line.action = WithoutResult([&line](QmpClient& client) { return ShowJob(client, line.id, line.json); });
  });

  CLI::App* const watch = app.add_subcommand("watch", "Show jobs, live, until they have ended");
  watch->footer(kWatchFooter);
  watch->add_option("ID", line.watch.ids, "Which jobs (default: all)")->type_name("");
  watch->add_flag("--complete", line.watch.complete_ready, "Mirrors among them switch over when they are ready");
  watch->callback([&line] { line.action = [&line](QmpClient& client) { return Watch(client, line.watch); }; });

  CLI::App* const trace = app.add_subcommand("trace", "Write time lines of jobs and threads, for Perfetto");
  trace->footer(kTraceFooter);
  trace->add_option("FILE", line.trace_file, "Where to write them")->type_name("")->required();
  trace->callback([&line] {
    line.action = WithoutResult([&line](QmpClient& client) { return WriteTrace(client, line.trace_file); });
  });
}

// `app` has all the other commands.
void AddShell(CLI::App& app, CommandLine& line) {
  CLI::App* const shell = app.add_subcommand("shell", "These commands from a prompt");
  shell->footer(kShellFooter);
  shell->callback([&app, &line] {
    std::vector<std::string> names = {"quit"};
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
      if (command->get_name() != "shell") names.push_back(command->get_name());
    }
    line.offline = [&line, names = std::move(names)] { return RunShell(line.socket, names); };
  });
}

void AddEvents(CLI::App& app, CommandLine& line) {
  CLI::App* const events = app.add_subcommand("events", "What happens to jobs, a line for each event");
  events->footer(kEventsFooter);
  events->add_flag("--json", line.events.json, "One JSON object per line");
  events->add_option("--from", line.events.from, "The number of the first event (default: from now on)")
      ->type_name("SEQ")
      ->check(CLI::Range(uint64_t{1}, uint64_t{std::numeric_limits<int64_t>::max()}).description(""));
  events->add_option("--retry", line.retry_seconds, "How long to look for a daemon that has gone")
      ->type_name("SECONDS")
      ->check(CLI::Range(int64_t{0}, int64_t{86400}).description(""))
      ->capture_default_str();
  events->callback([&line] {
    line.events.socket = line.socket;
    line.events.retry = std::chrono::seconds(line.retry_seconds);
    line.offline = [&line] { return Fail(ShowEvents(line.events)); };
  });
}

void AddCopy(CLI::App& app, CommandLine& line, bool mirror) {
  CLI::App* const copy = mirror ? app.add_subcommand("mirror", "Copy nodes while they are written to, and switch over")
                                : app.add_subcommand("backup", "Copy nodes as they are at one moment");
  copy->footer(kCopyFooter);
  copy->add_option("SRC DST", line.copy.nodes, "Each source, followed by its target")->type_name("")->required();
  if (!mirror) copy->add_flag("--group", line.copy.group, "Together: of one moment, and one failure aborts all");
  copy->add_option("--speed", line.copy.bytes_per_second,
                   "Bytes per second of each job at most; 500k, 20m, …; 0: no limit")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()).description(""))
      ->type_name("SIZE")
      ->default_str("0");
  const auto add_asking = [copy](const char* option, bool& by_itself, const char* description) {
    copy->add_option_function<std::string>(
            option, [&by_itself](const std::string& mode) { by_itself = mode == "auto"; }, description)
        ->type_name("auto|manual")
        ->check(CLI::IsMember({"auto", "manual"}).description(""))
        ->default_str("auto");
  };
  add_asking("--finalize", line.copy.finalize, "Whether jobs wait for `finalize` before their result is definite");
  copy->add_flag("--keep", line.copy.keep, "Jobs that have ended stay in the list until they are dismissed");
  CLI::Option* const watch = copy->add_flag("--watch", line.watch_copy, "Show the jobs until they have ended");
  if (mirror) {
    copy->add_flag_callback(
        "--write-blocking", [&line] { line.copy.write_blocking = true; }, "Writers wait for the target, too");
    add_asking("--complete", line.complete, "With --watch: whether mirrors wait for `complete` when they are ready");
    copy->get_option("--complete")->needs(watch);
  }
  copy->callback([&line, mirror] {
    line.copy.mirror = mirror;
    line.action = [&line](QmpClient& client) -> absl::StatusOr<int> {
      const absl::StatusOr<std::vector<std::string>> ids = StartCopies(client, line.copy);
      if (!ids.ok()) return ids.status();
      if (!line.watch_copy) return kExitDone;
      const WatchOptions options = {.ids = *ids, .complete_ready = line.copy.mirror && line.complete};
      return Watch(client, options);
    };
  });
}

int Run(CommandLine& line) {
  if (line.offline) return line.offline();
  const absl::StatusOr<std::unique_ptr<QmpClient>> client = QmpClient::Connect(line.socket);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<int> status = line.action(**client);
  return status.ok() ? *status : Fail(status.status());
}

}  // namespace

// Options of jobctl itself come before the command.
bool IsRemote(int argc, char** argv) {
  for (int i = 1; i < argc && argv[i][0] == '-'; ++i) {
    if (std::string_view(argv[i]).starts_with("--connect")) return true;
  }
  return false;
}

int RemoteMain(int argc, char** argv) {
  CLI::App app("Controls the jobs of a daemon", "jobctl");
  app.footer(kFooter);
  app.set_version_flag("--version", "jobctl " JOBCORE_VERSION);
  app.require_subcommand(1);
  CommandLine line;
  app.add_option("--connect", line.socket, "The daemon's socket")->type_name("SOCKET")->required();
  AddQueries(app, line);
  AddVerbs(app, line);
  AddCopy(app, line, /*mirror=*/false);
  AddCopy(app, line, /*mirror=*/true);
  AddEvents(app, line);
  AddShell(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  return Run(line);
}

}  // namespace jobctl
