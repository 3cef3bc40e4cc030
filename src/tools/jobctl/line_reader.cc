// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/line_reader.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace jobctl {

LineReader::LineReader(jobcore::AioContext& context, Callback callback)
    : callback_(std::move(callback)), always_readable_(context, "standard input", [this] { OnReadable(); }) {
  auto handler = jobcore::FdHandler::Create(context, "standard input", STDIN_FILENO, jobcore::FdEvents::kReadable,
                                            [this](jobcore::FdEvents) { OnReadable(); });
  if (handler.ok()) {
    handler_ = *std::move(handler);
  } else {
    always_readable_.Schedule();
  }
}

void LineReader::OnReadable() {
  std::array<char, 256> buffer{};
  const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN) && handler_ != nullptr) return;
  if (n <= 0) return Finish(std::nullopt);
  text_.append(buffer.data(), static_cast<size_t>(n));
  if (const size_t end = text_.find('\n'); end != std::string::npos) {
    return Finish(text_.substr(0, end));
  }
  if (handler_ == nullptr) always_readable_.Schedule();
}

void LineReader::Finish(std::optional<std::string> line) {
  handler_.reset();
  callback_(std::move(line));  // last: may destroy us
}

}  // namespace jobctl
