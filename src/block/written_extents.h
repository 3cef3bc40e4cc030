// SPDX-License-Identifier: Apache-2.0
//
// WrittenExtents: what of a file is on its way to the medium, in the order in which it set out.

#ifndef JOBCORE_BLOCK_WRITTEN_EXTENTS_H_
#define JOBCORE_BLOCK_WRITTEN_EXTENTS_H_

#include <cstdint>
#include <deque>
#include <optional>

#include "block/data_extents.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// One thread at a time.
class WrittenExtents {
 public:
  // Small neighbours become one extent: each costs a request when it is taken.
  void Add(Extent extent) {
    bytes_ += extent.length;
    if (!extents_.empty() && extents_.back().end() == extent.offset && extents_.back().length < kEnough) {
      extents_.back().length += extent.length;
    } else {
      extents_.push_back(extent);
    }
  }

  // Takes the oldest one out, if at least `rest` bytes stay.
  std::optional<Extent> TakeOldest(uint64_t rest) {
    if (extents_.empty() || bytes_ - extents_.front().length < rest) return std::nullopt;
    const Extent oldest = extents_.front();
    extents_.pop_front();
    bytes_ -= oldest.length;
    return oldest;
  }

 private:
  static constexpr uint64_t kEnough = uint64_t{1} << 20;

  std::deque<Extent> extents_;
  uint64_t bytes_ = 0;  // of all of them
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_BLOCK_WRITTEN_EXTENTS_H_
