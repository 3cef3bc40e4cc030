// SPDX-License-Identifier: Apache-2.0
//
// LineReader: lines of standard input, one when asked for one, while the loop goes on.

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

  explicit LineReader(jobcore::AioContext& context)
      : context_(context), read_(context, "standard input", [this] { ReadOrFinish(); }) {}

  // Calls back once, later, unless this is destroyed before. Not before the last line has come.
  void Read(Callback callback);

 private:
  void ReadOrFinish();
  void OnReadable();
  bool FinishLine();
  void Finish(std::optional<std::string> line);

  jobcore::AioContext& context_;
  Callback callback_;
  std::string text_;  // that has been read, and not been asked for
  std::unique_ptr<jobcore::FdHandler> handler_;
  jobcore::BottomHalf read_;  // what is there already, and what epoll refuses: plain files, /dev/null
};

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_LINE_READER_H_
