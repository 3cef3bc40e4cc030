// SPDX-License-Identifier: Apache-2.0
//
// jobctl: runs jobs from the command line, or controls those of a daemon.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <map>
#include <string>

#include "job-common/error_policy.h"
#include "job-driver/block/file_backup.h"
#include "job-driver/block/mirror.h"
#include "tools/jobctl/backup_command.h"
#include "tools/jobctl/export_command.h"
#include "tools/jobctl/mirror_command.h"
#include "tools/jobctl/remote_main.h"
#include "tools/jobctl/verify_command.h"

#ifndef JOBCORE_VERSION  // set by the build
#define JOBCORE_VERSION "unversioned"
#endif

namespace {

using jobcore::OnError;
using FileBackup = jobcore::FileBackupOptions;
using CopyMode = jobcore::block::MirrorOptions::CopyMode;

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

constexpr char kMirrorFooter[] = R"(
Each target appears under its name when its copy is whole, or not at all. Until then it is a hidden
file beside it, `.NAME.jobcore-XXXXXX`, as large as the source and sparse. --force replaces a target
that exists: it stays as it is until then, and for good if the mirror fails. Whoever used the source
goes on with the target only when that has its name, so what is acknowledged to them is never in a
hidden file only; a crash in that very moment may leave what was replaced as one. A block device has no
second name: its content is overwritten, it must have the source's size, and a mounted one is refused.

With --group the targets appear together, at the end of all mirrors, or none does. The file system
cannot rename several files at once: a crash between the renames can separate them.

A mirror is READY when its target has all but what is being written just then. Then it is completed:
what is missing is copied while writes wait for a moment, and whoever used the source uses the
target from then on. With --complete manual jobctl asks on standard input first: `y` or `yes` switches
over; `k` keeps a copy of that moment, and everybody stays with the source; anything else cancels.

The images are locked, as QEMU does it: others that heed such locks can neither write to a source nor
use a target meanwhile. If somebody writes to a source nevertheless, the mirror fails, where the file
system tells: a file has another size, or another time of modification. So who writes to the source is this program: --writers N is a rehearsal. N clients write
numbered, checksummed blocks all over the source, which DESTROYS WHAT IS IN IT, follow the
switch-over, and write to the target for a moment. Then every write that was acknowledged to
them is looked for in the target. --ledger FILE lists these, for `jobctl verify`. (What others write then is
noticed by the size of the file only, or as lost blocks.)

On a terminal, keys act on all: p pauses, r resumes, c cancels, which takes away what was made;
s switches over and k keeps the copy, when --complete manual asks; f finalizes, when --finalize
manual asks. r also goes on after an error that has paused a job: --on-error stop needs a terminal.
Signals are as for `jobctl backup`.

Exit status: 0 all done; 1 something failed, or was lost; 2 bad input, nothing was written;
130 cancelled.)";

constexpr char kExportFooter[] = R"(
Any NBD client can use the image: nbdcopy, nbdinfo, qemu-img, qemu-io, fio, nbd-client. There is
neither encryption nor authentication: whoever can reach the socket, or the port, can use it. The
image is locked as QEMU does it, so that nobody else changes it meanwhile.

The first SIGINT, SIGTERM or SIGHUP disconnects the clients, ends what they have asked for, flushes
the image and exits; another SIGINT or SIGTERM exits at once.

Exit status: 0 ended by a signal; 1 something failed; 2 bad input.)";

constexpr char kVerifyFooter[] = R"(
Exit status: 0 all is there; 1 something is not, or somebody has modified the image meanwhile; 2 bad
input.)";

const std::map<std::string, jobctl::SessionOptions::Engine> kEngines = {
    {"auto", jobctl::SessionOptions::Engine::kAuto},
    {"uring", jobctl::SessionOptions::Engine::kUring},
    {"threads", jobctl::SessionOptions::Engine::kThreads},
};
const std::map<std::string, CopyMode> kCopyModes = {
    {"background", CopyMode::kBackground},
    {"write-blocking", CopyMode::kWriteBlocking},
};
const std::map<std::string, OnError> kOnErrors = {
    {"report", OnError::kReport},
    {"ignore", OnError::kIgnore},
    {"stop", OnError::kStop},
};

