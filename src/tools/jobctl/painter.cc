// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/painter.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/jobctl/put.h"
#include "tools/jobctl/terminal.h"

namespace jobctl {
namespace {

constexpr char kClearToEndOfLine[] = "\x1b[K";
constexpr char kClearLine[] = "\x1b[2K";
constexpr char kClearBelow[] = "\x1b[J";

// Code points, each a column: we print no wide ones, and no combining ones.
size_t Columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

size_t Painter::MostLines() { return std::max<size_t>(Window().rows, 2) - 1; }  // the cursor needs one

void Painter::Paint(std::vector<StatusLine> lines) {
  const std::scoped_lock lock(mutex_);
  if (!InForeground(STDOUT_FILENO)) lines.clear();
  lines_ = std::move(lines);
  Put(STDOUT_FILENO, lines_.empty() ? Erase() : PaintLines());
}

void Painter::Print(const StatusLine& line) {
  const std::scoped_lock lock(mutex_);
  std::string text = Erase();
  absl::StrAppend(&text, line.Fit(SIZE_MAX, style_), "\r\n", PaintLines());
  Put(STDOUT_FILENO, text);
}

void Painter::PrintError(std::string_view text) {
  const std::scoped_lock lock(mutex_);
  const bool shared = isatty(STDERR_FILENO) == 1;
  if (shared) Put(STDOUT_FILENO, Erase());
  Put(STDERR_FILENO, text);
  if (shared) Put(STDOUT_FILENO, PaintLines());
}

size_t Painter::Rows() const {
  const size_t width = Window().columns;
  size_t rows = 0;  // a window that has become narrower shows a line of before in several rows
  for (const size_t columns : painted_) rows += std::max<size_t>(1, (columns + width - 1) / width);
  return rows;
}

std::string Painter::Erase() {
  std::string text;
  if (!InForeground(STDOUT_FILENO)) {
    lines_.clear();  // the shell has written below them: they are not ours any more
  } else if (!painted_.empty()) {
    // Row by row: a terminal may remember which rows belong together, and join them again unless they were cleared.
    text = absl::StrCat("\r", kClearLine);
    for (size_t rows = Rows(); rows > 0; --rows) absl::StrAppend(&text, "\x1b[1A", kClearLine);
  }
  painted_.clear();
  return text;
}

// Over what is there, and in one write, so that it does not flicker.
std::string Painter::PaintLines() {
  if (lines_.empty()) return "";
  const size_t columns = Window().columns;
  const size_t width = std::max<size_t>(columns, 2) - 1;  // a full line might wrap
  std::string text = "\r";
  if (columns != painted_in_) {
    text = Erase();
  } else if (!painted_.empty()) {
    text = absl::StrCat("\x1b[", Rows(), "A\r");
  }
  painted_in_ = columns;
  painted_.clear();
  for (size_t i = 0; i < std::min(lines_.size(), MostLines()); ++i) {
    absl::StrAppend(&text, lines_[i].Fit(width, style_), kClearToEndOfLine, "\r\n");
    painted_.push_back(Columns(lines_[i].Fit(width, {.color = false, .utf8 = style_.utf8})));
  }
  return text += kClearBelow;  // what a larger block has left
}

}  // namespace jobctl
