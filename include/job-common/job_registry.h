// SPDX-License-Identifier: Apache-2.0
//
// The jobs of a core by their number: what is asked for most is to add a job, which nearly always has the highest
// number; to take one out; and to walk through them in order, in either direction, from a number that may be gone.

#ifndef JOBCORE_JOB_COMMON_JOB_REGISTRY_H_
#define JOBCORE_JOB_COMMON_JOB_REGISTRY_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/container/btree_map.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Chunks of up to 64 jobs in order, and a map that finds them. So a walk goes through contiguous memory, a chunk is
// allocated or freed once for many jobs, and however many there are, a change moves at most a chunk's entries. No
// locking of its own: part of a JobCore, under its job_mutex.
class JobRegistry {
 public:
  struct Entry {
    uint64_t number;
    Job* job;
  };

  class Iterator;

  size_t size() const { return size_; }
  // `number` is not there. Strong exception guarantee.
  void Insert(uint64_t number, Job* job);
  // Nothing if it is not there.
  void Erase(uint64_t number) noexcept;
  Job* Find(uint64_t number) const;  // null: not there

  Iterator begin() const;
  Iterator end() const;
  Iterator LowerBound(uint64_t number) const;  // the first that is not below it
  Iterator UpperBound(uint64_t number) const;  // the first above it

 private:
  struct Chunk {
    static constexpr size_t kCapacity = 64;

    size_t size() const { return last - first; }
    Entry* begin() { return entries.data() + first; }
    Entry* end() { return entries.data() + last; }
    // Where `number` is, or belongs.
    Entry* Position(uint64_t number) {
      return std::lower_bound(begin(), end(), number, [](const Entry& e, uint64_t n) { return e.number < n; });
    }
    bool IsBelow(uint64_t number) const { return first == last || entries[last - 1].number < number; }
    void Insert(const Entry& entry);  // not full
    void Erase(Entry* entry);
    void MoveToFront();
    void TakeAll(Chunk& next);  // of the one that follows; there is room for them

    // Entries [first, last): those that go at either end leave without moving the others.
    size_t first = 0;
    size_t last = 0;
    std::array<Entry, kCapacity> entries;
  };
  // By a number that is not above their own and is above those of the chunk before; the first one's is 0. None is
  // empty, but for the only one.
  using Chunks = absl::btree_map<uint64_t, std::unique_ptr<Chunk>>;

  // There is a chunk.
  Chunks::iterator ChunkFor(uint64_t number) { return std::prev(chunks_.upper_bound(number)); }
  Chunks::const_iterator ChunkFor(uint64_t number) const { return std::prev(chunks_.upper_bound(number)); }
  bool MergeWithNext(Chunks::iterator chunk);
  void RemoveEmpty(Chunks::iterator chunk);

  Chunks chunks_;
  size_t size_ = 0;
};

class JobRegistry::Iterator {
 public:
  const Entry& operator*() const { return *entry_; }
  const Entry* operator->() const { return entry_; }
  Iterator& operator++() {
    ++entry_;
    GoToNextChunkAtEnd();
    return *this;
  }
  Iterator& operator--() {
    if (chunk_ == chunks_->end() || entry_ == chunk_->second->begin()) entry_ = (--chunk_)->second->end();
    --entry_;
    return *this;
  }
  friend bool operator==(const Iterator& a, const Iterator& b) { return a.entry_ == b.entry_; }

 private:
  friend class JobRegistry;
  Iterator(const Chunks& chunks, Chunks::const_iterator chunk, Entry* entry)
      : chunks_(&chunks), chunk_(chunk), entry_(entry) {
    if (entry_ != nullptr) GoToNextChunkAtEnd();
  }
  void GoToNextChunkAtEnd() {
    if (entry_ != chunk_->second->end()) return;
    ++chunk_;
    entry_ = chunk_ == chunks_->end() ? nullptr : chunk_->second->begin();
  }

  const Chunks* chunks_;
  Chunks::const_iterator chunk_;
  Entry* entry_;  // null: at the end
};

