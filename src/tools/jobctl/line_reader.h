// SPDX-License-Identifier: Apache-2.0
//
// LineReader: one line of standard input, while the loop goes on.

#ifndef JOBCORE_TOOLS_JOBCTL_LINE_READER_H_
#define JOBCORE_TOOLS_JOBCTL_LINE_READER_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "job-common/aio_context.h"

namespace jobctl {

// On the home thread of the context.
class LineReader {
 public:
  // Gets the line without its end; nothing at the end of input.
  using Callback = absl::AnyInvocable<void(std::optional<std::string> line)>;

  // Calls back once, later, unless destroyed before.
  LineReader(jobcore::AioContext& context, Callback callback);

 private:
  void OnReadable();
  void Finish(std::optional<std::string> line);

  Callback callback_;
  std::string text_;
  std::unique_ptr<jobcore::FdHandler> handler_;
  jobcore::BottomHalf always_readable_;  // for what epoll refuses: plain files, /dev/null
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_LINE_READER_H_
