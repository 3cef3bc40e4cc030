// SPDX-License-Identifier: Apache-2.0
//
// StormClient: writes stamped blocks as fast as it can, flushes and reads back now and then, and has a journal say so.

#ifndef JOBCORE_TESTS_BLOCK_STORM_CLIENT_H_
#define JOBCORE_TESTS_BLOCK_STORM_CLIENT_H_

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/node_copier.h"
#include "block/stamp.h"
#include "block/storm_journal.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-driver/block/node.h"
#include "job-driver/block/node_edge.h"

namespace jobcore::block {

// Nodes of a storm are named after their images.
inline uint16_t ImageOf(const Node& node) { return static_cast<uint16_t>(std::stoi(node.name())); }

[[noreturn]] inline void StormIsBroken(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

// Every `clients`-th run of blocks is its alone.
class StormClient {
 public:
  static constexpr uint64_t kRun = 4;  // blocks; at most as many are written at once

  struct Options {
    std::shared_ptr<Node> node = nullptr;
    AioContext* context = nullptr;
    std::string name = {};  // for messages
    StormJournal* journal = nullptr;
    uint8_t disk = 0;
    uint16_t client = 0;
    uint64_t clients = 1;
    uint32_t seed = 1;
  };

  explicit StormClient(Options options)
      : options_(std::move(options)),
        random_(options_.seed),
        blocks_(options_.node->size() / kBlockBytes),
        edge_(*NodeEdge::Attach(options_.node, {.user = "client", .writes = true})),
        numbers_(blocks_),
        buffer_(kRun * kBlockBytes) {
    options_.node.reset();
  }

  // Any thread.
  void Start() {
    running_.store(true);
    options_.context->Post("client", [this] { Spawn("client", Run()); });
  }
  void Stop() { stop_.store(true); }
  bool running() const { return running_.load(); }
  uint64_t acknowledged() const { return acknowledged_.load(); }
  std::shared_ptr<Node> node() const { return edge_->node(); }

 private:
  static constexpr uint16_t kMostWrites = 60'000;  // of a block

  uint64_t Below(uint64_t n) { return (random_() >> 8) % n; }
  StormEvent Event(StormEvent::Kind kind, uint16_t block, const Node& node, uint16_t number = 0) const {
    return {.kind = kind, .disk = options_.disk, .block = block, .image = ImageOf(node), .number = number};
  }

  Co<void> Run() {
    while (!stop_.load() && !options_.journal->nearly_full()) {
      const uint64_t run = Below((blocks_ / kRun - options_.client + options_.clients - 1) / options_.clients);
      const uint64_t begin = (options_.client + run * options_.clients) * kRun;
      const uint64_t first = begin + Below(kRun);
      const uint64_t count = 1 + Below(begin + kRun - first);
      if (numbers_[first] >= kMostWrites) break;
      switch (Below(16)) {
        case 0:
          co_await Flush();
          break;
        case 1:
          co_await ReadBack(first, count);
          break;
        default:
          co_await Write(first, count);
      }
    }
    running_.store(false);
  }

  Co<void> Write(uint64_t first, uint64_t count) {
    const NodeEdge::Entry entry = co_await edge_->Enter();
    const std::span<std::byte> data = buffer_.first(count * kBlockBytes);
    for (uint64_t i = first; i < first + count; ++i) {
      const uint16_t number = ++numbers_[i];
      options_.journal->Append(Event(StormEvent::Kind::kBegun, static_cast<uint16_t>(i), *entry.node, number));
      for (uint64_t s = 0; s < kBlockSectors; ++s) {
        WriteStamp(data.subspan((i - first) * kBlockBytes + s * kSectorBytes, kSectorBytes), options_.disk,
                   i * kBlockSectors + s, number);
      }
    }
    NodeWrite write = {.offset = first * kBlockBytes, .length = data.size(), .data = data};
    if (count == 1 && IsZeros(numbers_[first])) {
      write = {
          .kind = NodeWrite::Kind::kZeroes, .offset = write.offset, .length = write.length, .may_unmap = Below(2) == 0};
    }
    const int error = co_await entry.node->Change(entry.in, write);
    if (error != 0) StormIsBroken(absl::StrCat(options_.name, ": a write fails with errno ", error));
    for (uint64_t i = first; i < first + count; ++i) {
      options_.journal->Append(
          Event(StormEvent::Kind::kAcknowledged, static_cast<uint16_t>(i), *entry.node, numbers_[i]));
    }
    acknowledged_.fetch_add(1);
  }

  Co<void> Flush() {
    const NodeEdge::Entry entry = co_await edge_->Enter();
    options_.journal->Append(Event(StormEvent::Kind::kFlushBegun, options_.client, *entry.node));
    const int error = co_await entry.node->Flush(entry.in);
    if (error != 0) StormIsBroken(absl::StrCat(options_.name, ": a flush fails with errno ", error));
    options_.journal->Append(Event(StormEvent::Kind::kFlushed, options_.client, *entry.node));
  }

  Co<void> ReadBack(uint64_t first, uint64_t count) {
    const std::span<std::byte> data = buffer_.first(count * kBlockBytes);
    const int error = co_await edge_->Read(first * kBlockBytes, data);
    if (error != 0) StormIsBroken(absl::StrCat(options_.name, ": a read fails with errno ", error));
    const std::vector<Stamp> stamps = ReadStamps(data, options_.disk, first * kBlockSectors);
    for (size_t i = 0; i < stamps.size(); ++i) {
      const uint64_t block = first + i / kBlockSectors;
      if (IsOf(stamps[i], numbers_[block])) continue;
      StormIsBroken(absl::StrCat(options_.name, ": reads in block ", block, " ", ToString(stamps[i]),
                                 " instead of number ", numbers_[block]));
    }
  }

  Options options_;
  std::minstd_rand random_;
  const uint64_t blocks_;
  const std::unique_ptr<NodeEdge> edge_;
  std::vector<uint16_t> numbers_;  // of the last write of each block
  Buffer buffer_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> running_{false};
  std::atomic<uint64_t> acknowledged_{0};
};

}  // namespace jobcore::block

#endif  // JOBCORE_TESTS_BLOCK_STORM_CLIENT_H_
