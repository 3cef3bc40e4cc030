// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"

namespace jobctl {
namespace {

// Columns of the window, without the last one: a full line would wrap.
size_t Width() {
  winsize size{};
  return (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80) - 1;
}

size_t Rows() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1 ? size.ws_row : 24;
}

void Put(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// Code points of UTF-8: bytes that continue none.
size_t Columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string Cut(std::string_view text, size_t columns) {
  size_t end = 0;
  while (end < text.size() && (columns > 0 || (text[end] & 0xC0) == 0x80)) {
    if ((text[end] & 0xC0) != 0x80) --columns;
    ++end;
  }
  return std::string(text.substr(0, end));
}

std::string Bar(double fraction, size_t width) {
  const auto full = static_cast<size_t>(std::floor(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(width)));
  std::string bar;
  for (size_t i = 0; i < width; ++i) bar += i < full ? "█" : "░";
  return bar;
}

bool InForeground() { return tcgetpgrp(STDIN_FILENO) == getpgrp(); }

void SetMode(const termios& before) {
  termios mode = before;
  mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  mode.c_cc[VMIN] = 1;
  mode.c_cc[VTIME] = 0;
  tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
}

}  // namespace

bool CanPaint() {
  if (isatty(STDOUT_FILENO) != 1) return false;
  const char* const term = getenv("TERM");
  return term != nullptr && *term != '\0' && std::string_view(term) != "dumb";
}

bool WantsColor() {
  const char* const no = getenv("NO_COLOR");
  return no == nullptr || *no == '\0';
}

// --- StatusLine ---

StatusLine& StatusLine::Add(std::string text, int rank, std::string_view sgr) {
  const size_t width = Columns(text);
  columns_.push_back({std::move(text), width, rank, std::string(sgr)});
  return *this;
}

StatusLine& StatusLine::AddBar(double fraction, int rank, std::string_view sgr) {
  columns_.push_back({"", kMinBar, rank, std::string(sgr), fraction});
  return *this;
}

std::string StatusLine::Fit(size_t width, bool color) const {
  constexpr size_t kGap = 2;
  int most = 0;
  for (const Column& column : columns_) most = std::max(most, column.rank);
  size_t used = 0;
  for (;; --most) {
    used = 0;
    for (const Column& column : columns_) {
      if (column.rank <= most) used += column.width + (used > 0 ? kGap : 0);
    }
    if (used <= width || most == 0) break;
  }
  std::string line;
  size_t left = width;
  for (const Column& column : columns_) {
    if (column.rank > most || left == 0) continue;
    if (!line.empty()) {
      if (left <= kGap) break;
      line.append(kGap, ' ');
      left -= kGap;
    }
    std::string text = column.text;
    if (column.fraction >= 0) {
      const size_t room = width > used ? width - used : 0;
      text = Bar(column.fraction, std::min(kMaxBar, kMinBar + room));
    }
    text = Cut(text, left);
    left -= Columns(text);
    const bool painted = color && !column.sgr.empty();
    absl::StrAppend(&line, painted ? column.sgr : "", text, painted ? "\x1b[0m" : "");
  }
  return line;
}

// --- Painter ---

void Painter::Paint(const std::vector<StatusLine>& lines) {
  lines_ = lines;
  Send();
}

std::string Painter::Up() const {
  const size_t width = Width() + 1;
  size_t rows = 0;  // a window that has become narrower shows a line of before in several rows
  for (const size_t columns : painted_) rows += std::max<size_t>(1, (columns + width - 1) / width);
  return rows > 0 ? absl::StrCat("\x1b[", rows, "A\r") : "\r";
}

// The whole block in one write, so that nobody sees a half of it.
void Painter::Send() {
  const size_t width = Width();
  std::string text = Up();
  painted_.clear();
  for (size_t i = 0; i < std::min(lines_.size(), Rows() - 1); ++i) {
    absl::StrAppend(&text, lines_[i].Fit(width, color_), "\x1b[K\r\n");
    painted_.push_back(Columns(lines_[i].Fit(width, false)));
  }
  text += "\x1b[J";  // what a larger block has left
  Put(text);
}

void Painter::Print(std::string_view line) {
  std::string text = Up();
  text += "\x1b[J";
  text.append(line);
  text += "\r\n";
  painted_.clear();
  Put(text);
  if (!lines_.empty()) Send();
}

void Painter::Clear() {
  lines_.clear();
  if (!painted_.empty()) Send();
}

// --- Keys ---

std::unique_ptr<Keys> Keys::Create(jobcore::AioContext& context, Callback callback) {
  termios before{};
  if (isatty(STDIN_FILENO) != 1 || !InForeground() || tcgetattr(STDIN_FILENO, &before) != 0) return nullptr;
  std::unique_ptr<Keys> keys(new Keys(before, std::move(callback)));
  auto handler = jobcore::FdHandler::Create(context, "keys", STDIN_FILENO, jobcore::FdEvents::kReadable,
                                            [self = keys.get()](jobcore::FdEvents) { self->OnReadable(); });
  if (!handler.ok()) return nullptr;
  keys->handler_ = *std::move(handler);
  SetMode(before);
  return keys;
}

Keys::~Keys() { Restore(); }

void Keys::Continue() {
  if (InForeground()) SetMode(before_);
}

void Keys::Restore() {
  if (InForeground()) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
}

void Keys::OnReadable() {
  std::array<char, 64> keys{};
  const ssize_t n = read(STDIN_FILENO, keys.data(), keys.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n <= 0) {  // hung up: the jobs go on
    handler_.reset();
    return;
  }
  for (ssize_t i = 0; i < n; ++i) callback_(keys[static_cast<size_t>(i)]);
}

}  // namespace jobctl
