// SPDX-License-Identifier: Apache-2.0

#include "qmp/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

namespace jobcore::inline JOBCORE_ABI::qmp {

Connection::Connection(AioContext& context, Monitor& monitor, internal::UniqueFd socket, const Limits& limits,
                       absl::AnyInvocable<void()> on_change)
    : limits_(limits), on_change_(std::move(on_change)), socket_(std::move(socket)) {
  session_ = Session::Create(monitor, [this](const std::string& line) { Send(line); });
  session_->OnProgress([this] { Settle(); });
  session_->SetRoom([this] { return HasRoom(); });
  absl::StatusOr<std::unique_ptr<FdHandler>> handler = FdHandler::Create(
      context, "monitor connection", socket_.get(), interest_, [this](FdEvents events) { OnSocket(events); });
  if (handler.ok()) {
    handler_ = *std::move(handler);
    session_->Greet();
  } else {
    Close();
  }
}

Connection::~Connection() {
  Close();
  session_->DropEventSource();
}

void Connection::OnSocket(FdEvents events) {
  const bool was_reading = Has(interest_, FdEvents::kReadable);
  if (Has(events, FdEvents::kWritable)) Flush();
  if (!closed() && Has(events, FdEvents::kWritable) && HasRoom()) session_->OnRoom();
  if (!closed() && Has(events, FdEvents::kReadable) && was_reading) ReadSome();
  // Gone altogether: nobody would read an answer.
  if (!closed() && Has(events, FdEvents::kError) && (ended_ || !was_reading)) return Close();
  Settle();
}

// A little at a time: the requests in it are kept, however many.
void Connection::ReadSome() {
  std::array<char, 4096> buffer;
  const ssize_t got = recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got > 0) {
    session_->Feed(std::string_view(buffer.data(), static_cast<size_t>(got)));
  } else if (got == 0) {
    ended_ = true;
  } else if (errno != EAGAIN && errno != EINTR) {
    Close();
  }
}

void Connection::SendEvent(const std::string& line) {
  session_->SendEvent(line);
  if (unsent() > limits_.unsent + longest_) Close();
}

void Connection::Send(const std::string& line) {
  if (closed()) return;
  longest_ = std::max(longest_, line.size());
  output_.append(line).append("\r\n");
  Flush();
  Settle();
}

void Connection::Flush() {
  while (!closed() && unsent() > 0) {
    const ssize_t sent = send(socket_.get(), output_.data() + sent_, unsent(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) break;
    if (sent < 0) return Close();
    sent_ += static_cast<size_t>(sent);
  }
  // Moving what is left to the front is paid for by what has gone.
  if (sent_ >= output_.size() - sent_) {
    output_.erase(0, sent_);
    sent_ = 0;
  }
  if (!all_sent()) return;
  longest_ = 0;
  on_change_();
}

void Connection::Settle() {
  if (handler_ == nullptr) return;
  if (ended_ && session_->idle() && all_sent()) return Close();
  FdEvents wanted = FdEvents::kNone;
  if (!ended_ && session_->ready() && HasRoom()) wanted = wanted | FdEvents::kReadable;
  if (!all_sent()) wanted = wanted | FdEvents::kWritable;
  if (wanted == interest_) return;
  interest_ = wanted;
  if (!handler_->SetInterest(wanted).ok()) Close();
}

void Connection::Close() {
  if (closed()) return;
  session_->Close();
  session_->OnProgress([] {});
  handler_.reset();
  socket_ = internal::UniqueFd();
  on_change_();
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
