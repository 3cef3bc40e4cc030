// SPDX-License-Identifier: Apache-2.0
//
// DataExtents: walks over what a sparse file really contains.

#ifndef JOBCORE_BLOCK_DATA_EXTENTS_H_
#define JOBCORE_BLOCK_DATA_EXTENTS_H_

#include <cstdint>
#include <optional>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

struct Extent {
  uint64_t offset = 0;
  uint64_t length = 0;  // never 0

  uint64_t end() const { return offset + length; }
};

// Between the extents are holes, which read as zeros. File systems that know no holes have one extent. It
// keeps a position, not a list: a file may have millions of extents.
class DataExtents {
 public:
  // The first `size` bytes of `fd`, whose file position it moves.
  DataExtents(int fd, uint64_t size) : fd_(fd), size_(size) {}

  // The next extent; nothing at the end, and after an error.
  std::optional<Extent> Next();
  int error() const { return error_; }  // errno, or 0

 private:
  const int fd_;
  const uint64_t size_;
  uint64_t position_ = 0;
  int error_ = 0;
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_BLOCK_DATA_EXTENTS_H_
