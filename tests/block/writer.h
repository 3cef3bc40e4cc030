// SPDX-License-Identifier: Apache-2.0
//
// Writer: a client that writes numbered blocks as fast as it can, remembers what has been acknowledged to it, and reads
// it back now and then.

#ifndef JOBCORE_TESTS_BLOCK_WRITER_H_
#define JOBCORE_TESTS_BLOCK_WRITER_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/delay.h"
#include "job-common/aio_context.h"
#include "job-driver/block/node_edge.h"

namespace jobcore::block {

// Blocks `first`, `first` + `step`, … of a node are its alone, so what is in each of them is what was acknowledged
// last.
class Writer {
 public:
  struct Options {
    std::shared_ptr<Node> node = nullptr;
    AioContext* context = nullptr;
    uint64_t first = 0;
    uint64_t step = 1;
    uint64_t block_bytes = 512;
    uint64_t writes = UINT64_MAX;                       // then it ends
    std::function<uint32_t(uint32_t)> below = nullptr;  // one of 0 … n-1; only its own context
    Nanoseconds pace{1};                                // between two requests; never 0: others have to have their turn
    std::vector<std::byte> initial = {};                // what is in the node now; by default, zeros
    bool errors_allowed = false;                        // a write may fail; then either content is right
  };

  explicit Writer(Options options)
      : options_(std::move(options)), edge_(*NodeEdge::Attach(options_.node, {.user = "writer", .writes = true})) {
    const uint64_t all = options_.node->size() / options_.block_bytes;
    initial_ = std::move(options_.initial);
    initial_.resize(options_.node->size());
    blocks_.resize(all > options_.first ? (all - options_.first + options_.step - 1) / options_.step : 0);
    options_.node.reset();
  }

  // Any thread.
  void Start() {
    running_.store(true);
    options_.context->Post("writer", [this] { Spawn("writer", Run()); });
  }
  void Stop() { stop_.store(true); }
  bool running() const { return running_.load(); }
  uint64_t acknowledged() const { return acknowledged_.load(); }
  uint64_t failed() const { return failed_.load(); }
  const NodeEdge& edge() const { return *edge_; }
  // What was wrong; empty: nothing so far.
  std::string problem() const {
    const std::lock_guard lock(mutex_);
    return problem_;
  }

  // What is wrong with this image of the node; empty: nothing. Only while it does not run.
  std::string Check(const std::vector<std::byte>& image) const {
    for (size_t i = 0; i < blocks_.size(); ++i) {
      std::string wrong = Compare(i, image.data() + OffsetOf(i));
      if (!wrong.empty()) return wrong;
    }
    return problem();
  }
  // The newest number in an image of the node, if that is one of a moment.
  uint64_t NewestIn(const std::vector<std::byte>& image) const {
    uint64_t newest = 0;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      uint64_t word = 0;
      std::memcpy(&word, image.data() + OffsetOf(i), sizeof(word));
      newest = std::max(newest, word >> kBlockBits);
    }
    return newest;
  }

 private:
  static constexpr int kBlockBits = 16;
  struct Block {
    std::optional<uint64_t> content =
        std::nullopt;  // none: as it was                           // 0: zeros; else in all of its words
    std::optional<uint64_t> perhaps = std::nullopt;  // after a write that failed
    bool anything = false;                           // after several
  };

  uint64_t OffsetOf(size_t i) const { return (options_.first + i * options_.step) * options_.block_bytes; }

  Co<void> Run() {
    for (uint64_t n = 0; n < options_.writes && !stop_.load(); ++n) {
      co_await Delay(options_.pace);
      const size_t i = options_.below(static_cast<uint32_t>(blocks_.size()));
      switch (options_.below(8)) {
        case 0:
        case 1:
          co_await ReadBack(i);
          break;
        case 2:
          co_await Write(i, 0);
          break;
        default:
          co_await Write(i, ++number_ << kBlockBits | i);
      }
      if (!problem().empty()) break;
    }
    running_.store(false);
  }

  Co<void> Write(size_t i, uint64_t content) {
    Block& block = blocks_[i];
    int error = 0;
    if (content == 0) {
      const NodeWrite zeros = {
          .kind = NodeWrite::Kind::kZeroes, .offset = OffsetOf(i), .length = options_.block_bytes, .may_unmap = true};
      error = co_await edge_->Change(zeros);
    } else {
      const std::vector<uint64_t> words(options_.block_bytes / sizeof(content), content);
      error = co_await edge_->Write(OffsetOf(i), std::as_bytes(std::span(words)));
    }
    if (error == 0) {
      block = {.content = content};
      acknowledged_.fetch_add(1);
      co_return;
    }
    failed_.fetch_add(1);
    if (!options_.errors_allowed) Note(absl::StrCat("a write fails with errno ", error));
    // It may have come to nothing, or have been done; older uncertainty is over only with a success.
    block.anything = block.perhaps.has_value();
    block.perhaps = content;
  }

  Co<void> ReadBack(size_t i) {
    std::vector<std::byte> data(options_.block_bytes);
    if (const int error = co_await edge_->Read(OffsetOf(i), data); error != 0) {
      Note(absl::StrCat("a read fails with errno ", error));
      co_return;
    }
    Note(Compare(i, data.data()));
  }

  std::string Compare(size_t i, const std::byte* data) const {
    const Block& block = blocks_[i];
    for (uint64_t at = 0; at < options_.block_bytes; at += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, data + at, sizeof(word));
      uint64_t expected = block.content.value_or(0);
      if (!block.content.has_value()) std::memcpy(&expected, &initial_[OffsetOf(i) + at], sizeof(expected));
      if (word == expected || word == block.perhaps || block.anything) continue;
      return absl::StrCat("at ", OffsetOf(i) + at, ": number ", word >> kBlockBits, " of block ",
                          word & ((1 << kBlockBits) - 1), " instead of number ", expected >> kBlockBits, " of block ",
                          expected & ((1 << kBlockBits) - 1), ", which was acknowledged");
    }
    return "";
  }
  void Note(const std::string& problem) {
    const std::lock_guard lock(mutex_);
    if (problem_.empty()) problem_ = problem;
  }

  Options options_;
  const std::unique_ptr<NodeEdge> edge_;
  std::vector<std::byte> initial_;
  std::vector<Block> blocks_;  // only its own context while it runs
  uint64_t number_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<bool> running_{false};
  std::atomic<uint64_t> acknowledged_{0};
  std::atomic<uint64_t> failed_{0};
  mutable std::mutex mutex_;
  std::string problem_;
};

}  // namespace jobcore::block

#endif  // JOBCORE_TESTS_BLOCK_WRITER_H_
