// SPDX-License-Identifier: Apache-2.0
//
// Nodes for tests: one that holds its content in memory, notes what reaches it and waits where the test says; and
// ways to run a request and to await its result.

#ifndef JOBCORE_TESTS_BLOCK_TEST_NODES_H_
#define JOBCORE_TESTS_BLOCK_TEST_NODES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-driver/block/graph.h"
#include "job-driver/block/node.h"
#include "job-driver/block/node_edge.h"
#include "support/job_test_util.h"

namespace jobcore_test {

using jobcore::Admission;
using jobcore::Co;
using jobcore::DrainedSection;
using jobcore::JobCore;
using jobcore::TestWorld;
using jobcore::block::BlockStatus;
using jobcore::block::EdgeOptions;
using jobcore::block::Node;
using jobcore::block::NodeEdge;
using jobcore::block::NodeWrite;

class LoggingNode final : public Node {
 public:
  LoggingNode(JobCore& core, Options options, uint64_t size)
      : Node(core, std::move(options), size), content_(size, '\0') {}
  static std::shared_ptr<LoggingNode> Make(TestWorld& world, std::string name, uint64_t size = 4096) {
    return std::make_shared<LoggingNode>(world.core(), Options{.name = std::move(name)}, size);
  }

  const char* driver() const override { return "memory"; }

  // Every request waits for this before anything happens. Set while nothing is in flight.
  std::function<Co<void>()> before = nullptr;

  // "write 0+512", "zeroes 0+512", "discard 0+512", "read 0+512", "flush", "status 0+512", "resize 512".
  std::vector<std::string> log() const {
    const std::scoped_lock lock(mutex_);
    return log_;
  }
  std::string content(uint64_t offset, uint64_t length) const {
    const std::scoped_lock lock(mutex_);
    return content_.substr(offset, length);
  }

 protected:
  Co<int> DoRead(const Admission&, uint64_t offset, std::span<std::byte> buffer) override {
    co_await Begin("read", offset, buffer.size());
    const std::scoped_lock lock(mutex_);
    std::copy_n(reinterpret_cast<const std::byte*>(content_.data()) + offset, buffer.size(), buffer.begin());
    co_return 0;
  }
  Co<int> DoWrite(const Admission&, NodeWrite write) override {
    const char* const kinds[] = {"write", "zeroes", "discard"};
    co_await Begin(kinds[static_cast<int>(write.kind)], write.offset, write.length);
    const std::scoped_lock lock(mutex_);
    for (uint64_t i = 0; i < write.length; ++i)
      content_[write.offset + i] = write.kind == NodeWrite::Kind::kData ? static_cast<char>(write.data[i]) : '\0';
    co_return 0;
  }
  Co<int> DoFlush(const Admission&) override {
    co_await Begin("flush");
    co_return 0;
  }
  Co<absl::StatusOr<BlockStatus>> DoStatus(const Admission&, uint64_t offset, uint64_t length) override {
    co_await Begin("status", offset, length);
    co_return BlockStatus{.length = length, .zero = true, .stored = false};
  }
  Co<absl::Status> DoResize(const Admission&, uint64_t size) override {
    co_await Begin("resize", size, 0);
    const std::scoped_lock lock(mutex_);
    content_.resize(size);
    co_return absl::OkStatus();
  }

 private:
  Co<void> Begin(std::string what, std::optional<uint64_t> offset = {}, uint64_t length = 0) {
    if (offset.has_value()) what += " " + std::to_string(*offset);
    if (length != 0) what += "+" + std::to_string(length);
    {
      const std::scoped_lock lock(mutex_);
      log_.push_back(what);
    }
    return before != nullptr ? before() : Co<void>();
  }

  mutable std::mutex mutex_;
  std::vector<std::string> log_;
  std::string content_;
};

inline std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// A request that runs by itself, on the thread that made this.
template <typename T>
class Started {
 public:
  explicit Started(Co<T> work) { jobcore::Spawn("request of a test", Store(std::move(work), result_)); }
  bool done() const { return result_->has_value(); }
  T& operator*() { return **result_; }

 private:
  static Co<void> Store(Co<T> work, std::shared_ptr<std::optional<T>> result) {
    T value = co_await std::move(work);
    result->emplace(std::move(value));
  }
  std::shared_ptr<std::optional<T>> result_ = std::make_shared<std::optional<T>>();
};

template <typename T>
T Await(TestWorld& world, Co<T> work) {
  Started<T> started(std::move(work));
  if (!world.RunUntil([&] { return started.done(); }, "a request")) std::abort();
  return std::move(*started);
}

// A request with an admission of its own, for tests of nodes without edges.
template <typename Request>  // Co<T>(const Admission&)
auto Admitted(Node& node, Request request) -> decltype(request(std::declval<const Admission&>())) {
  const Admission in = co_await node.resource().Admit();
  co_return co_await request(in);
}

inline std::unique_ptr<NodeEdge> Edge(const std::shared_ptr<Node>& node, EdgeOptions options) {
  absl::StatusOr<std::unique_ptr<NodeEdge>> edge = NodeEdge::Attach(node, std::move(options));
  EXPECT_TRUE(edge.ok()) << edge.status();
  return edge.ok() ? *std::move(edge) : nullptr;
}

inline DrainedSection Drained(std::vector<Node*> nodes) {
  std::vector<jobcore::Resource*> resources;
  for (Node* node : nodes) resources.push_back(&node->resource());
  absl::StatusOr<DrainedSection> section =
      DrainedSection::OpenBlocking(resources, {.name = "section of a test", .deadline = jobcore::Patience()});
  EXPECT_TRUE(section.ok()) << section.status();
  return section.ok() ? *std::move(section) : DrainedSection();
}

inline size_t Parked(TestWorld& world, Node& node) JOBCORE_EXCLUDES(jobcore::job_mutex) {
  jobcore::JobLock lock(world.core());
  return node.resource().parked();
}

inline auto Refused(absl::StatusCode code, const std::string& text) {
  return ::testing::ResultOf(
      "status", [](const absl::Status& s) { return std::pair(s.code(), std::string(s.message())); },
      ::testing::Pair(code, ::testing::HasSubstr(text)));
}

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_BLOCK_TEST_NODES_H_
