// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_TOOLS_JOBCTL_PUT_H_
#define JOBCORE_TOOLS_JOBCTL_PUT_H_

#include <string_view>

namespace jobctl {

// Writes at once, past the buffers of stdio: whoever reads us acts on what we say. Errors are ignored: the jobs go on
// without an audience.
void Put(int fd, std::string_view text);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_PUT_H_
