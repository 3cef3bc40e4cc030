// SPDX-License-Identifier: Apache-2.0

#include "qmp/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"

namespace jobcore::inline JOBCORE_ABI::qmp {
namespace {

using internal::FileError;
using internal::Quoted;
using internal::UniqueFd;

UniqueFd NewSocket() { return UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

// Makes room for a new socket.
absl::Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat found;
  if (lstat(path.c_str(), &found) != 0) {
    return errno == ENOENT ? absl::OkStatus() : FileError("cannot look at", path, errno);
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen on ", Quoted(path), ": it is not a socket"));
  }
  const UniqueFd probe = NewSocket();
  if (!probe) return FileError("cannot make a socket for", path, errno);
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN) {
    return absl::AlreadyExistsError(absl::StrCat("cannot listen on ", Quoted(path), ": somebody does"));
  }
  if (errno != ECONNREFUSED) return FileError("cannot tell whether somebody listens on", path, errno);
  if (unlink(path.c_str()) != 0) return FileError("cannot remove", path, errno);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> ListenOnUnixSocket(const std::string& path, mode_t mode) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen on ", Quoted(path), ": a socket's name has 1 to ",
                                                   sizeof address.sun_path - 1, " bytes"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (absl::Status s = RemoveStale(path, address); !s.ok()) return s;

  UniqueFd listener = NewSocket();
  if (!listener) return FileError("cannot make a socket for", path, errno);
  // The mode of the socket itself is what its name is made with.
  if (fchmod(listener.get(), mode) != 0) return FileError("cannot protect", path, errno);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return FileError("cannot listen on", path, errno);
  }
  // The umask has taken away from that; nobody has been able to connect so far.
  if (chmod(path.c_str(), mode) != 0) return FileError("cannot protect", path, errno);
  if (listen(listener.get(), SOMAXCONN) != 0) return FileError("cannot listen on", path, errno);
  return listener;
}

absl::StatusOr<uid_t> PeerUid(int fd) {
  ucred peer = {};
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return absl::ErrnoToStatus(errno, "cannot tell who has connected");
  }
  return peer.uid;
}

}  // namespace jobcore::inline JOBCORE_ABI::qmp
