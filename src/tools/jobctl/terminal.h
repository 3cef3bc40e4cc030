// SPDX-License-Identifier: Apache-2.0
//
// What there is to know about the terminal.

#ifndef JOBCORE_TOOLS_JOBCTL_TERMINAL_H_
#define JOBCORE_TOOLS_JOBCTL_TERMINAL_H_

#include <cstddef>

namespace jobctl {

// Whether standard output is a terminal on which lines can be painted anew: not TERM=dumb.
bool CanPaint();
// Whether that should be in colour: not if $NO_COLOR is set and not empty (no-color.org).
bool WantsColor();
// Whether the user's locale says that it shows UTF-8.
bool ShowsUtf8();

// The window of standard output, now.
struct WindowSize {
  size_t columns = 80;
  size_t rows = 24;
};
WindowSize Window();

// Whether the terminal behind `fd` is ours to read and paint: not while we are a background job of its shell. True if
// it is no shell's.
bool InForeground(int fd);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_TERMINAL_H_
