// SPDX-License-Identifier: Apache-2.0

#include "aio/range_copier.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <new>

namespace jobcore::inline JOBCORE_ABI::internal {
namespace {

// Whether copy_file_range would be nothing but the kernel's loop that moves page after page, with the target locked all
// the while. Reading and writing in turn takes more of the processors, but only the writing needs the lock, so that one
// thread can read while another one writes; and it writes larger pieces.
bool CopiesPageByPage(int to_fd) {
  struct statfs system;
  if (fstatfs(to_fd, &system) != 0) return false;
  return system.f_type == EXT4_SUPER_MAGIC /* of ext2 and ext3, too */ || system.f_type == TMPFS_MAGIC;
}

}  // namespace

IoResult RangeCopier::Copy(const IoRequest& request) {
  size_t done = 0;
  if (CopiesPageByPage(request.to_fd)) return CopyThroughBuffer(request, done);
  while (done < request.size) {
    auto offset = static_cast<off_t>(request.offset + done);
    auto to_offset = static_cast<off_t>(request.to_offset + done);
    const ssize_t n = copy_file_range(request.fd, &offset, request.to_fd, &to_offset, request.size - done, 0);
    if (n > 0) {
      done += static_cast<size_t>(n);
    } else if (n == 0) {
      break;
    } else if (errno == EXDEV) {
      return CopyThroughBuffer(request, done);
    } else if (errno != EINTR) {
      return {.bytes = done, .error = errno};
    }
  }
  return {.bytes = done};
}

IoResult RangeCopier::CopyThroughBuffer(const IoRequest& request, size_t done) {
  // As copy_file_range: there, pwrite takes no notice of the offset.
  if ((fcntl(request.to_fd, F_GETFL) & O_APPEND) != 0) return {.bytes = done, .error = EBADF};
  if (buffer_ == nullptr) buffer_.reset(new (std::nothrow) std::byte[kBufferBytes]);
  if (buffer_ == nullptr) return {.bytes = done, .error = ENOMEM};
  while (done < request.size) {
    const size_t size = std::min(kBufferBytes, request.size - done);
    const ssize_t got = pread(request.fd, buffer_.get(), size, static_cast<off_t>(request.offset + done));
    if (got == 0) break;
    if (got < 0) {
      if (errno == EINTR) continue;
      return {.bytes = done, .error = errno};
    }
    for (const size_t end = done + static_cast<size_t>(got), start = done; done < end;) {
      const ssize_t put = pwrite(request.to_fd, buffer_.get() + (done - start), end - done,
                                 static_cast<off_t>(request.to_offset + done));
      if (put > 0) {
        done += static_cast<size_t>(put);
      } else if (put == 0) {
        return {.bytes = done};
      } else if (errno != EINTR) {
        return {.bytes = done, .error = errno};
      }
    }
  }
  return {.bytes = done};
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
