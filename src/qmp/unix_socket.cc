// SPDX-License-Identifier: Apache-2.0

#include "qmp/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
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

std::string LockPath(const std::string& path) { return path + ".lock"; }

bool IsNamed(int fd, const std::string& path) {
  struct stat opened = {}, named = {};
  return fstat(fd, &opened) == 0 && lstat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

// Who holds it may replace the socket. Whoever held it before may have removed it meanwhile: a lock on a file that has
// lost its name says nothing.
absl::StatusOr<UniqueFd> LockName(const std::string& path) {
  const std::string name = LockPath(path);
  for (;;) {
    UniqueFd lock(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock) return FileError("cannot make", name, errno);
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return FileError("cannot lock", name, errno);
      return absl::AlreadyExistsError(absl::StrCat("cannot listen on ", Quoted(path), ": somebody does"));
    }
    if (IsNamed(lock.get(), name)) return lock;
  }
}

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

absl::StatusOr<UnixListener> UnixListener::Open(const std::string& path, mode_t mode) {
  sockaddr_un address = {};
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen on ", Quoted(path), ": a socket's name has 1 to ",
                                                   sizeof address.sun_path - 1, " bytes"));
  }
  absl::StatusOr<UniqueFd> lock = LockName(path);
  if (!lock.ok()) return lock.status();
  UnixListener listener(path, *std::move(lock));
  if (absl::Status s = listener.Listen(mode); !s.ok()) return s;
  return listener;
}

absl::Status UnixListener::Listen(mode_t mode) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  if (absl::Status s = RemoveStale(path_, address); !s.ok()) return s;
  UniqueFd listener = NewSocket();
  if (!listener) return FileError("cannot make a socket for", path_, errno);
  // The mode of the socket itself is what its name is made with.
  if (fchmod(listener.get(), mode) != 0) return FileError("cannot protect", path_, errno);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return FileError("cannot listen on", path_, errno);
  }
  socket_ = std::move(listener);
  struct stat made = {};
  if (lstat(path_.c_str(), &made) == 0) {
    device_ = made.st_dev;
    inode_ = made.st_ino;
  }
  // The umask has taken away from that; nobody has been able to connect so far.
  if (chmod(path_.c_str(), mode) != 0) return FileError("cannot protect", path_, errno);
  if (listen(socket_.get(), SOMAXCONN) != 0) return FileError("cannot listen on", path_, errno);
  return absl::OkStatus();
}

UnixListener::~UnixListener() {
  if (!lock_) return;  // moved from
  struct stat found = {};
  const bool there = inode_ != 0 && lstat(path_.c_str(), &found) == 0;
  if (there && found.st_dev == device_ && found.st_ino == inode_) unlink(path_.c_str());
  unlink(LockPath(path_).c_str());  // still held: whoever comes now finds one without a name, or makes a new one
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
