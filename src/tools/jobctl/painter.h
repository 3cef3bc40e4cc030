// SPDX-License-Identifier: Apache-2.0
//
// Painter: a few lines at the bottom of the terminal that are painted anew in place, above which text scrolls.

#ifndef JOBCORE_TOOLS_JOBCTL_PAINTER_H_
#define JOBCORE_TOOLS_JOBCTL_PAINTER_H_

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "tools/jobctl/status_line.h"

namespace jobctl {

// Any thread. While we are in the background of the shell, text is printed, but nothing is painted.
class Painter {
 public:
  explicit Painter(LineStyle style) : style_(style) {}
  ~Painter() { Clear(); }
  Painter(const Painter&) = delete;
  Painter& operator=(const Painter&) = delete;

  // How many lines there is room for.
  static size_t MostLines();

  // Replaces the lines at the bottom.
  void Paint(std::vector<StatusLine> lines);
  // Takes them away.
  void Clear() { Paint({}); }
  // A line that scrolls away.
  void Print(const StatusLine& line);
  // Whole lines, on standard error; they scroll away too if that is a terminal.
  void PrintError(std::string_view text);

 private:
  // With mutex_ held.
  size_t Rows() const;       // that painted_ takes up
  std::string Erase();       // what to write to the terminal
  std::string PaintLines();  // the same

  const LineStyle style_;
  std::mutex mutex_;
  std::vector<StatusLine> lines_;
  std::vector<size_t> painted_;  // columns of each line on the screen; the cursor is in the line below them
  size_t painted_in_ = 0;        // columns of the window then
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_PAINTER_H_
