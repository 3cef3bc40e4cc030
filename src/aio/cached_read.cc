// SPDX-License-Identifier: Apache-2.0

#include "aio/cached_read.h"

#include <sys/uio.h>

#include <cstddef>

namespace jobcore::inline JOBCORE_ABI::internal {
namespace {

// Others wait for the thread meanwhile: some microseconds.
constexpr size_t kMost = size_t{16} * 1024;

}  // namespace

bool ReadFromCache(IoRequest& request) {
  if (!request.from_cache || request.size == 0 || request.size > kMost) return false;
  const iovec target = {.iov_base = request.buffer.data(), .iov_len = request.size};
  const ssize_t n = preadv2(request.fd, &target, 1, static_cast<off_t>(request.offset), RWF_NOWAIT);
  // A part is no use: what is missing may be the end of the file, or not be in the cache.
  if (n < 0 || static_cast<size_t>(n) != request.size) return false;
  request.Complete({.bytes = request.size});
  return true;
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
