// SPDX-License-Identifier: Apache-2.0
//
// jobctl: runs jobs from the command line.

#include <CLI/CLI.hpp>
#include <limits>
#include <map>
#include <string>

#include "job-driver/block/file_backup.h"
#include "tools/jobctl/backup_command.h"

#ifndef JOBCORE_VERSION  // set by the build
#define JOBCORE_VERSION "unversioned"
#endif

namespace {

using Options = jobcore::FileBackupOptions;

constexpr char kBackupFooter[] = R"(
Each target appears under its name complete and on stable storage, or not at all. Until then it
is a hidden file beside it, `.NAME.jobcore-XXXXXX`. Holes of a source stay holes.

With --group the targets appear together, after all have been copied, or none does. The file
system cannot rename several files at once, so only a crash between the renames can separate them.

With --finalize manual, jobctl asks on standard input when all is copied. Anything but `y` or
`yes`, the end of input too, cancels. (On a terminal it waits for a key instead.)

On a terminal, a line with a bar shows each job, and keys act on all: p pauses, r resumes, c cancels;
f finalizes, when --finalize manual asks. NO_COLOR=1 turns colours off; with TERM=dumb, or into a pipe
or a file, there are plain lines instead.

The first SIGINT, SIGTERM or SIGHUP cancels the jobs and waits until they have cleaned up. Another
SIGINT or SIGTERM exits at once: it removes the hidden files, but does not wait for requests that hang.
SIGUSR1 prints what every job waits for on standard error.

Exit status: 0 all done; 1 something failed; 2 bad input, nothing was written; 130 cancelled.)";

const std::map<std::string, jobctl::SessionOptions::Engine> kEngines = {
    {"auto", jobctl::SessionOptions::Engine::kAuto},
    {"uring", jobctl::SessionOptions::Engine::kUring},
    {"threads", jobctl::SessionOptions::Engine::kThreads},
};

void AddBackup(CLI::App& app, jobctl::BackupCommand& command) {
  jobctl::SessionOptions& session = command.session;
  CLI::App* const backup = app.add_subcommand("backup", "Copy files, such as disk images, as jobs");
  backup->footer(kBackupFooter);
  backup->add_option("SRC DST", session.paths, "Each source, followed by its target")->type_name("")->required();
  backup->add_flag("--group", session.group, "All or nothing: one failure aborts all");
  backup->add_option("--iothreads", session.io_threads, "Threads that drive jobs, in turn")
      ->type_name("N")
      ->check(CLI::Range(1, 64).description(""))
      ->capture_default_str();
  backup
      ->add_option_function<std::string>(
          "--finalize", [&session](const std::string& mode) { session.ask_to_finalize = mode == "manual"; },
          "Whether to ask before targets get their names")
      ->type_name("auto|manual")
      ->check(CLI::IsMember({"auto", "manual"}).description(""))
      ->default_str("auto");
  backup->add_flag("--force", command.force, "Replace targets that exist");
  backup->add_option("--in-flight", session.in_flight, "Chunks of a job copied at the same time")
      ->type_name("N")
      ->check(CLI::Range(1, Options::kMaxInFlight).description(""))
      ->capture_default_str();
  backup->add_option("--chunk", command.chunk_bytes, "Bytes per chunk; 64k, 1m, …")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->check(CLI::Range(Options::kMinChunkBytes, Options::kMaxChunkBytes).description(""))
      ->type_name("SIZE")
      ->default_str("1m");
  backup->add_option("--io-engine", session.engine, "What does the I/O; auto: io_uring if the kernel allows it")
      ->transform(CLI::CheckedTransformer(kEngines).description(""))
      ->type_name("auto|uring|threads")
      ->default_str("auto");
  backup
      ->add_option("--watchdog", session.watchdog_seconds,
                   "Say what hangs on standard error, when something has for so long")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 1e6).description(""));
  backup
      ->add_option("--speed", session.bytes_per_second,
                   "Bytes per second of each job at most; 500k, 20m, …; 0: no limit")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()).description(""))
      ->type_name("SIZE")
      ->default_str("0");
  backup->add_flag_callback(
      "--no-sync", [&command] { command.sync = false; },
      "Do not wait for stable storage: quicker, but a power failure may leave\n"
      "targets without their content");
  backup->add_flag("--json", session.json, "One JSON object per line instead of text");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs long-running jobs: start, watch, finalize, cancel", "jobctl");
  app.set_version_flag("--version", "jobctl " JOBCORE_VERSION);
  app.require_subcommand(1);
  jobctl::BackupCommand backup;
  AddBackup(app, backup);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? jobctl::kExitDone : jobctl::kExitUsage;
  }
  return jobctl::RunBackup(backup);
}
