// SPDX-License-Identifier: Apache-2.0
//
// Magazines and a depot (Bonwick, 2001). A magazine is a list of up to kMagazine free blocks of one size. A thread has
// two of each size: one that it takes from and puts to, and one that is full or not there. So, whatever it does, it
// goes to the depot (which has a mutex) at most once in kMagazine times.

#include "job-common/block_pool.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <mutex>
#include <utility>

namespace jobcore::inline JOBCORE_ABI::internal {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define JOBCORE_POOL_BLOCKS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define JOBCORE_POOL_BLOCKS 0
#endif
#endif

#ifdef JOBCORE_POOL_BLOCKS

// A sanitizer finds the use of what has been freed only if it has been freed.
void* AllocateBlock(size_t size) { return ::operator new(size); }
void FreeBlock(void* block, size_t) noexcept { ::operator delete(block); }

#else

namespace {

constexpr size_t kSizes = 64;                     // what is larger than the largest of them is not kept
constexpr unsigned kMagazine = 32;                // blocks
constexpr size_t kDepotBytes = size_t{64} << 10;  // per size, at most

// glibc's sizes (24, 40, 56 ...): a block takes as much memory as it would without the pool.
constexpr size_t IndexOf(size_t size) { return (std::max<size_t>(size, 24) - 9) / 16; }
constexpr size_t SizeOf(size_t index) { return index * 16 + 24; }

struct Block {
  Block* next;           // in its magazine
  Block* next_magazine;  // of the first block of a magazine in the depot
};
static_assert(sizeof(Block) <= SizeOf(0) && IndexOf(SizeOf(0)) == 0 && IndexOf(SizeOf(7) + 1) == 8);

void FreeAll(Block* block) {
  while (block != nullptr) ::operator delete(std::exchange(block, block->next));
}

// Full magazines that a thread has no use for.
class Depot {
 public:
  // Null: none.
  Block* Take(size_t index) {
    Shelf& shelf = shelves_[index];
    const std::scoped_lock lock(shelf.mutex);
    if (shelf.first == nullptr) return nullptr;
    --shelf.magazines;
    return std::exchange(shelf.first, shelf.first->next_magazine);
  }
  void Put(size_t index, Block* magazine) {
    Shelf& shelf = shelves_[index];
    {
      const std::scoped_lock lock(shelf.mutex);
      if (shelf.magazines * kMagazine * SizeOf(index) < kDepotBytes) {
        ++shelf.magazines;
        magazine->next_magazine = std::exchange(shelf.first, magazine);
        return;
      }
    }
    FreeAll(magazine);
  }

 private:
  struct alignas(64) Shelf {
    std::mutex mutex;  // a leaf; guards the rest
    Block* first = nullptr;
    size_t magazines = 0;
  };
  std::array<Shelf, kSizes> shelves_;
};

Depot& TheDepot() {
  static Depot& depot = *new Depot;  // never destroyed: threads may outlive main()
  return depot;
}

// What a thread keeps of one size. All zero: not set up, or the thread is about to end; then every allocation and
// every free takes the slow way.
struct Bin {
  Block* first;   // the magazine in use
  unsigned room;  // for so many more in it
  Block* full;    // another, full one; or null
};

constinit thread_local std::array<Bin, kSizes> bins{};

// Gives back, at the end of the thread, what it kept.
class Keeper {
 public:
  Keeper() {
    for (Bin& bin : bins) bin.room = kMagazine;
  }
  ~Keeper() {
    ended = true;
    for (Bin& bin : bins) {
      FreeAll(bin.first);
      FreeAll(bin.full);
      bin = {};
    }
  }
  // False: the thread is about to end, and keeps nothing any more.
  static bool SetUp() {
    if (ended) return false;
    thread_local const Keeper keeper;
    return true;
  }

 private:
  static constinit thread_local bool ended;
};
constinit thread_local bool Keeper::ended = false;

void* AllocateSlowly(size_t index) {
  if (Keeper::SetUp()) {
    Bin& bin = bins[index];
    Block* magazine = std::exchange(bin.full, nullptr);
    if (magazine == nullptr) magazine = TheDepot().Take(index);
    if (magazine != nullptr) {
      bin.first = magazine->next;
      bin.room = 1;
      return magazine;
    }
  }
  return ::operator new(SizeOf(index));
}

void FreeSlowly(Block* block, size_t index) {
  if (!Keeper::SetUp()) {
    ::operator delete(block);
    return;
  }
  Bin& bin = bins[index];
  if (bin.room == 0) {
    if (bin.full != nullptr) TheDepot().Put(index, bin.full);
    bin.full = std::exchange(bin.first, nullptr);
    bin.room = kMagazine;
  }
  block->next = std::exchange(bin.first, block);
  --bin.room;
}

}  // namespace

void* AllocateBlock(size_t size) {
  const size_t index = IndexOf(size);
  if (index >= kSizes) [[unlikely]]
    return ::operator new(size);
  Bin& bin = bins[index];
  Block* const block = bin.first;
  if (block == nullptr) [[unlikely]]
    return AllocateSlowly(index);
  bin.first = block->next;
  ++bin.room;
  return block;
}

void FreeBlock(void* memory, size_t size) noexcept {
  const size_t index = IndexOf(size);
  if (index >= kSizes) [[unlikely]] {
    ::operator delete(memory);
    return;
  }
  Bin& bin = bins[index];
  Block* const block = static_cast<Block*>(memory);
  if (bin.room == 0) [[unlikely]] {
    FreeSlowly(block, index);
    return;
  }
  block->next = bin.first;
  bin.first = block;
  --bin.room;
}

#endif

}  // namespace jobcore::inline JOBCORE_ABI::internal
