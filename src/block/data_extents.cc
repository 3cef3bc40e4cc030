// SPDX-License-Identifier: Apache-2.0

#include "block/data_extents.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace jobcore::inline JOBCORE_ABI::internal {

std::optional<Extent> DataExtents::Next() {
  if (error_ != 0 || position_ >= size_) return std::nullopt;
  const off_t data = lseek(fd_, static_cast<off_t>(position_), SEEK_DATA);
  if (data < 0) {
    if (errno != ENXIO) error_ = errno;  // ENXIO: nothing but a hole up to the end
    position_ = size_;
    return std::nullopt;
  }
  const auto start = static_cast<uint64_t>(data);
  if (start >= size_) {
    position_ = size_;
    return std::nullopt;
  }
  const off_t hole = lseek(fd_, data, SEEK_HOLE);
  if (hole < 0 && errno != ENXIO) {  // ENXIO: truncated since; reading will tell
    error_ = errno;
    return std::nullopt;
  }
  position_ = hole < 0 ? size_ : std::min(static_cast<uint64_t>(hole), size_);
  return Extent{start, position_ - start};
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
