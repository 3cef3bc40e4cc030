// SPDX-License-Identifier: Apache-2.0

#include "job-common/block_pool.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "job-common/coroutine.h"
#include "support/virtual_time.h"

namespace jobcore {
namespace {

using internal::AllocateBlock;
using internal::FreeBlock;

constexpr std::array<size_t, 9> kSizes = {1, 16, 24, 25, 100, 1000, 1032, 1033, 100'000};
constexpr size_t kMany = 5000;  // more than threads and depot keep

// Blocks that are filled with their number, so that two that overlap are noticed.
class Blocks {
 public:
  explicit Blocks(size_t size) : size_(size) {}
  void Allocate() {
    void* const block = AllocateBlock(size_);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % __STDCPP_DEFAULT_NEW_ALIGNMENT__, 0u);
    std::memset(block, static_cast<int>(blocks_.size() % 251), size_);
    blocks_.push_back(static_cast<unsigned char*>(block));
  }
  void FreeAll() {
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const auto expected = static_cast<unsigned char>(i % 251);
      EXPECT_TRUE(std::all_of(blocks_[i], blocks_[i] + size_, [&](unsigned char c) { return c == expected; }));
      FreeBlock(blocks_[i], size_);
    }
    blocks_.clear();
  }

 private:
  const size_t size_;
  std::vector<unsigned char*> blocks_;
};

TEST(BlockPool, BlocksOfAllSizesAreAlignedAndDoNotOverlap) {
  for (const size_t size : kSizes) {
    for (int round = 0; round < 3; ++round) {
      Blocks blocks(size);
      for (size_t i = 0; i < (size < 10'000 ? kMany : 10); ++i) blocks.Allocate();
      blocks.FreeAll();
    }
  }
}

TEST(BlockPool, BlocksMayBeFreedByAnotherThread) {
  for (const size_t size : kSizes) {
    Blocks blocks(size);
    for (int round = 0; round < 3; ++round) {
      std::thread([&] {
        for (size_t i = 0; i < (size < 10'000 ? kMany : 10); ++i) blocks.Allocate();
      }).join();
      blocks.FreeAll();
    }
  }
}

TEST(BlockPool, ThreadsThatAllocateAndThreadsThatFreeMayRunAtTheSameTime) {
  constexpr size_t kPairs = 2;
  constexpr size_t kRounds = 50;
  std::vector<std::thread> threads;
  for (size_t pair = 0; pair < kPairs; ++pair) {
    threads.emplace_back([] {
      for (size_t round = 0; round < kRounds; ++round) {
        Blocks here(40);
        for (size_t i = 0; i < 200; ++i) here.Allocate();
        std::thread([&here] { here.FreeAll(); }).join();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A destructor that runs after what the pool keeps for this thread has been given back.
struct FreesLate {
  ~FreesLate() {
    FreeBlock(block, 40);
    FreeBlock(AllocateBlock(40), 40);
  }
  void* block = nullptr;
};

TEST(BlockPool, AThreadMayAllocateAndFreeUntilItsVeryEnd) {
  std::thread([] {
    thread_local FreesLate late;  // constructed before the pool's own, destroyed after it
    late.block = nullptr;
    Blocks blocks(40);
    for (size_t i = 0; i < 100; ++i) blocks.Allocate();
    blocks.FreeAll();
    late.block = AllocateBlock(40);
  }).join();
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)

// That the program has from malloc.
size_t BytesInUse() { return mallinfo2().uordblks; }

TEST(BlockPool, KeepsNoMoreThanItsBound) {
  const size_t before = BytesInUse();
  Blocks blocks(1000);
  for (size_t i = 0; i < kMany; ++i) blocks.Allocate();
  EXPECT_GT(BytesInUse() - before, kMany * 900);
  blocks.FreeAll();
  EXPECT_LT(BytesInUse() - before, 300'000u);
}

TEST(BlockPool, AThreadThatEndsGivesBackWhatItKept) {
  constexpr size_t kKept = 60;
  const auto run_threads = [] {
    for (int i = 0; i < 50; ++i) {
      std::thread([] {
        Blocks blocks(1000);
        for (size_t j = 0; j < kKept; ++j) blocks.Allocate();
        blocks.FreeAll();
      }).join();
    }
  };
  run_threads();
  const size_t before = BytesInUse();
  run_threads();
  EXPECT_LT(BytesInUse(), before + 2 * kKept * 1000);
}

#endif  // without a sanitizer, which has a malloc of its own, and in which the pool keeps nothing

struct alignas(128) Large final : internal::Pooled {
  std::array<std::byte, 128> bytes;
};

TEST(BlockPool, ObjectsWithALargeAlignmentGetIt) {
  std::vector<std::unique_ptr<Large>> objects;
  for (int i = 0; i < 10; ++i) {
    objects.push_back(std::make_unique<Large>());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(objects.back().get()) % 128, 0u);
  }
}

Co<void> AddOne(int& sum) {
  ++sum;
  co_return;
}

TEST(BlockPool, AFrameMayBeFreedByAnotherThreadThanItsOwn) {
  int sum = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<Co<void>> made;
    for (int i = 0; i < 10; ++i) made.push_back(AddOne(sum));
    std::thread([&] { made.clear(); }).join();  // never started
    const support::VirtualLoop loop;
    Spawn("test", AddOne(sum));
  }
  EXPECT_EQ(sum, 200);
}

}  // namespace
}  // namespace jobcore
