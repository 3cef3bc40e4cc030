// SPDX-License-Identifier: Apache-2.0
//
// A node in memory, whose requests take as long as the test says, and come apart in the middle.

#ifndef JOBCORE_TESTS_BLOCK_MEMORY_NODE_H_
#define JOBCORE_TESTS_BLOCK_MEMORY_NODE_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "block/delay.h"
#include "job-common/job_core.h"
#include "job-driver/block/node.h"

namespace jobcore::block {

// Any threads. Sectors of 512 bytes are changed as a whole.
class MemoryNode final : public Node {
 public:
  struct Options {
    Node::Options node = {};
    uint64_t size = 0;
    // Of each half of a request, and before its answer; any thread. Null: none.
    std::function<Nanoseconds()> delay = nullptr;
    std::byte fill = {};
  };

  MemoryNode(JobCore& core, Options options)
      : Node(core, std::move(options.node), options.size),
        delay_(std::move(options.delay)),
        data_(options.size, options.fill) {}

  const char* driver() const override { return "memory"; }

  std::vector<std::byte> Snapshot() {
    std::vector<std::byte> copy(data_.size());
    Each(0, copy.size(), [&](uint64_t at, uint64_t n) { std::copy_n(data_.begin() + Signed(at), n, &copy[at]); });
    return copy;
  }
  // Behind everybody's back: before anything begins.
  void Fill(uint64_t offset, std::span<const std::byte> data) {
    std::copy(data.begin(), data.end(), data_.begin() + Signed(offset));
  }
  int zero_writes() const { return zero_writes_.load(); }
  uint64_t written_bytes() const { return written_bytes_.load(); }
  int flushes() const { return flushes_.load(); }

 protected:
  Co<int> DoRead(const Admission&, uint64_t offset, std::span<std::byte> buffer) override {
    for (const auto& [begin, end] : Halves(buffer.size())) {
      co_await Wait();
      Each(offset + begin, end - begin,
           [&](uint64_t at, uint64_t n) { std::copy_n(data_.begin() + Signed(at), n, &buffer[at - offset]); });
    }
    co_await Wait();
    co_return 0;
  }
  Co<int> DoWrite(const Admission&, NodeWrite write) override {
    if (write.kind == NodeWrite::Kind::kZeroes) zero_writes_.fetch_add(1);
    if (write.kind == NodeWrite::Kind::kDiscard) co_return 0;  // reads as before
    written_bytes_.fetch_add(write.length);
    for (const auto& [begin, end] : Halves(write.length)) {
      co_await Wait();
      Each(write.offset + begin, end - begin, [&](uint64_t at, uint64_t n) {
        if (write.kind == NodeWrite::Kind::kZeroes) {
          std::fill_n(data_.begin() + Signed(at), n, std::byte{});
        } else {
          std::copy_n(&write.data[at - write.offset], n, data_.begin() + Signed(at));
        }
      });
    }
    co_await Wait();
    co_return 0;
  }
  Co<int> DoFlush(const Admission&) override {
    co_await Wait();
    flushes_.fetch_add(1);
    co_return 0;
  }
  // By whole sectors.
  Co<absl::StatusOr<BlockStatus>> DoStatus(const Admission&, uint64_t offset, uint64_t length) override {
    BlockStatus status;
    for (uint64_t at = offset; at < offset + length; at += kSector - at % kSector) {
      const uint64_t n = std::min(kSector - at % kSector, offset + length - at);
      bool zero = false;
      Each(at, n, [&](uint64_t, uint64_t) {
        zero = std::all_of(data_.begin() + Signed(at), data_.begin() + Signed(at + n),
                           [](std::byte b) { return b == std::byte{}; });
      });
      if (at != offset && zero != status.zero) break;
      status.zero = zero;
      status.stored = !zero;
      status.length = at + n - offset;
    }
    co_await Wait();
    co_return status;
  }

 private:
  static constexpr uint64_t kSector = 512;
  static ptrdiff_t Signed(uint64_t n) { return static_cast<ptrdiff_t>(n); }

  Delay Wait() { return Delay(delay_ ? delay_() : Nanoseconds{}); }
  static std::array<std::pair<uint64_t, uint64_t>, 2> Halves(uint64_t length) {
    const uint64_t middle = length / 2;
    return {{{0, middle}, {middle, length}}};
  }
  template <typename Body>
  void Each(uint64_t offset, uint64_t length, Body body) {
    for (uint64_t at = offset; at < offset + length;) {
      const uint64_t n = std::min(kSector - at % kSector, offset + length - at);
      const std::lock_guard lock(locks_[at / kSector % locks_.size()]);
      body(at, n);
      at += n;
    }
  }

  const std::function<Nanoseconds()> delay_;
  std::array<std::mutex, 16> locks_;
  std::vector<std::byte> data_;
  std::atomic<int> zero_writes_{0};
  std::atomic<uint64_t> written_bytes_{0};
  std::atomic<int> flushes_{0};
};

}  // namespace jobcore::block

#endif  // JOBCORE_TESTS_BLOCK_MEMORY_NODE_H_
