// SPDX-License-Identifier: Apache-2.0
//
// LineEditor: lines from whoever sits at the terminal, with editing, history and completion where this was built with
// libedit; plain lines of standard input otherwise.

#ifndef JOBCORE_TOOLS_JOBCTL_LINE_EDITOR_H_
#define JOBCORE_TOOLS_JOBCTL_LINE_EDITOR_H_

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace jobctl {

// One at a time in a process.
class LineEditor {
 public:
  // What a word could be: `first` is that of its line, empty for that itself.
  using Candidates = std::function<std::vector<std::string>(std::string_view first)>;

  LineEditor(std::string prompt, Candidates candidates);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // Without its end; nothing: there are no more.
  std::optional<std::string> Read();

 private:
  const std::string prompt_;
  const bool interactive_;
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_LINE_EDITOR_H_
