// SPDX-License-Identifier: Apache-2.0

#include "block/image_lock.h"

#include <fcntl.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"

namespace jobcore::inline JOBCORE_ABI::internal {
namespace {

// Bytes of the file, whether or not it has so many. As of QEMU's block/file-posix.c.
constexpr off_t kUses = 100;     // + permission: somebody uses it
constexpr off_t kRefuses = 200;  // + permission: somebody does not let others use it

enum Permission : int { kRead = 0, kWrite = 1, kResize = 3 };

struct flock ByteLock(off_t byte, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

// 0, or an errno.
int Share(int fd, off_t byte) {
  struct flock lock = ByteLock(byte, F_RDLCK);
  return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

// 0: nobody else has it. EAGAIN: somebody has.
int Test(int fd, off_t byte) {
  struct flock lock = ByteLock(byte, F_WRLCK);
  if (fcntl(fd, F_OFD_GETLK, &lock) != 0) return errno;
  return lock.l_type == F_UNLCK ? 0 : EAGAIN;
}

int LockAll(int fd, bool writes) {
  // First to say what we do, then to look what others do: of two who come at the same time at most one gets through.
  for (const int permission : {kRead, kWrite, kResize}) {
    if (permission != kRead && !writes) continue;
    if (const int error = Share(fd, kUses + permission); error != 0) return error;
  }
  for (const int permission : {kWrite, kResize}) {
    if (const int error = Share(fd, kRefuses + permission); error != 0) return error;
  }
  for (const int permission : {kRead, kWrite, kResize}) {
    if (permission != kRead && !writes) continue;
    if (const int error = Test(fd, kRefuses + permission); error != 0) return error;
  }
  for (const int permission : {kWrite, kResize}) {
    if (const int error = Test(fd, kUses + permission); error != 0) return error;
  }
  return 0;
}

}  // namespace

absl::Status LockImage(int fd, std::string_view filename, bool writes, bool required) {
  const int error = LockAll(fd, writes);
  if (error == 0) return absl::OkStatus();
  if (error == EAGAIN || error == EACCES) {
    return absl::FailedPreconditionError(absl::StrCat("cannot use ", Quoted(filename), writes ? " for writing" : "",
                                                      ": another process, or another node, ",
                                                      writes ? "uses it" : "writes to it"));
  }
  if (!required) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("cannot lock ", Quoted(filename), ": ", std::generic_category().message(error)));
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
