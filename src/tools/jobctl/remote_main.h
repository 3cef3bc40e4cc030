// SPDX-License-Identifier: Apache-2.0
//
// `jobctl --connect SOCKET …`: jobctl as a client of a daemon.

#ifndef JOBCORE_TOOLS_JOBCTL_REMOTE_MAIN_H_
#define JOBCORE_TOOLS_JOBCTL_REMOTE_MAIN_H_

namespace jobctl {

// Whether the command line is one of a client.
bool IsRemote(int argc, char** argv);

// The exit status.
int RemoteMain(int argc, char** argv);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_REMOTE_MAIN_H_
