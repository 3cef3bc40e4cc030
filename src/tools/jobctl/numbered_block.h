// SPDX-License-Identifier: Apache-2.0
//
// A numbered block: what a client of a rehearsal writes. It says by itself which one it is, and of which run.

#ifndef JOBCORE_TOOLS_JOBCTL_NUMBERED_BLOCK_H_
#define JOBCORE_TOOLS_JOBCTL_NUMBERED_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace jobctl {

inline constexpr size_t kBlockBytes = 4096;

// Which one: no two that are written have the same number, offset and run.
struct BlockStamp {
  uint64_t run = 0;  // random: what an earlier rehearsal has left is not mistaken for this one's
  uint64_t offset = 0;
  uint64_t number = 0;
};

// All of its bytes follow from the stamp.
void FillBlock(const BlockStamp& stamp, std::span<std::byte, kBlockBytes> block);

// As gzip's and zlib's: so that others can check it, too.
uint32_t Crc32(std::span<const std::byte> data);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_NUMBERED_BLOCK_H_
