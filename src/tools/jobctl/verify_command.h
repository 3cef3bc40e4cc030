// SPDX-License-Identifier: Apache-2.0
//
// `jobctl verify`: looks for what a ledger says in an image.

#ifndef JOBCORE_TOOLS_JOBCTL_VERIFY_COMMAND_H_
#define JOBCORE_TOOLS_JOBCTL_VERIFY_COMMAND_H_

#include <string>

namespace jobctl {

struct VerifyCommand {
  std::string image;
  std::string ledger;
};

// Returns the exit status. Reads the file by itself, without a node: what it proves was written by those.
int RunVerify(const VerifyCommand& command);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_VERIFY_COMMAND_H_
