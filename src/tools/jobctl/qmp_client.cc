// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/qmp_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "qmp/json_text.h"
#include "tools/jobctl/json_member.h"

namespace jobctl {
namespace {

using jobcore::Clock;
using jobcore::TimePoint;
using jobcore::internal::Quoted;
using jobcore::internal::ToAbsl;
using jobcore::internal::UniqueFd;

// A daemon that serves one client at a time greets the next one when that has gone.
constexpr auto kGreetingTime = std::chrono::seconds(5);
constexpr size_t kLongestMessage = size_t{256} << 20;

// For poll(2): rounded up, so that it is not called again and again at the end.
int MillisecondsUntil(TimePoint deadline) {
  if (deadline == jobcore::kNoDeadline) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::System().Now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, INT_MAX));
}

absl::Status ErrorOf(const qmp::JsonObject& error) {
  const std::string text = StringMember(error, "desc");
  if (StringMember(error, "class") == "CommandNotFound") return absl::UnimplementedError(text);
  return absl::FailedPreconditionError(text);
}

}  // namespace

absl::StatusOr<std::unique_ptr<QmpClient>> QmpClient::Connect(const std::string& socket) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket.empty() || socket.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("cannot connect to ", Quoted(socket), ": a socket's name has 1 to ",
                                                   sizeof address.sun_path - 1, " bytes"));
  }
  std::memcpy(address.sun_path, socket.data(), socket.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    return absl::UnavailableError(
        absl::StrCat("cannot connect to ", Quoted(socket), ": ", std::generic_category().message(error)));
  }
  std::unique_ptr<QmpClient> client(new QmpClient(socket, std::move(fd)));
  if (absl::Status s = client->Negotiate(); !s.ok()) return s;
  return client;
}

absl::Status QmpClient::Negotiate() {
  const absl::StatusOr<qmp::JsonObject> greeting = Receive(Clock::System().Now() + kGreetingTime);
  if (absl::IsDeadlineExceeded(greeting.status())) {
    return Lost("it does not greet; it may be busy with another client");
  }
  if (!greeting.ok()) return greeting.status();
  if (greeting->Find("QMP") == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("at ", Quoted(name_), " there is nobody who speaks QMP"));
  }
  return Execute("qmp_capabilities").status();
}

absl::Status QmpClient::Lost(std::string_view why) const {
  return absl::UnavailableError(absl::StrCat("lost the connection to ", Quoted(name_), ": ", ToAbsl(why)));
}

absl::Status QmpClient::Send(const qmp::JsonObject& message) {
  const std::string line = qmp::WriteJson(message) + "\n";
  std::string_view left = line;
  while (!left.empty()) {
    const ssize_t n = send(socket_.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Lost(std::generic_category().message(errno));
    left.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<qmp::JsonObject> QmpClient::Receive(TimePoint deadline) {
  for (;;) {
    if (const size_t end = received_.find('\n', searched_); end != std::string::npos) {
      absl::StatusOr<qmp::JsonValue> message = qmp::ParseJson(std::string_view(received_).substr(0, end));
      received_.erase(0, end + 1);
      searched_ = 0;
      if (!message.ok()) return absl::InvalidArgumentError(absl::StrCat("what ", Quoted(name_), " says is no JSON"));
      if (qmp::JsonObject* const object = message->AsObject()) return std::move(*object);
      continue;
    }
    searched_ = received_.size();
    if (received_.size() > kLongestMessage) return Lost("it does not come to an end");
    pollfd readable = {.fd = socket_.get(), .events = POLLIN, .revents = 0};
    const int ready = poll(&readable, 1, MillisecondsUntil(deadline));
    if (ready < 0 && errno != EINTR) return Lost(std::generic_category().message(errno));
    if (ready == 0) return absl::DeadlineExceededError("nothing has come");
    if (ready < 0) continue;
    std::array<char, 65536> buffer;
    const ssize_t n = recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Lost(std::generic_category().message(errno));
    if (n == 0) return Lost("the daemon has closed it");
    received_.append(buffer.data(), static_cast<size_t>(n));
  }
}

absl::StatusOr<qmp::JsonValue> QmpClient::Execute(std::string_view command, qmp::JsonObject arguments) {
  qmp::JsonObject request = {{"execute", command}};
  if (!arguments.empty()) request.Set("arguments", std::move(arguments));
  if (absl::Status s = Send(request); !s.ok()) return s;
  for (;;) {
    absl::StatusOr<qmp::JsonObject> message = Receive(jobcore::kNoDeadline);
    if (!message.ok()) return message.status();
    if (qmp::JsonValue* const value = message->Find("return")) return std::move(*value);
    if (const qmp::JsonValue* const error = message->Find("error")) {
      const qmp::JsonObject* const object = error->AsObject();
      return object == nullptr ? absl::FailedPreconditionError("refused") : ErrorOf(*object);
    }
    events_.push_back(*std::move(message));
  }
}

absl::StatusOr<std::optional<qmp::JsonObject>> QmpClient::NextEvent(TimePoint deadline) {
  if (events_.empty()) {
    absl::StatusOr<qmp::JsonObject> event = Receive(deadline);
    if (absl::IsDeadlineExceeded(event.status())) return std::nullopt;
    if (!event.ok()) return event.status();
    return *std::move(event);
  }
  qmp::JsonObject event = std::move(events_.front());
  events_.pop_front();
  return event;
}

}  // namespace jobctl
