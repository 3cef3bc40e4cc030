// SPDX-License-Identifier: Apache-2.0
//
// DirtyBitmap: which chunks of a node have something about them that still has to be seen to: not yet copied, or
// changed since. One bit per chunk, and one word of every 64 words' worth above, so that finding the next one in a
// large image that is nearly clean does not walk it.

#ifndef JOBCORE_JOB_DRIVER_BLOCK_DIRTY_BITMAP_H_
#define JOBCORE_JOB_DRIVER_BLOCK_DIRTY_BITMAP_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::block {

// Not thread-safe.
class DirtyBitmap {
 public:
  struct Range {
    uint64_t offset = 0;  // bytes; a multiple of the granularity
    uint64_t length = 0;  // bytes; ends at a chunk's end, or the node's
  };

  // All clean. `size`: bytes. `granularity`: bytes per chunk, a power of two.
  DirtyBitmap(uint64_t size, uint64_t granularity);

  uint64_t size() const { return size_; }
  uint64_t granularity() const { return uint64_t{1} << shift_; }
  // Of the dirty chunks. The last one may be shorter than the others.
  uint64_t dirty_bytes() const;
  bool clean() const { return dirty_chunks_ == 0; }

  // Every chunk that the range touches.
  void Set(uint64_t offset, uint64_t length);
  void SetAll() { Set(0, size_); }
  // Those that the range touches.
  void Clear(uint64_t offset, uint64_t length);
  // Those that lie in the range as a whole.
  void ClearWhole(uint64_t offset, uint64_t length);
  bool IsDirty(uint64_t offset) const;
  bool AnyDirty(uint64_t offset, uint64_t length) const;

  // The first dirty chunks from that of `from` on, those that follow each other as one range, of at most `max` bytes
  // (but always of one chunk). None from the end of the node on, where a last chunk that is shorter ends.
  std::optional<Range> Next(uint64_t from, uint64_t max) const;

 private:
  static constexpr size_t kBits = 64;
  uint64_t ChunksOf(uint64_t bytes) const { return (bytes + granularity() - 1) >> shift_; }
  void Mark(uint64_t first, uint64_t end, bool dirty);
  std::optional<uint64_t> FirstDirty(uint64_t from) const;
  Range ToRange(uint64_t first, uint64_t end) const;

  const uint64_t size_;
  const unsigned shift_;
  uint64_t dirty_chunks_ = 0;
  std::vector<uint64_t> chunks_;   // a bit each
  std::vector<uint64_t> summary_;  // a bit for each word of those: it is not 0
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_JOB_DRIVER_BLOCK_DIRTY_BITMAP_H_
