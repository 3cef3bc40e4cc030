// SPDX-License-Identifier: Apache-2.0
//
// StatusLine: a line in columns that fits itself into a window.

#ifndef JOBCORE_TOOLS_JOBCTL_STATUS_LINE_H_
#define JOBCORE_TOOLS_JOBCTL_STATUS_LINE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace jobctl {

// What the terminal shows.
struct LineStyle {
  bool color = true;
  bool utf8 = true;  // false: ASCII
};

// What does not fit is dropped, column by column, those of the highest rank first. Texts are ASCII; a
// column without text takes no room.
class StatusLine {
 public:
  // `rank`: a column of rank 0 is never dropped, but shortened in its middle. `sgr`: as in "\x1b[32m"; empty: plain.
  StatusLine& Add(std::string text, int rank, std::string_view sgr = "");
  // A bar that fills what the other columns leave, kMinBar to kMaxBar wide.
  StatusLine& AddBar(double fraction, int rank, std::string_view sgr = "");
  // At most `width` columns of the window.
  std::string Fit(size_t width, LineStyle style) const;

  static constexpr size_t kMinBar = 10;
  static constexpr size_t kMaxBar = 40;

 private:
  struct Column {
    std::string text;
    int rank;
    std::string sgr;
    double fraction = -1;  // of a bar
    size_t Least(size_t line_width) const;
    size_t Most() const;
    std::string Show(size_t width, bool utf8) const;
  };
  std::vector<Column> columns_;
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_STATUS_LINE_H_