// Whether to ask, as "auto" and "manual".
void AddAsking(CLI::App* command, const char* option, bool& ask, const char* description) {
  command
      ->add_option_function<std::string>(
          option, [&ask](const std::string& mode) { ask = mode == "manual"; }, description)
      ->type_name("auto|manual")
      ->check(CLI::IsMember({"auto", "manual"}).description(""))
      ->default_str("auto");
}

// What all commands that run jobs have.
void AddSession(CLI::App* command, jobctl::SessionOptions& session) {
  command->add_option("SRC DST", session.paths, "Each source, followed by its target")->type_name("")->required();
  command->add_flag("--group", session.group, "Together: one failure aborts all");
  command->add_option("--iothreads", session.io_threads, "Threads that drive jobs, in turn")
      ->type_name("N")
      ->check(CLI::Range(1, 64).description(""))
      ->capture_default_str();
  command->add_option("--in-flight", session.in_flight, "Chunks of a job copied at the same time")
      ->type_name("N")
      ->check(CLI::Range(1, FileBackup::kMaxInFlight).description(""))
      ->capture_default_str();
  command->add_option("--io-engine", session.engine, "What does the I/O; auto: io_uring if the kernel allows it")
      ->transform(CLI::CheckedTransformer(kEngines).description(""))
      ->type_name("auto|uring|threads")
      ->default_str("auto");
  command
      ->add_option("--watchdog", session.watchdog_seconds,
                   "Say what hangs on standard error, when something has for so long")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 1e6).description(""));
  command
      ->add_option("--speed", session.bytes_per_second,
                   "Bytes per second of each job at most; 500k, 20m, …; 0: no limit")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()).description(""))
      ->type_name("SIZE")
      ->default_str("0");
  command->add_flag("--json", session.json, "One JSON object per line instead of text");
}

void AddNoSync(CLI::App* command, bool& sync) {
  command->add_flag_callback(
      "--no-sync", [&sync] { sync = false; },
      "Do not wait for stable storage: quicker, but a power failure may leave\n"
      "targets without their content");
}

CLI::App* AddBackup(CLI::App& app, jobctl::BackupCommand& command) {
  CLI::App* const backup = app.add_subcommand("backup", "Copy files, such as disk images, as jobs");
  backup->footer(kBackupFooter);
  AddSession(backup, command.session);
  AddAsking(backup, "--finalize", command.session.ask_to_finalize, "Whether to ask before targets get their names");
  backup->add_flag("--force", command.force, "Replace targets that exist");
  backup->add_option("--chunk", command.chunk_bytes, "Bytes per chunk; 64k, 1m, …")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->check(CLI::Range(FileBackup::kMinChunkBytes, FileBackup::kMaxChunkBytes).description(""))
      ->type_name("SIZE")
      ->default_str("1m");
  AddNoSync(backup, command.sync);
  return backup;
}

CLI::App* AddMirror(CLI::App& app, jobctl::MirrorCommand& command) {
  CLI::App* const mirror = app.add_subcommand("mirror", "Copy images while they are written to, and switch over");
  mirror->footer(kMirrorFooter);
  AddSession(mirror, command.session);
  AddAsking(mirror, "--complete", command.session.ask_to_complete, "Whether to ask before switching over");
  AddAsking(mirror, "--finalize", command.session.ask_to_finalize, "Whether to ask once more, when nothing can fail");
  mirror->add_flag("--force", command.force, "Replace targets that exist; overwrite block devices");
  mirror->add_option("--copy-mode", command.copy_mode, "Whether writers wait for the target, too")
      ->transform(CLI::CheckedTransformer(kCopyModes).description(""))
      ->type_name("background|write-blocking")
      ->default_str("background");
  constexpr uint64_t kLeast = 512, kMost = uint64_t{64} << 20;
  const CLI::Validator power_of_two(
      [](const std::string& text) {
        const uint64_t size = std::stoull(text);
        return (size & (size - 1)) == 0 ? std::string() : "Value " + text + " is not a power of two";
      },
      "");
  mirror->add_option("--granularity", command.granularity, "Bytes that are copied at least; a power of two")
      ->transform(CLI::AsSizeValue(false).description(""))
      ->check(CLI::Range(kLeast, kMost).description(""))
      ->check(power_of_two)
      ->type_name("SIZE")
      ->default_str("64k");
  mirror
      ->add_option("--on-error", command.on_error, "What errors of either image do; stop: pause the job, on a terminal")
      ->transform(CLI::CheckedTransformer(kOnErrors).description(""))
      ->type_name("report|ignore|stop")
      ->default_str("report");
  mirror->add_flag("--direct", command.direct, "Past the page cache");
  AddNoSync(mirror, command.sync);
  mirror->add_option("--writers", command.session.writers, "Rehearse, with N clients: DESTROYS WHAT IS IN SRC")
      ->type_name("N")
      ->check(CLI::Range(1, 64).description(""));
  mirror->add_option("--ledger", command.ledger, "Where to list what was acknowledged to the writers")
      ->type_name("FILE");
  return mirror;
}

