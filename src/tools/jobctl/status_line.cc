// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/status_line.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace jobctl {
namespace {

constexpr size_t kGap = 2;

// "nightly-database" in 9 columns: "nigh…base". Blanks at the end are only there to align.
std::string Shorten(const std::string& text, size_t width, bool utf8) {
  const size_t length = text.find_last_not_of(' ') + 1;
  if (length <= width || width < 3) return text.substr(0, width);
  const size_t tail = (width - 1) / 2;
  return text.substr(0, width - 1 - tail) + (utf8 ? "…" : "~") + text.substr(length - tail, tail);
}

std::string Bar(double fraction, size_t width, bool utf8) {
  const auto full = static_cast<size_t>(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(width));
  std::string bar;
  for (size_t i = 0; i < width; ++i) bar += i < full ? (utf8 ? "█" : "#") : (utf8 ? "░" : "-");
  return bar;
}

}  // namespace

StatusLine& StatusLine::Add(std::string text, int rank, std::string_view sgr) {
  columns_.push_back({std::move(text), rank, std::string(sgr)});
  return *this;
}

StatusLine& StatusLine::AddBar(double fraction, int rank, std::string_view sgr) {
  columns_.push_back({"", rank, std::string(sgr), std::max(fraction, 0.0)});
  return *this;
}

// Before others are dropped, a column of rank 0 gives way down to a fourth of the line.
size_t StatusLine::Column::Least(size_t line_width) const {
  if (fraction >= 0) return kMinBar;
  return rank == 0 ? std::min(text.size(), std::max<size_t>(3, line_width / 4)) : text.size();
}

size_t StatusLine::Column::Most() const { return fraction >= 0 ? kMaxBar : text.size(); }

std::string StatusLine::Column::Show(size_t width, bool utf8) const {
  return fraction >= 0 ? Bar(fraction, width, utf8) : Shorten(text, width, utf8);
}

std::string StatusLine::Fit(size_t width, LineStyle style) const {
  int most = 0;
  for (const Column& column : columns_) most = std::max(most, column.rank);
  size_t used = 0;
  for (;; --most) {
    used = 0;
    for (const Column& column : columns_) {
      const size_t least = column.rank <= most ? column.Least(width) : 0;
      if (least > 0) used += least + (used > 0 ? kGap : 0);
    }
    if (used <= width || most == 0) break;
  }

  // What is left goes to the texts of rank 0, then to the bars.
  std::vector<size_t> widths;
  widths.reserve(columns_.size());
  for (const Column& column : columns_) widths.push_back(column.Least(width));
  size_t room = width > used ? width - used : 0;
  for (const bool bars : {false, true}) {
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].rank > most || (columns_[i].fraction >= 0) != bars) continue;
      const size_t more = std::min(room, columns_[i].Most() - widths[i]);
      widths[i] += more;
      room -= more;
    }
  }

  std::string line;
  size_t left = width;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const Column& column = columns_[i];
    if (column.rank > most || widths[i] == 0) continue;
    if (!line.empty()) {
      if (left <= kGap) break;
      line.append(kGap, ' ');
      left -= kGap;
    }
    const size_t columns = std::min(widths[i], left);
    left -= columns;
    const std::string text = column.Show(columns, style.utf8);
    const bool painted = style.color && !column.sgr.empty();
    absl::StrAppend(&line, painted ? column.sgr : "", text, painted ? "\x1b[0m" : "");
  }
  return line;
}

}  // namespace jobctl
