// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_BLOCK_FILE_KIND_H_
#define JOBCORE_BLOCK_FILE_KIND_H_

#include <sys/stat.h>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// What a file that should have been a regular one is instead.
inline const char* FileKind(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return "a directory, not a regular file";
    case S_IFBLK:
      return "a block device, not a regular file";
    case S_IFCHR:
      return "a character device, not a regular file";
    case S_IFIFO:
      return "a pipe, not a regular file";
    case S_IFSOCK:
      return "a socket, not a regular file";
    case S_IFLNK:
      return "a symbolic link, not a regular file";
    default:
      return "not a regular file";
  }
}

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_BLOCK_FILE_KIND_H_