CLI::App* AddExport(CLI::App& app, jobctl::ExportCommand& command) {
  CLI::App* const nbd = app.add_subcommand("export", "Let other programs use an image, by the NBD protocol");
  nbd->footer(kExportFooter);
  nbd->add_option("IMAGE", command.image, "What to export")->type_name("")->required();
  CLI::Option* const socket = nbd->add_option("--socket", command.socket, "Listen at a Unix socket")->type_name("PATH");
  CLI::Option* const port =
      nbd->add_option("--port", command.port, "Listen at a TCP port; 0: one that is free")->type_name("P");
  socket->excludes(port);
  nbd->add_option("--host", command.host, "For --port: the address to listen at (default: 127.0.0.1)")
      ->type_name("HOST")
      ->needs(port);
  nbd->add_option("--name", command.name, "What clients ask for (default: the name of the file)")->type_name("N");
  nbd->add_flag("--read-only", command.read_only, "Nobody is to write");
  nbd->add_flag("--direct", command.direct, "Past the page cache");
  nbd->add_flag("--discard", command.discard, "What clients trim is given back to the file system");
  nbd->add_flag_callback("--no-sync", [&command] { command.sync = false; }, "Flushes do nothing");
  nbd->add_option("--iothreads", command.io_threads, "Threads that serve clients; 0: the main one does, too")
      ->type_name("N")
      ->check(CLI::Range(0, 1).description(""))
      ->capture_default_str();
  nbd->add_option("--max-connections", command.max_connections, "Further ones wait; 0: no limit")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 20).description(""))
      ->capture_default_str();
  nbd->add_option("--io-engine", command.engine, "What does the I/O; auto: io_uring if the kernel allows it")
      ->transform(CLI::CheckedTransformer(kEngines).description(""))
      ->type_name("auto|uring|threads")
      ->default_str("auto");
  return nbd;
}

CLI::App* AddVerify(CLI::App& app, jobctl::VerifyCommand& command) {
  CLI::App* const verify = app.add_subcommand("verify", "Look for what a ledger of `jobctl mirror` lists in an image");
  verify->footer(kVerifyFooter);
  verify->add_option("IMAGE", command.image, "Where to look")->type_name("")->required();
  verify->add_option("LEDGER", command.ledger, "What to look for")->type_name("")->required();
  return verify;
}

}  // namespace

int main(int argc, char** argv) {
  if (jobctl::IsRemote(argc, argv)) return jobctl::RemoteMain(argc, argv);
  CLI::App app("Runs long-running jobs: start, watch, finalize, cancel", "jobctl");
  app.set_version_flag("--version", "jobctl " JOBCORE_VERSION);
  app.footer("jobctl --connect SOCKET COMMAND controls the jobs of a daemon: see jobctl --connect SOCKET --help");
  app.require_subcommand(1);
  jobctl::BackupCommand backup;
  jobctl::MirrorCommand mirror;
  jobctl::ExportCommand nbd;
  jobctl::VerifyCommand verify;
  const CLI::App* const backup_given = AddBackup(app, backup);
  const CLI::App* const mirror_given = AddMirror(app, mirror);
  const CLI::App* const export_given = AddExport(app, nbd);
  AddVerify(app, verify);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? jobctl::kExitDone : jobctl::kExitUsage;
  }
  if (backup_given->parsed()) return jobctl::RunBackup(backup);
  if (mirror_given->parsed()) return jobctl::RunMirror(mirror);
  if (export_given->parsed()) return jobctl::RunExport(nbd);
  return jobctl::RunVerify(verify);
}
