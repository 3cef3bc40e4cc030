// SPDX-License-Identifier: Apache-2.0

#include <chrono>

#include "tools/jobcored/commands.h"
#include "tools/jobcored/daemon.h"

namespace jobcored {
namespace {

using jobcore::Co;
using jobcore::qmp::Arguments;
using jobcore::qmp::Reply;

// The answer comes when all jobs have ended; then the main loop gives its clients a moment to read it.
Co<Reply> Quit(Daemon& daemon) {
  const absl::Status ended = co_await daemon.EndAll(/*callers=*/1);
  daemon.core.QuitMainLoop();
  co_return ended;
}

}  // namespace

void AddMiscCommands(jobcore::qmp::CommandTable& table, Daemon& daemon) {
  table.Add("query-version", "the version of the protocol, and of this program", jobcore::qmp::kNoArguments,
            [](Arguments) { return Daemon::Version(); });
  table.Add({.name = "quit",
             .help = "cancels all jobs, and ends the program when they have ended",
             .handler = [&daemon](Arguments) { return Quit(daemon); }});
}

}  // namespace jobcored
