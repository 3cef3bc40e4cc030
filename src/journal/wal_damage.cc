// SPDX-License-Identifier: Apache-2.0

#include "journal/wal_damage.h"

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string_view>

namespace jobcore::inline JOBCORE_ABI::journal::internal {
namespace {

// https://www.sqlite.org/fileformat2.html#walformat
constexpr size_t kWalHeader = 32;
constexpr size_t kFrameHeader = 24;
constexpr uint32_t kMagic = 0x377f0682;  // and one more if the checksums are of big-endian words

uint32_t BigEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

struct Sum {
  uint32_t a = 0;
  uint32_t b = 0;
  bool operator==(const Sum&) const = default;

  void Add(std::string_view bytes, bool big_endian) {
    for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      a += Word(bytes.substr(i), big_endian) + b;
      b += Word(bytes.substr(i + 4), big_endian) + a;
    }
  }
  static uint32_t Word(std::string_view bytes, bool big_endian) {
    const uint32_t value = BigEndian(bytes);
    return big_endian ? value : __builtin_bswap32(value);
  }
};

Sum Stored(std::string_view bytes) { return {BigEndian(bytes), BigEndian(bytes.substr(4))}; }

}  // namespace

bool WalHasLostCommits(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::string_view wal = bytes;
  if (wal.size() < kWalHeader + kFrameHeader) return false;  // no commit in it
  const uint32_t magic = BigEndian(wal);
  const bool big_endian = (magic & 1) != 0;
  Sum sum;
  sum.Add(wal.substr(0, 24), big_endian);
  if ((magic & ~1u) != kMagic || sum != Stored(wal.substr(24))) return true;
  const size_t page = BigEndian(wal.substr(8));
  if (page < 512 || page > 65536) return true;
  const std::string_view salt = wal.substr(16, 8);
  bool damaged = false;
  Sum before = sum;
  for (size_t at = kWalHeader; at + kFrameHeader + page <= wal.size(); at += kFrameHeader + page) {
    const std::string_view frame = wal.substr(at, kFrameHeader + page);
    // A checksum goes on from the one before. Behind a damaged frame that is the one that it says it has.
    Sum is = before;
    is.Add(frame.substr(0, 8), big_endian);
    is.Add(frame.substr(kFrameHeader), big_endian);
    before = Stored(frame.substr(16));
    const bool good = frame.substr(8, 8) == salt && is == before;
    const bool commits = BigEndian(frame.substr(4)) != 0;
    if (good && damaged && commits) return true;
    if (!good) damaged = true;
  }
  return false;
}

}  // namespace jobcore::inline JOBCORE_ABI::journal::internal
