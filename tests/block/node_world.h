// SPDX-License-Identifier: Apache-2.0
//
// What the tests of block jobs share: nodes in memory that take their time, clients of theirs in I/O threads, and
// coroutines that the test waits for.

#ifndef JOBCORE_TESTS_BLOCK_NODE_WORLD_H_
#define JOBCORE_TESTS_BLOCK_NODE_WORLD_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "block/memory_node.h"
#include "block/writer.h"
#include "gtest/gtest.h"
#include "job-driver/block/backup.h"
#include "job-driver/block/graph.h"
#include "job-driver/block/mirror.h"
#include "job-driver/resource.h"
#include "support/job_test_util.h"

namespace jobcore::block {

inline constexpr uint64_t kKiB = 1024;

// Bytes that tell where they are.
inline std::vector<std::byte> Numbered(uint64_t size) {
  std::vector<std::byte> data(size);
  for (uint64_t i = 0; i < size; ++i) data[i] = static_cast<std::byte>(1 + (i / 512 * 7 + i) % 251);
  return data;
}

class NodeWorld : public TestWorld {
 public:
  explicit NodeWorld(int io_threads = 1, uint32_t seed = 1)
      : TestWorld({.io_threads = io_threads}), random_(seed), io_count_(static_cast<size_t>(io_threads)) {}

  std::shared_ptr<MemoryNode> Disk(std::string name, uint64_t size, AioContext* context = nullptr) {
    return std::make_shared<MemoryNode>(
        core(), MemoryNode::Options{
                    .node = {.name = std::move(name), .context = Shared(context)}, .size = size, .delay = Slow()});
  }
  std::shared_ptr<MemoryNode> FullDisk(std::string name, uint64_t size, AioContext* context = nullptr) {
    std::shared_ptr<MemoryNode> disk = Disk(std::move(name), size, context);
    disk->Fill(0, Numbered(size));
    return disk;
  }
  static std::shared_ptr<AioContext> Shared(AioContext* context) {
    return context != nullptr ? context->shared_from_this() : nullptr;
  }
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

  // Until it has finished, which it does by itself.
  template <typename T>
  T Await(Co<T> co) {
    std::optional<T> result;
    Spawn("test", Store(std::move(co), result));
    if (!RunUntil([&] { return result.has_value(); }, "a coroutine of the test")) std::abort();
    return *std::move(result);
  }
  JobRef Mirror(JobSpec spec, MirrorOptions options) {
    absl::StatusOr<JobRef> job = Await(CreateMirror(core(), std::move(spec), std::move(options)));
    EXPECT_TRUE(job.ok()) << job.status();
    EXPECT_TRUE(StartJob(**job).ok());
    return *std::move(job);
  }
  JobRef Backup(JobSpec spec, BackupOptions options) {
    absl::StatusOr<JobRef> job = Await(CreateBackup(core(), std::move(spec), std::move(options)));
    EXPECT_TRUE(job.ok()) << job.status();
    EXPECT_TRUE(StartJob(**job).ok());
    return *std::move(job);
  }
  DrainedSection Drain(std::vector<Resource*> resources) {
    absl::StatusOr<DrainedSection> section = Await(DrainedSection::Open(resources, {.name = "test"}));
    EXPECT_TRUE(section.ok()) << section.status();
    return *std::move(section);
  }
  void Switch(const JobRef& mirror) {
    EXPECT_TRUE(Complete(mirror).ok());
    EXPECT_TRUE(RunUntilNull(mirror));
    EXPECT_EQ(Outcome(mirror), "succeeded");
  }

  // As many clients as `writers`, in turn in the main context and the I/O threads.
  void StartWriters(const std::shared_ptr<Node>& node, size_t writers, uint64_t block_bytes = 512,
                    bool errors_allowed = false) {
    const std::vector<std::byte> initial = Await(ContentOf(node));
    for (size_t i = 0; i < writers; ++i) {
      const size_t where = i % (io_count_ + 1);
      writers_.push_back(std::make_unique<Writer>(
          Writer::Options{.node = node,
                          .context = where == 0 ? &main() : &io(where - 1),
                          .first = i,
                          .step = writers,
                          .block_bytes = block_bytes,
                          .below = [random = std::minstd_rand(Below(1u << 30) + 1)](
                                       uint32_t n) mutable { return static_cast<uint32_t>(random() >> 4) % n; },
                          .initial = initial,
                          .errors_allowed = errors_allowed}));
      writers_.back()->Start();
    }
  }
  std::vector<std::unique_ptr<Writer>>& writers() { return writers_; }
  uint64_t Acknowledged() const {
    uint64_t sum = 0;
    for (const auto& writer : writers_) sum += writer->acknowledged();
    return sum;
  }
  // They go on: each of them has been served meanwhile.
  void LetWritersWork(uint64_t writes = 20) {
    for (const auto& writer : writers_) {
      const uint64_t enough = writer->acknowledged() + writes;
      ASSERT_TRUE(RunUntil([&] { return writer->acknowledged() >= enough || !writer->running(); }, "a writer"));
      ASSERT_EQ(writer->problem(), "");
    }
  }
  void StopWriters() {
    for (const auto& writer : writers_) writer->Stop();
    for (const auto& writer : writers_) {
      ASSERT_TRUE(RunUntil([&] { return !writer->running(); }, "the end of a writer"));
    }
  }
  // All that was acknowledged is there, where the clients are now.
  void CheckWriters(MemoryNode& node) {
    StopWriters();
    const std::vector<std::byte> image = node.Snapshot();
    for (const auto& writer : writers_) {
      EXPECT_EQ(writer->edge().node().get(), &node);
      EXPECT_EQ(writer->Check(image), "");
    }
  }
  void EndWriters() {
    StopWriters();
    writers_.clear();
  }

 private:
  static Co<std::vector<std::byte>> ContentOf(std::shared_ptr<Node> node) {
    std::vector<std::byte> content(node->size());
    const Admission in = co_await node->resource().Admit();
    EXPECT_EQ(co_await node->Read(in, 0, content), 0);
    co_return content;
  }
  template <typename T>
  static Co<void> Store(Co<T> co, std::optional<T>& result) {
    result.emplace(co_await std::move(co));
  }
  // Now and then a request waits for a turn of its loop, or for some microseconds.
  std::function<Nanoseconds()> Slow() {
    return [n = std::make_shared<std::atomic<uint32_t>>(Below(100))]() -> Nanoseconds {
      const uint32_t i = n->fetch_add(1) * 2654435761u >> 28;
      return i < 12 ? Nanoseconds{} : i < 15 ? Nanoseconds{1} : Nanoseconds{20'000};
    };
  }

  std::mt19937 random_;
  const size_t io_count_;
  std::vector<std::unique_ptr<Writer>> writers_;
};

}  // namespace jobcore::block

#endif  // JOBCORE_TESTS_BLOCK_NODE_WORLD_H_
