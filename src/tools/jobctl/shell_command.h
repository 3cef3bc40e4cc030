// SPDX-License-Identifier: Apache-2.0
//
// `jobctl --connect SOCKET shell`: the commands of a client, from a prompt.

#ifndef JOBCORE_TOOLS_JOBCTL_SHELL_COMMAND_H_
#define JOBCORE_TOOLS_JOBCTL_SHELL_COMMAND_H_

#include <string>
#include <vector>

namespace jobctl {

// Each line is a command, carried out by a process of its own, so that Ctrl-C ends that alone. Until `quit`, or the end
// of input. Returns the exit status of the last one. `commands`: their names, for completion.
int RunShell(const std::string& socket, const std::vector<std::string>& commands);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_SHELL_COMMAND_H_
