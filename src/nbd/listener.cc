// SPDX-License-Identifier: Apache-2.0

#include "nbd/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace jobcore::inline JOBCORE_ABI::nbd {
namespace {

using internal::UniqueFd;

constexpr int kBacklog = 64;

absl::Status Failed(const Address& address, const char* what, int error) {
  return absl::Status(absl::ErrnoToStatusCode(error),
                      absl::StrCat("cannot listen at ", address.ToString(), ": ", what,
                                   error == 0 ? "" : absl::StrCat(": ", std::generic_category().message(error))));
}

// Somebody has left this socket behind: nobody listens there.
bool IsStale(const sockaddr_un& name) {
  struct stat file = {};
  if (lstat(name.sun_path, &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
  const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe && connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0 &&
         errno == ECONNREFUSED;
}

std::string HostInUri(const std::string& host) {
  return host.find(':') != std::string::npos ? absl::StrCat("[", host, "]") : host;
}

}  // namespace

std::string Address::ToString() const {
  if (is_unix()) return absl::StrCat("nbd+unix:///?socket=", path);
  return absl::StrCat("nbd://", HostInUri(host.empty() ? "127.0.0.1" : host), ":", port);
}

absl::StatusOr<Listener> Listener::Open(const Address& address) {
  return address.is_unix() ? OpenUnix(address) : OpenInet(address);
}

absl::StatusOr<Listener> Listener::OpenUnix(const Address& address) {
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  if (address.path.size() >= sizeof(name.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen at ", address.ToString(), ": a name of more than ",
                                                   sizeof(name.sun_path) - 1, " bytes"));
  }
  std::memcpy(name.sun_path, address.path.data(), address.path.size());
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return Failed(address, "socket", errno);
  const auto bind_it = [&] {
    return bind(listener.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0 ? 0 : errno;
  };
  int error = bind_it();
  if (error == EADDRINUSE && IsStale(name) && unlink(name.sun_path) == 0) error = bind_it();
  if (error != 0) return Failed(address, "bind", error);
  Listener made(std::move(listener), address);
  struct stat file = {};
  if (lstat(name.sun_path, &file) == 0) {
    made.device_ = file.st_dev;
    made.inode_ = file.st_ino;
  }
  if (listen(made.fd(), kBacklog) != 0) return Failed(address, "listen", errno);
  return made;
}

absl::StatusOr<Listener> Listener::OpenInet(const Address& address) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  const std::string host = address.host.empty() ? "127.0.0.1" : address.host;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), address.port.c_str(), &hints, &found); error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen at ", address.ToString(), ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, freeaddrinfo);
  absl::Status failure;
  for (const addrinfo* info = list.get(); info != nullptr; info = info->ai_next) {
    UniqueFd listener(socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    constexpr int kOn = 1;
    if (!listener) {
      failure = Failed(address, "socket", errno);
      continue;
    }
    (void)setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof(kOn));
    if (bind(listener.get(), info->ai_addr, info->ai_addrlen) != 0) {
      failure = Failed(address, "bind", errno);
      continue;
    }
    if (listen(listener.get(), kBacklog) != 0) {
      failure = Failed(address, "listen", errno);
      continue;
    }
    sockaddr_storage bound = {};
    socklen_t size = sizeof(bound);
    char port[NI_MAXSERV];
    Address actual = Address::Inet(host, address.port);
    if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&bound), &size) == 0 &&
        getnameinfo(reinterpret_cast<const sockaddr*>(&bound), size, nullptr, 0, port, sizeof(port), NI_NUMERICSERV) ==
            0) {
      actual.port = port;
    }
    return Listener(std::move(listener), std::move(actual));
  }
  return failure;
}

Listener::~Listener() {
  if (!socket_ || inode_ == 0) return;
  struct stat file = {};
  if (lstat(address_.path.c_str(), &file) == 0 && file.st_dev == device_ && file.st_ino == inode_) {
    unlink(address_.path.c_str());
  }
}

int Listener::Accept(UniqueFd& connection) const {
  connection = UniqueFd(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection) return errno;
  if (address_.is_unix()) return 0;
  constexpr int kOn = 1;
  // Replies are short, and complete; and a client whose machine has gone is to be noticed some day.
  (void)setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &kOn, sizeof(kOn));
  (void)setsockopt(connection.get(), SOL_SOCKET, SO_KEEPALIVE, &kOn, sizeof(kOn));
  return 0;
}

}  // namespace jobcore::inline JOBCORE_ABI::nbd
