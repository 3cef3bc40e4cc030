// SPDX-License-Identifier: Apache-2.0
//
// What does it buy that frames of coroutines, and what is posted to other threads, come from a pool of blocks
// (job-common/block_pool.h) and not from malloc?
//
//   InTurn      allocated and freed, one at a time: a coroutine that is awaited and ends
//   Held/N      N are allocated, then all are freed: N coroutines at once
//   HandedOver  allocated by one thread, freed by another one on the other processor: what is posted
//
// Control: the same with operator new and delete. All blocks are written to, as they would be.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "job-common/block_pool.h"
#include "two_threads.h"

namespace jobcore {
namespace {

constexpr size_t kSize = 176;  // bytes: the frame of a small coroutine

struct Pool {
  static void* Allocate() { return internal::AllocateBlock(kSize); }
  static void Free(void* block) { internal::FreeBlock(block, kSize); }
};

struct Malloc {
  static void* Allocate() { return ::operator new(kSize); }
  static void Free(void* block) { ::operator delete(block, kSize); }
};

void Write(void* block) {
  *static_cast<uint64_t*>(block) = 1;
  benchmark::DoNotOptimize(block);
}

template <typename Source>
void InTurn(benchmark::State& state) {
  for (auto _ : state) {
    void* const block = Source::Allocate();
    Write(block);
    Source::Free(block);
  }
}

template <typename Source>
void Held(benchmark::State& state) {
  std::vector<void*> blocks(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    for (void*& block : blocks) Write(block = Source::Allocate());
    for (void* const block : blocks) Source::Free(block);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

// A ring with one producer and one consumer.
class Ring {
 public:
  bool TryPut(void* block) {
    const size_t put = put_.load(std::memory_order_relaxed);
    if (put - taken_seen_ == slots_.size()) {
      taken_seen_ = taken_.load(std::memory_order_acquire);
      if (put - taken_seen_ == slots_.size()) return false;
    }
    slots_[put % slots_.size()] = block;
    put_.store(put + 1, std::memory_order_release);
    return true;
  }
  void* TryTake() {
    const size_t taken = taken_.load(std::memory_order_relaxed);
    if (taken == put_seen_) {
      put_seen_ = put_.load(std::memory_order_acquire);
      if (taken == put_seen_) return nullptr;
    }
    void* const block = slots_[taken % slots_.size()];
    taken_.store(taken + 1, std::memory_order_release);
    return block;
  }

 private:
  alignas(64) std::atomic<size_t> put_{0};
  size_t taken_seen_ = 0;  // the producer's
  alignas(64) std::atomic<size_t> taken_{0};
  size_t put_seen_ = 0;  // the consumer's
  alignas(64) std::array<void*, 1024> slots_;
};

template <typename Source>
void HandedOver(benchmark::State& state) {
  bench::PinTo(bench::kMainCpu);
  Ring ring;
  std::atomic<bool> end{false};
  std::thread consumer([&] {
    bench::PinTo(bench::kOtherCpu);
    for (;;) {
      if (void* const block = ring.TryTake(); block != nullptr) {
        Source::Free(block);
      } else if (end.load(std::memory_order_acquire)) {
        return;
      }
    }
  });
  for (auto _ : state) {
    void* const block = Source::Allocate();
    Write(block);
    while (!ring.TryPut(block)) bench::CpuPause();
  }
  end.store(true, std::memory_order_release);
  consumer.join();
  while (void* const block = ring.TryTake()) Source::Free(block);
}

BENCHMARK(InTurn<Malloc>);
BENCHMARK(InTurn<Pool>);
BENCHMARK(Held<Malloc>)->Arg(16)->Arg(256)->Arg(4096);
BENCHMARK(Held<Pool>)->Arg(16)->Arg(256)->Arg(4096);
BENCHMARK(HandedOver<Malloc>)->UseRealTime();
BENCHMARK(HandedOver<Pool>)->UseRealTime();

}  // namespace
}  // namespace jobcore

BENCHMARK_MAIN();
