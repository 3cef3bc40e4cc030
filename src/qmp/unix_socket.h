// SPDX-License-Identifier: Apache-2.0
//
// UnixListener: a Unix socket under a name. It takes over the name of one that nobody serves any more, and never that
// of a live one; and when it goes, it takes the name with it, unless that is another one's by then.

#ifndef JOBCORE_QMP_UNIX_SOCKET_H_
#define JOBCORE_QMP_UNIX_SOCKET_H_

#include <sys/types.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "block/unique_fd.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

class UnixListener {
 public:
  // A socket that does not block. Who may connect: whoever may write to a file of that `mode`. Several processes that
  // open one name at a time are kept apart by a lock on "PATH.lock", which stays as long as the listener, so one of
  // them gets it, and the others are told so.
  //   AlreadyExists     somebody serves it
  //   InvalidArgument   too long for a socket, or the name of something else
  //   other             as bind(2) and listen(2) fail
  static absl::StatusOr<UnixListener> Open(const std::string& path, mode_t mode = 0600);
  ~UnixListener();  // the name is free
  UnixListener(UnixListener&&) noexcept = default;
  UnixListener& operator=(UnixListener&&) = delete;

  int fd() const { return socket_.get(); }

 private:
  UnixListener(std::string path, internal::UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
  absl::Status Listen(mode_t mode);

  std::string path_;
  internal::UniqueFd lock_;
  internal::UniqueFd socket_;
  dev_t device_ = 0;
  ino_t inode_ = 0;  // 0: it has no name
};

// The user at the other end of a connection.
absl::StatusOr<uid_t> PeerUid(int fd);

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_UNIX_SOCKET_H_