inline void JobRegistry::Chunk::Insert(const Entry& entry) {
  Entry* const position = Position(entry.number);
  if (last < kCapacity) {
    std::move_backward(position, end(), end() + 1);
    ++last;
    *position = entry;
  } else {
    std::move(begin(), position, begin() - 1);
    --first;
    *(position - 1) = entry;
  }
}

inline void JobRegistry::Chunk::Erase(Entry* entry) {
  if (entry - begin() < end() - entry) {
    std::move_backward(begin(), entry, entry + 1);
    ++first;
  } else {
    std::move(entry + 1, end(), entry);
    --last;
  }
  if (first == last) first = last = 0;
}

inline void JobRegistry::Chunk::MoveToFront() {
  std::move(begin(), end(), entries.data());
  last = size();
  first = 0;
}

inline void JobRegistry::Chunk::TakeAll(Chunk& next) {
  MoveToFront();
  std::copy(next.begin(), next.end(), end());
  last += next.size();
}

inline void JobRegistry::Insert(uint64_t number, Job* job) {
  if (chunks_.empty()) chunks_.emplace(0, std::make_unique<Chunk>());
  Chunk* chunk = ChunkFor(number)->second.get();
  const bool at_end = chunk->IsBelow(number);
  if (at_end && chunk->last == Chunk::kCapacity && chunk->size() <= Chunk::kCapacity / 2) chunk->MoveToFront();
  if ((at_end ? chunk->last : chunk->size()) == Chunk::kCapacity) {
    Entry* const middle = at_end ? chunk->end() : chunk->begin() + Chunk::kCapacity / 2;
    auto added = std::make_unique<Chunk>();
    Chunk& upper = *added;
    chunks_.emplace(at_end ? number : middle->number, std::move(added));
    std::copy(middle, chunk->end(), upper.begin());
    upper.last = static_cast<size_t>(chunk->end() - middle);
    chunk->last -= upper.last;
    if (at_end || number > upper.begin()->number) chunk = &upper;
  }
  chunk->Insert({.number = number, .job = job});
  ++size_;
}

inline void JobRegistry::Erase(uint64_t number) noexcept {
  if (size_ == 0) return;
  const auto found = ChunkFor(number);
  Chunk& chunk = *found->second;
  Entry* const entry = chunk.Position(number);
  if (entry == chunk.end() || entry->number != number) return;
  chunk.Erase(entry);
  --size_;
  if (chunks_.size() == 1) return;
  if (chunk.size() == 0) {
    RemoveEmpty(found);
  } else if (chunk.size() <= Chunk::kCapacity / 4 && !MergeWithNext(found) && found != chunks_.begin()) {
    MergeWithNext(std::prev(found));
  }
}

inline void JobRegistry::RemoveEmpty(Chunks::iterator chunk) {
  if (chunk == chunks_.begin()) {  // the first one's number stays
    ++chunk;
    chunks_.begin()->second = std::move(chunk->second);
  }
  chunks_.erase(chunk);
}

// If both fill half a chunk at most: so that it takes many changes until one of them is split, or merged again.
inline bool JobRegistry::MergeWithNext(Chunks::iterator chunk) {
  const auto next = std::next(chunk);
  if (next == chunks_.end() || chunk->second->size() + next->second->size() > Chunk::kCapacity / 2) return false;
  chunk->second->TakeAll(*next->second);
  chunks_.erase(next);
  return true;
}

inline Job* JobRegistry::Find(uint64_t number) const {
  const Iterator found = LowerBound(number);
  return found != end() && found->number == number ? found->job : nullptr;
}

inline JobRegistry::Iterator JobRegistry::begin() const { return LowerBound(0); }

inline JobRegistry::Iterator JobRegistry::end() const { return {chunks_, chunks_.end(), nullptr}; }

inline JobRegistry::Iterator JobRegistry::LowerBound(uint64_t number) const {
  if (size_ == 0) return end();
  const auto chunk = ChunkFor(number);
  return {chunks_, chunk, chunk->second->Position(number)};
}

inline JobRegistry::Iterator JobRegistry::UpperBound(uint64_t number) const {
  return number == UINT64_MAX ? end() : LowerBound(number + 1);
}

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_JOB_COMMON_JOB_REGISTRY_H_
