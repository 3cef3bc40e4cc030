// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_TOOLS_JOBCTL_EXPORT_COMMAND_H_
#define JOBCORE_TOOLS_JOBCTL_EXPORT_COMMAND_H_

#include <string>

#include "tools/jobctl/session.h"

namespace jobctl {

struct ExportCommand {
  std::string image;
  std::string name;    // that clients ask for; empty: the image's, without its folder
  std::string socket;  // where to listen: one of these two
  std::string port;
  std::string host;  // for the port; empty: the loopback
  bool read_only = false;
  bool direct = false;
  bool discard = false;
  bool sync = true;
  int io_threads = 1;  // 0: all in the main thread
  int max_connections = 0;
  SessionOptions::Engine engine = SessionOptions::Engine::kAuto;
};

// Lets other programs use an image until a signal comes. On the main thread of a process that has no other thread yet.
// Returns the exit status.
int RunExport(const ExportCommand& command);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_EXPORT_COMMAND_H_
