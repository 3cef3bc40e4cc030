// SPDX-License-Identifier: Apache-2.0
//
// Question: what somebody has to decide before the jobs go on.

#ifndef JOBCORE_TOOLS_JOBCTL_QUESTION_H_
#define JOBCORE_TOOLS_JOBCTL_QUESTION_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace jobctl {

// One way to go on.
struct Answer {
  char key;               // on a terminal; in a line of input, too
  std::string_view word;  // "finalize": what it does
  std::string_view does;  // "finalizes"
  std::function<void()> act;
};

// All that is no answer cancels.
struct Question {
  std::string_view name;  // "finalize", as programs read it
  std::string_view why;   // "all is copied"
  std::vector<std::string> jobs;
  std::vector<Answer> answers;  // the first one is meant by "yes", too
};

// For who answers with a line: "finalize disk0, disk1? [y/N]".
std::string ToString(const Question& question);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_QUESTION_H_
