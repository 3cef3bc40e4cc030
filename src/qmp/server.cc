// SPDX-License-Identifier: Apache-2.0

#include "qmp/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "block/unique_fd.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

Server::Server(AioContext& context, Monitor& monitor, Options options)
    : context_(context),
      monitor_(monitor),
      options_(std::move(options)),
      retry_(context, "monitor sockets", [this] { AcceptAgain(); }),
      sweep_(context, "monitor connections", [this] { Sweep(); }) {}

Server::~Server() { StopListening(); }

absl::Status Server::Listen(const std::string& path) {
  // For other users, the kernel's check is too coarse: MayConnect tells them apart.
  absl::StatusOr<UnixListener> socket = UnixListener::Open(path, options_.allowed_users.empty() ? 0600 : 0666);
  if (!socket.ok()) return socket.status();
  auto listener = std::make_unique<Listener>(Listener{.socket = *std::move(socket), .handler = nullptr});
  Listener& made = *listener;
  absl::StatusOr<std::unique_ptr<FdHandler>> handler = FdHandler::Create(
      context_, "monitor socket", made.socket.fd(), FdEvents::kReadable, [this, &made](FdEvents) { Accept(made); });
  if (!handler.ok()) return handler.status();
  made.handler = *std::move(handler);
  listeners_.push_back(std::move(listener));
  return absl::OkStatus();
}

void Server::Accept(Listener& listener) {
  constexpr Nanoseconds kRetry = std::chrono::milliseconds(100);
  // Those who are too many wait in the socket's queue, as do those for whom there is no descriptor.
  if (connections_.size() >= options_.max_clients) {
    (void)listener.handler->SetInterest(FdEvents::kNone);
    return;
  }
  internal::UniqueFd client(accept4(listener.socket.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!client) {
    const bool for_lack_of_something = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (!for_lack_of_something) return;
    (void)listener.handler->SetInterest(FdEvents::kNone);
    retry_.ArmAt(SaturatingAdd(context_.clock().Now(), kRetry));
    return;
  }
  if (!MayConnect(client.get())) return;
  connections_.push_back(std::make_unique<Connection>(context_, monitor_, std::move(client), options_.limits,
                                                      [this]() JOBCORE_EXCLUDES(job_mutex) { OnChange(); }));
}

bool Server::MayConnect(int fd) const {
  const absl::StatusOr<uid_t> user = PeerUid(fd);
  if (!user.ok()) return false;
  const std::vector<uid_t>& allowed = options_.allowed_users;
  return *user == 0 || *user == geteuid() || std::find(allowed.begin(), allowed.end(), *user) != allowed.end();
}

void Server::SendEvent(const std::string& line) {
  for (const std::unique_ptr<Connection>& connection : connections_) connection->SendEvent(line);
}

void Server::OnChange() {
  sweep_.Schedule();
  context_.wait_domain().Kick();
}

void Server::Sweep() {
  if (std::erase_if(connections_, [](const auto& connection) { return connection->closed(); }) > 0) AcceptAgain();
}

void Server::AcceptAgain() {
  for (const std::unique_ptr<Listener>& listener : listeners_) {
    (void)listener->handler->SetInterest(FdEvents::kReadable);
  }
}

bool Server::all_sent() const {
  return std::all_of(connections_.begin(), connections_.end(), [](const auto& c) { return c->all_sent(); });
}

void Server::StopListening() {
  retry_.Disarm();
  listeners_.clear();
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
