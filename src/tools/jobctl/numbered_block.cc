// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/numbered_block.h"

#include <array>
#include <cstring>

namespace jobctl {
namespace {

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0);
    table[i] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

}  // namespace

void FillBlock(const BlockStamp& stamp, std::span<std::byte, kBlockBytes> block) {
  std::array<uint64_t, kBlockBytes / sizeof(uint64_t)> words{};
  words[0] = stamp.run;
  words[1] = stamp.offset;
  words[2] = stamp.number;
  uint64_t state = stamp.run ^ (stamp.offset << 20) ^ stamp.number;
  for (size_t i = 3; i < words.size(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    words[i] = state;
  }
  std::memcpy(block.data(), words.data(), block.size());
}

uint32_t Crc32(std::span<const std::byte> data) {
  uint32_t crc = ~uint32_t{0};
  for (const std::byte byte : data) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<uint32_t>(byte)) & 0xFF];
  return ~crc;
}

}  // namespace jobctl
