// SPDX-License-Identifier: Apache-2.0

#include "aio/cached_read.h"

#include <sys/uio.h>

#include <cstddef>
#include <optional>

namespace jobcore::inline JOBCORE_ABI::internal {
namespace {

// Others wait for the thread meanwhile: some microseconds.
constexpr size_t kMost = size_t{16} * 1024;

}  // namespace

std::optional<IoResult> ReadFromCache(const IoRequest& request) {
  if (request.size == 0 || request.size > kMost) return std::nullopt;
  const iovec target = {.iov_base = request.buffer.data(), .iov_len = request.size};
  const ssize_t n = preadv2(request.fd, &target, 1, static_cast<off_t>(request.offset), RWF_NOWAIT);
  // A part is no use: what is missing may be the end of the file, or not be in the cache.
  if (n < 0 || static_cast<size_t>(n) != request.size) return std::nullopt;
  return IoResult{.bytes = request.size};
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
