// SPDX-License-Identifier: Apache-2.0
//
// Stamps: numbered, checksummed sectors. Each says which write of which block it is from, so that what is found in a
// file tells what has become of every write.

#ifndef JOBCORE_TESTS_BLOCK_STAMP_H_
#define JOBCORE_TESTS_BLOCK_STAMP_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::block {

inline constexpr uint64_t kSectorBytes = 512;
inline constexpr uint64_t kBlockBytes = 4096;  // what clients write at least
inline constexpr uint64_t kBlockSectors = kBlockBytes / kSectorBytes;

// Every eighth write of a block is one of zeros, as is what was there before the first.
inline bool IsZeros(uint16_t number) { return number % 8 == 0; }

// What a sector holds: the number of a write, or one of these.
using Stamp = uint32_t;
inline constexpr Stamp kZeros = 0x10000;
inline constexpr Stamp kGarbage = 0x20000;

inline bool IsOf(Stamp stamp, uint16_t number) { return IsZeros(number) ? stamp == kZeros : stamp == number; }
// Of a write from `least` to `most`.
inline bool IsWithin(Stamp stamp, uint16_t least, uint16_t most) {
  if (stamp == kZeros) return most / 8 * 8 >= least;
  return stamp >= least && stamp <= most;
}
inline std::string ToString(Stamp stamp) {
  return stamp == kZeros ? "zeros" : stamp == kGarbage ? "garbage" : absl::StrCat("number ", stamp);
}

namespace stamp_internal {

inline constexpr size_t kWords = kSectorBytes / sizeof(uint64_t);

// The word `i` of a sector; the first one can be read back.
inline uint64_t Word(uint8_t disk, uint64_t sector, uint16_t number, size_t i) {
  const uint64_t id = uint64_t{0xB1} << 56 | uint64_t{disk} << 48 | sector << 16 | number;
  if (i == 0) return id;
  uint64_t word = (id + i) * 0x9E3779B97F4A7C15u;
  word = (word ^ word >> 31) * 0xBF58476D1CE4E5B9u;
  return word ^ word >> 29;
}

}  // namespace stamp_internal

// `sector`: its number in the disk.
inline void WriteStamp(std::span<std::byte> to, uint8_t disk, uint64_t sector, uint16_t number) {
  for (size_t i = 0; i < stamp_internal::kWords; ++i) {
    const uint64_t word = IsZeros(number) ? 0 : stamp_internal::Word(disk, sector, number, i);
    std::memcpy(&to[i * sizeof(word)], &word, sizeof(word));
  }
}
inline Stamp ReadStamp(std::span<const std::byte> from, uint8_t disk, uint64_t sector) {
  uint64_t words[stamp_internal::kWords];
  std::memcpy(words, from.data(), sizeof(words));
  if (std::all_of(std::begin(words), std::end(words), [](uint64_t word) { return word == 0; })) return kZeros;
  const auto number = static_cast<uint16_t>(words[0]);
  if (IsZeros(number)) return kGarbage;
  for (size_t i = 0; i < stamp_internal::kWords; ++i) {
    if (words[i] != stamp_internal::Word(disk, sector, number, i)) return kGarbage;
  }
  return number;
}
// Of whole sectors, from `first` on.
inline std::vector<Stamp> ReadStamps(std::span<const std::byte> data, uint8_t disk, uint64_t first) {
  std::vector<Stamp> stamps;
  stamps.reserve(data.size() / kSectorBytes);
  for (uint64_t at = 0; at + kSectorBytes <= data.size(); at += kSectorBytes) {
    stamps.push_back(ReadStamp(data.subspan(at, kSectorBytes), disk, first + at / kSectorBytes));
  }
  return stamps;
}

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_TESTS_BLOCK_STAMP_H_
