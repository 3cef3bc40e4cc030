// SPDX-License-Identifier: Apache-2.0
//
// Listening on a Unix socket: taking over the name of one that nobody serves any more, and never that of a live one.

#ifndef JOBCORE_QMP_UNIX_SOCKET_H_
#define JOBCORE_QMP_UNIX_SOCKET_H_

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "block/unique_fd.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

// A socket that does not block. Who may connect: whoever may write to a file of that `mode`.
//   AlreadyExists     somebody serves it
//   InvalidArgument   too long for a socket, or the name of something else
//   other             as bind(2) and listen(2) fail
absl::StatusOr<internal::UniqueFd> ListenOnUnixSocket(const std::string& path, mode_t mode = 0600);

// The user at the other end of a connection.
absl::StatusOr<uid_t> PeerUid(int fd);

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_UNIX_SOCKET_H_
