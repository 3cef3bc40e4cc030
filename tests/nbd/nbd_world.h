// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the NBD server share: a core whose main context runs in a thread of its own, so that the test's
// threads can be clients that block; I/O threads, nodes in memory, a server.

#ifndef JOBCORE_TESTS_NBD_NBD_WORLD_H_
#define JOBCORE_TESTS_NBD_NBD_WORLD_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "block/memory_node.h"
#include "block/test_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-common/iothread.h"
#include "job-common/job_core.h"
#include "job-driver/block/graph.h"
#include "job-driver/nbd/server.h"
#include "nbd/nbd_client.h"

namespace jobcore::nbd {

// Far more than anything needs, so a hang is a failure.
inline TimePoint Soon() { return SaturatingAdd(Clock::System().Now(), std::chrono::seconds(20)); }

class NbdWorld {
 public:
  explicit NbdWorld(int io_threads = 1) {
    for (int i = 0; i < io_threads; ++i) threads_.push_back(std::make_unique<IOThread>("io" + std::to_string(i)));
  }
  ~NbdWorld() { Stop(); }

  JobCore& core() { return core_; }
  AioContext& main() { return core_.main_context(); }
  IOThread& thread(size_t n = 0) { return *threads_.at(n); }
  std::shared_ptr<AioContext> io(size_t n = 0) { return threads_.at(n)->context().shared_from_this(); }
  Server& server() { return *server_; }
  std::string socket() const { return dir_.Path("nbd.sock"); }
  const jobcore_test::TempDir& dir() const { return dir_; }
  // Of exports that have gone, in order.
  std::vector<std::string> removed() const {
    const std::lock_guard lock(mutex_);
    return removed_;
  }

  void Start(Server::Options options = {}) {
    if (options.address.path.empty() && options.address.port.empty()) options.address = Address::Unix(socket());
    options.on_removed = [this](const std::string& id) {
      const std::lock_guard lock(mutex_);
      removed_.push_back(id);
    };
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(core_, std::move(options));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void Stop() {
    if (server_ == nullptr) return;
    server_->Shutdown();
    EXPECT_TRUE(WaitUntil([&] { return server_->stopped(); }, "the end of the server"));
    server_.reset();
  }

  std::shared_ptr<block::MemoryNode> Disk(std::string name, uint64_t size,
                                          std::shared_ptr<AioContext> context = nullptr, bool read_only = false,
                                          std::function<Nanoseconds()> delay = nullptr) {
    return std::make_shared<block::MemoryNode>(
        core_, block::MemoryNode::Options{
                   .node = {.name = std::move(name), .context = std::move(context), .read_only = read_only},
                   .size = size,
                   .delay = std::move(delay)});
  }
  absl::Status Export(std::shared_ptr<block::Node> node, bool writable = true) {
    const std::string name = node->name();
    return server_->Add({.id = name, .node = std::move(node), .writable = writable});
  }
  std::unique_ptr<NbdClient> Client(std::string_view name, bool structured = true) {
    auto client = std::make_unique<NbdClient>(socket());
    EXPECT_TRUE(client->Open(name, structured)) << name;
    return client;
  }

  // For what changes without anybody being told, too.
  bool WaitUntil(const std::function<bool()>& done, std::string_view what) {
    const TimePoint deadline = Soon();
    while (!done()) {
      // Kicks come with most changes; the others are found at the next look.
      const TimePoint next = SaturatingAdd(Clock::System().Now(), std::chrono::milliseconds(2));
      (void)AioWaitWhileUnlocked(core_, [&] { return !done(); }, {.name = what, .deadline = next});
      if (Clock::System().Now() > deadline) {
        ADD_FAILURE() << "waited too long for " << what;
        return false;
      }
    }
    return true;
  }
  // Runs it in the main context.
  template <typename T>
  T Await(Co<T> co) {
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<T> result;
    auto run = [&](Co<T> inner) -> Co<void> {
      T value = co_await std::move(inner);
      const std::lock_guard lock(mutex);
      result.emplace(std::move(value));
      changed.notify_one();
    };
    main().Post("test", [&] { Spawn("test", run(std::move(co))); });
    std::unique_lock lock(mutex);
    if (!changed.wait_for(lock, std::chrono::seconds(30), [&] { return result.has_value(); })) std::abort();
    return *std::move(result);
  }
  DrainedSection Drain(block::Node& node) {
    Resource* const resource = &node.resource();
    absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking({&resource, 1}, {.name = "test"});
    EXPECT_TRUE(section.ok()) << section.status();
    return *std::move(section);
  }

 private:
  jobcore_test::TempDir dir_;
  std::vector<std::unique_ptr<IOThread>> threads_;
  JobCore core_{{.main_loop = JobCore::MainLoop::kOwnThread}};
  mutable std::mutex mutex_;
  std::vector<std::string> removed_;
  std::unique_ptr<Server> server_;
};

}  // namespace jobcore::nbd

#endif  // JOBCORE_TESTS_NBD_NBD_WORLD_H_
