// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/line_reader.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace jobctl {

void LineReader::Read(Callback callback) {
  callback_ = std::move(callback);
  auto handler = jobcore::FdHandler::Create(context_, "standard input", STDIN_FILENO, jobcore::FdEvents::kReadable,
                                            [this](jobcore::FdEvents) { OnReadable(); });
  if (handler.ok()) handler_ = *std::move(handler);
  if (handler_ == nullptr || !text_.empty()) read_.Schedule();
}

void LineReader::ReadOrFinish() {
  if (!FinishLine() && handler_ == nullptr) OnReadable();
}

void LineReader::OnReadable() {
  std::array<char, 256> buffer{};
  const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
  if (n < 0 && (errno == EINTR || errno == EAGAIN) && handler_ != nullptr) return;
  if (n <= 0) return Finish(std::nullopt);
  text_.append(buffer.data(), static_cast<size_t>(n));
  if (!FinishLine() && handler_ == nullptr) read_.Schedule();
}

bool LineReader::FinishLine() {
  const size_t end = text_.find('\n');
  if (end == std::string::npos) return false;
  std::string line = text_.substr(0, end);
  text_.erase(0, end + 1);
  Finish(std::move(line));
  return true;
}

void LineReader::Finish(std::optional<std::string> line) {
  handler_.reset();
  Callback callback = std::move(callback_);
  callback(std::move(line));  // last: may destroy us
}

}  // namespace jobctl
