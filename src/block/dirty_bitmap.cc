// SPDX-License-Identifier: Apache-2.0

#include "job-driver/block/dirty_bitmap.h"

#include <algorithm>
#include <bit>

#include "aio/check.h"

namespace jobcore::inline JOBCORE_ABI::block {

DirtyBitmap::DirtyBitmap(uint64_t size, uint64_t granularity)
    : size_(size), shift_(static_cast<unsigned>(std::countr_zero(granularity))) {
  if (!std::has_single_bit(granularity)) internal::Die("DirtyBitmap: the granularity is no power of two");
  chunks_.resize((ChunksOf(size) + kBits - 1) / kBits);
  summary_.resize((chunks_.size() + kBits - 1) / kBits);
}

uint64_t DirtyBitmap::dirty_bytes() const {
  const uint64_t tail = size_ & (granularity() - 1);
  const bool short_one = tail != 0 && IsDirty(size_ - 1);
  return (dirty_chunks_ << shift_) - (short_one ? granularity() - tail : 0);
}

void DirtyBitmap::Mark(uint64_t first, uint64_t end, bool dirty) {
  while (first < end) {
    const uint64_t word = first / kBits;
    const uint64_t word_end = std::min(end, (word + 1) * kBits);
    const uint64_t count = word_end - first;
    const uint64_t mask = (count == kBits ? ~uint64_t{0} : (uint64_t{1} << count) - 1) << (first % kBits);
    const uint64_t before = chunks_[word];
    const uint64_t after = dirty ? before | mask : before & ~mask;
    chunks_[word] = after;
    dirty_chunks_ += static_cast<uint64_t>(std::popcount(after)) - static_cast<uint64_t>(std::popcount(before));
    const uint64_t bit = uint64_t{1} << (word % kBits);
    if (after != 0) {
      summary_[word / kBits] |= bit;
    } else {
      summary_[word / kBits] &= ~bit;
    }
    first = word_end;
  }
}

void DirtyBitmap::Set(uint64_t offset, uint64_t length) {
  if (length != 0) Mark(offset >> shift_, ChunksOf(offset + length), true);
}

void DirtyBitmap::Clear(uint64_t offset, uint64_t length) {
  if (length != 0) Mark(offset >> shift_, ChunksOf(offset + length), false);
}

void DirtyBitmap::ClearWhole(uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  Mark(ChunksOf(offset), end == size_ ? ChunksOf(end) : end >> shift_, false);
}

bool DirtyBitmap::IsDirty(uint64_t offset) const {
  const uint64_t chunk = offset >> shift_;
  return (chunks_[chunk / kBits] >> (chunk % kBits) & 1) != 0;
}

bool DirtyBitmap::AnyDirty(uint64_t offset, uint64_t length) const {
  if (length == 0) return false;
  const std::optional<uint64_t> first = FirstDirty(offset >> shift_);
  return first.has_value() && *first < ChunksOf(offset + length);
}

std::optional<uint64_t> DirtyBitmap::FirstDirty(uint64_t from) const {
  if (from >= ChunksOf(size_)) return std::nullopt;
  uint64_t word = from / kBits;
  if (const uint64_t rest = chunks_[word] >> (from % kBits); rest != 0) {
    return from + static_cast<uint64_t>(std::countr_zero(rest));
  }
  for (++word; word < chunks_.size();) {
    const uint64_t rest = summary_[word / kBits] >> (word % kBits);
    if (rest != 0) {
      word += static_cast<uint64_t>(std::countr_zero(rest));
      return word * kBits + static_cast<uint64_t>(std::countr_zero(chunks_[word]));
    }
    word = (word / kBits + 1) * kBits;
  }
  return std::nullopt;
}

DirtyBitmap::Range DirtyBitmap::ToRange(uint64_t first, uint64_t end) const {
  const uint64_t offset = first << shift_;
  return {.offset = offset, .length = std::min(end << shift_, size_) - offset};
}

std::optional<DirtyBitmap::Range> DirtyBitmap::Next(uint64_t from, uint64_t max) const {
  if (from >= size_) return std::nullopt;  // where a short last chunk ends, which is not that chunk's
  const std::optional<uint64_t> first = FirstDirty(from >> shift_);
  if (!first.has_value()) return std::nullopt;
  const uint64_t most = std::max<uint64_t>(max >> shift_, 1);
  uint64_t end = *first + 1;
  while (end - *first < most && end < ChunksOf(size_) && IsDirty(end << shift_)) ++end;
  return ToRange(*first, end);
}

}  // namespace jobcore::inline JOBCORE_ABI::block
