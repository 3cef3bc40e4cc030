// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/question.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "block/file_error.h"

namespace jobctl {

std::string ToString(const Question& question) {
  std::string text = absl::StrCat(jobcore::internal::ToAbsl(question.answers.front().word), " ",
                                  absl::StrJoin(question.jobs, ", "), "? [y/");
  for (size_t i = 1; i < question.answers.size(); ++i)
    absl::StrAppend(&text, std::string(1, question.answers[i].key), "/");
  return text + "N]";
}

}  // namespace jobctl
