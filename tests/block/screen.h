// SPDX-License-Identifier: Apache-2.0
//
// Screen: what a terminal shows of what is written to it. It knows the few codes that jobctl uses, and takes offence
// at all others.

#ifndef JOBCORE_TESTS_BLOCK_SCREEN_H_
#define JOBCORE_TESTS_BLOCK_SCREEN_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace jobcore_test {

class Screen {
 public:
  Screen(size_t columns, size_t rows) : columns_(columns), rows_(rows) {}

  void Write(std::string_view bytes) {
    pending_.append(bytes);
    size_t done = 0;
    while (const size_t length = Take(std::string_view(pending_).substr(done))) done += length;
    pending_.erase(0, done);
  }
  // Does not wrap anew what is there.
  void Resize(size_t columns, size_t rows) {
    columns_ = columns;
    rows_ = rows;
  }

  // All that is on the screen and has scrolled off it, without the blanks at the end of lines.
  std::string Text() const {
    std::string text;
    for (const auto& line : lines_) {
      std::string row;
      for (const std::string& cell : line) row += cell;
      row.erase(row.find_last_not_of(' ') + 1);
      text += row + "\n";
    }
    return text;
  }
  // How often something has been painted: each time ends so that all below is cleared.
  int paintings() const { return paintings_; }
  int wrapped() const { return wrapped_; }  // lines longer than the window
  bool colored() const { return colored_; }

 private:
  // The length of the first unit of `text` that is complete; 0: there is none.
  size_t Take(std::string_view text) {
    if (text.empty()) return 0;
    const auto first = static_cast<unsigned char>(text[0]);
    if (first == '\x1b') return TakeCode(text);
    if (first == '\r') {
      column_ = 0;
      return 1;
    }
    if (first == '\n') {
      Down();
      return 1;
    }
    if (first == '\a') return 1;
    if (first == '\b') {
      column_ -= std::min<size_t>(column_, 1);
      return 1;
    }
    if (first == '\t') {  // echoed
      column_ = std::min((column_ / 8 + 1) * 8, columns_);
      return 1;
    }
    EXPECT_GE(first, 0x20) << "unknown control character";
    const size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (text.size() < length) return 0;
    if (column_ == columns_) {
      ++wrapped_;
      column_ = 0;
      Down();
    }
    auto& line = lines_[row_];
    if (line.size() <= column_) line.resize(column_ + 1, " ");
    line[column_++] = text.substr(0, length);
    return length;
  }
  size_t TakeCode(std::string_view text) {
    const size_t end = text.find_first_not_of("0123456789;", 2);
    if (text.size() < 3 || end == std::string_view::npos) return 0;
    const std::string parameter(text.substr(2, end - 2));
    const std::string code = std::string(text.substr(1, 1)) + text[end];
    auto& line = lines_[row_];
    if (code == "[m") {
      colored_ = true;
    } else if (code == "[G") {
      column_ = std::stoul(parameter) - 1;
    } else if (code == "[A") {
      const size_t top = lines_.size() > rows_ ? lines_.size() - rows_ : 0;
      row_ -= std::min(row_ - top, std::stoul(parameter));
    } else if (code == "[K" && parameter.empty()) {
      line.resize(std::min(line.size(), column_));
    } else if (code == "[K" && parameter == "2") {
      line.clear();
    } else if (code == "[J" && parameter.empty()) {
      line.resize(std::min(line.size(), column_));
      for (size_t row = row_ + 1; row < lines_.size(); ++row) lines_[row].clear();
      ++paintings_;
    } else {
      ADD_FAILURE() << "unknown code: ESC " << text.substr(1, end);
    }
    return end + 1;
  }
  void Down() {
    if (++row_ == lines_.size()) lines_.emplace_back();
  }

  size_t columns_;
  size_t rows_;
  std::vector<std::vector<std::string>> lines_{1};  // of cells
  size_t row_ = 0;
  size_t column_ = 0;
  std::string pending_;  // an incomplete unit
  int paintings_ = 0;
  int wrapped_ = 0;
  bool colored_ = false;
};

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_BLOCK_SCREEN_H_
