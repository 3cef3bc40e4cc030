// SPDX-License-Identifier: Apache-2.0
//
// The only place that knows libedit, by its interface of readline, which is made of global variables.

#include "tools/jobctl/line_editor.h"

#include <unistd.h>

#include <iostream>
#include <utility>

#ifdef JOBCTL_HAS_LIBEDIT
#include <editline/readline.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#endif

namespace jobctl {

#ifdef JOBCTL_HAS_LIBEDIT

namespace {

LineEditor::Candidates& CandidatesNow() {
  static LineEditor::Candidates& candidates = *new LineEditor::Candidates();
  return candidates;
}

char* NextMatch(const char* begin, int is_next) {
  static std::vector<std::string>& words = *new std::vector<std::string>();
  static size_t next = 0;
  if (is_next == 0) {
    const std::string_view line(rl_line_buffer, static_cast<size_t>(rl_point));
    const size_t first = line.find_first_not_of(' ');
    const size_t end = first == std::string_view::npos ? first : line.find(' ', first);
    words = CandidatesNow()(end == std::string_view::npos ? "" : line.substr(first, end - first));
    next = 0;
  }
  while (next < words.size()) {
    const std::string& word = words[next++];
    if (word.starts_with(begin)) return strdup(word.c_str());
  }
  return nullptr;
}

char** Complete(const char* begin, int, int) {
  rl_attempted_completion_over = 1;  // no names of files
  return rl_completion_matches(begin, NextMatch);
}

}  // namespace

LineEditor::LineEditor(std::string prompt, Candidates candidates)
    : prompt_(std::move(prompt)), interactive_(isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) {
  if (!interactive_) return;
  CandidatesNow() = std::move(candidates);
  rl_attempted_completion_function = Complete;
  using_history();
}

LineEditor::~LineEditor() { CandidatesNow() = nullptr; }

std::optional<std::string> LineEditor::Read() {
  if (interactive_) {
    const std::unique_ptr<char, decltype(&std::free)> line(readline(prompt_.c_str()), &std::free);
    if (line == nullptr) return std::nullopt;
    if (*line != '\0') add_history(line.get());
    return line.get();
  }
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  return line;
}

#else

LineEditor::LineEditor(std::string prompt, Candidates)
    : prompt_(std::move(prompt)), interactive_(isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1) {}

LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::Read() {
  if (interactive_) std::cout << prompt_ << std::flush;
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  return line;
}

#endif

}  // namespace jobctl
