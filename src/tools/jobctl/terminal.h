// SPDX-License-Identifier: Apache-2.0
//
// The terminal: a few lines at its bottom that are painted anew in place, above which text scrolls; and its keys.

#ifndef JOBCORE_TOOLS_JOBCTL_TERMINAL_H_
#define JOBCORE_TOOLS_JOBCTL_TERMINAL_H_

#include <termios.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "job-common/aio_context.h"

namespace jobctl {

// Whether standard output is a terminal that can do this: not TERM=dumb.
bool CanPaint();
// Whether it should be in colour: not if $NO_COLOR is set and not empty (no-color.org).
bool WantsColor();

// A line in columns. What does not fit into the window is dropped, column by column, the least important first.
class StatusLine {
 public:
  // `rank`: 0 is never dropped (but cut off). `sgr`: as in "\x1b[32m"; empty: plain.
  StatusLine& Add(std::string text, int rank, std::string_view sgr = "");
  // A bar that fills what the other columns leave, at least kMinBar and at most kMaxBar wide.
  StatusLine& AddBar(double fraction, int rank, std::string_view sgr = "");
  // At most `width` columns; ASCII and box characters only, so one code point is one column.
  std::string Fit(size_t width, bool color) const;

  static constexpr size_t kMinBar = 6;
  static constexpr size_t kMaxBar = 40;

 private:
  struct Column {
    std::string text;
    size_t width;
    int rank;
    std::string sgr;
    double fraction = -1;  // a bar
  };
  std::vector<Column> columns_;
};

class Painter {
 public:
  explicit Painter(bool color) : color_(color) {}
  ~Painter() { Clear(); }
  Painter(const Painter&) = delete;
  Painter& operator=(const Painter&) = delete;

  // Replaces the lines at the bottom.
  void Paint(const std::vector<StatusLine>& lines);
  // A line of its own that scrolls away.
  void Print(std::string_view line);
  // Takes the lines at the bottom away.
  void Clear();

 private:
  void Send();
  // Code that goes up to the first of them.
  std::string Up() const;
  const bool color_;
  std::vector<StatusLine> lines_;
  std::vector<size_t> painted_;  // columns of the lines that are on the screen, the cursor in the line below them
};

// Single keys of standard input, without echo, for as long as it lives; signals work as ever. On the home thread.
class Keys {
 public:
  using Callback = absl::AnyInvocable<void(char key)>;
  // Null: standard input is no terminal, or not ours (a background process).
  static std::unique_ptr<Keys> Create(jobcore::AioContext& context, Callback callback);
  ~Keys();
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  // After the process has been stopped and continued: the shell has set the terminal to what it likes.
  void Continue();
  // As it was before; also for those who leave without destructors.
  void Restore();

 private:
  Keys(const termios& before, Callback callback) : before_(before), callback_(std::move(callback)) {}
  void OnReadable();

  const termios before_;
  Callback callback_;
  std::unique_ptr<jobcore::FdHandler> handler_;
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_TERMINAL_H_
