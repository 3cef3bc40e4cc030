// SPDX-License-Identifier: Apache-2.0
//
// Everything at once, with real threads: mirrors that are completed, cancelled, paused and moved, backups that start in
// groups, and clients that check after each switch that nothing that was acknowledged to them is lost.

#include <chrono>
#include <string>
#include <vector>

#include "block/node_world.h"
#include "job-common/job_txn.h"

namespace jobcore::block {
namespace {

// What a backup is to be if it succeeds.
struct Copy {
  JobRef job;
  std::shared_ptr<MemoryNode> target;
  std::vector<std::byte> then;
};

class Storm : public ::testing::TestWithParam<uint32_t> {
 protected:
  static constexpr uint64_t kSize = 32 * kKiB + 300;

  // Two, in one group, and of one moment.
  void StartBackups() {
    JobTxnBuilder group(world.core());
    {
      const DrainedSection section = world.Drain({&disk->resource()});
      for (int i = 0; i < 2; ++i) {
        Copy copy = {.job = {}, .target = world.Disk(Name("backup"), kSize), .then = disk->Snapshot()};
        const JobSpec spec = {.id = Name("b"), .group = world.Below(2) == 0 ? &group : nullptr};
        const BackupOptions options = {
            .source = disk, .target = copy.target, .granularity = uint64_t{512} << world.Below(4)};
        copy.job = *CreateBackup(world.core(), spec, options, section);
        copies.push_back(std::move(copy));
      }
    }
    EXPECT_TRUE(group.Seal().ok());
    for (const Copy& copy : copies) EXPECT_TRUE(StartJob(*copy.job).ok());
  }
  void EndBackups() {
    for (const Copy& copy : copies) {
      ASSERT_TRUE(world.RunUntilNull(copy.job));
      if (world.Outcome(copy.job) == "succeeded") {
        EXPECT_TRUE(copy.target->Snapshot() == copy.then);
      }
    }
    copies.clear();
  }

  // To a new disk, and perhaps the clients go there.
  void Mirror() {
    auto target = world.Disk(Name("copy"), kSize, &world.io(world.Below(2)));
    const auto mode =
        world.Below(2) == 0 ? MirrorOptions::CopyMode::kBackground : MirrorOptions::CopyMode::kWriteBlocking;
    JobRef job = world.Mirror({.id = Name("m"), .auto_finalize = world.Below(2) == 0},
                              {.source = disk,
                               .target = target,
                               .copy_mode = mode,
                               .granularity = uint64_t{512} << world.Below(4),
                               .in_flight = static_cast<int>(1 + world.Below(4))});
    if (world.Below(2) == 0) {
      (void)world.Pause(job);
    }
    if (world.Below(2) == 0) {
      (void)world.Await(MoveNode(disk, world.io(world.Below(2)).shared_from_this()));
    }
    (void)world.Resume(job);
    const uint32_t end = world.Below(5);
    if (end == 0) {
      (void)world.Cancel(job);
    } else {
      ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
      ASSERT_TRUE(end == 1 ? world.Cancel(job, CancelMode::kSoft).ok() : world.Complete(job).ok());
    }
    ASSERT_TRUE(world.RunUntil([&] {
      (void)world.Finalize(job);
      return world.Status(job) == "null";
    }));
    if (end > 1) {
      EXPECT_EQ(world.Outcome(job), "succeeded");
      disk = target;
    }
  }

  std::string Name(const char* what) { return what + std::to_string(number++); }

  NodeWorld world{2, GetParam()};
  std::shared_ptr<MemoryNode> disk = world.FullDisk("disk", kSize, &world.io());
  std::vector<Copy> copies;
  int number = 0;
};

TEST_P(Storm, LosesNothing) {
  world.StartWriters(disk, 3, GetParam() % 2 == 0 ? 512 : 3072);
  const TimePoint end = Clock::System().Now() + std::chrono::milliseconds(400);
  while (Clock::System().Now() < end && !HasFatalFailure()) {
    if (world.Below(2) == 0) StartBackups();
    Mirror();
    world.LetWritersWork(3);
    EndBackups();
  }
  world.CheckWriters(*disk);
  world.EndWriters();
}

INSTANTIATE_TEST_SUITE_P(, Storm, ::testing::Range(uint32_t{1}, uint32_t{5}));

// Whoever finds a job as soon as there is one may cancel it: no filter stays that would write to its target.
TEST(NodeStorm, AJobThatIsCancelledAtItsCreationLeavesNoFilter) {
  NodeWorld world(1);
  auto source = world.FullDisk("disk", 64 * kKiB);
  auto target = world.Disk("copy", 64 * kKiB);
  auto client = NodeEdge::Attach(source, {.user = "client", .writes = true});
  const std::vector<std::byte> data(512, std::byte{7});
  for (int i = 0; i < 200; ++i) {
    std::optional<absl::StatusOr<JobRef>> made;
    std::atomic<bool> done{false};
    world.io().Post("creation", [&] {
      Spawn("creation",
            [](JobCore& core, MirrorOptions options, std::optional<absl::StatusOr<JobRef>>& job,
               std::atomic<bool>& ready) -> Co<void> {
              JobSpec spec = {.id = "m"};
              job = co_await CreateMirror(core, std::move(spec), std::move(options));
              ready = true;
            }(world.core(), {.source = source, .target = target, .copy_mode = MirrorOptions::CopyMode::kWriteBlocking},
                                         made, done));
    });
    ASSERT_TRUE(world.RunUntil([&] {
      JobLock lock(world.core());
      Job* const job = monitor::Find(world.core(), "m");
      if (job != nullptr) {
        (void)monitor::Cancel(*job);
      }
      return done.load() && job == nullptr;
    }));
    ASSERT_TRUE(made->ok());
    ASSERT_TRUE(world.RunUntilNull(**made));
    EXPECT_EQ(world.Await((*client)->Write(0, data)), 0);  // while there is a reference to the job
    EXPECT_EQ(target->written_bytes(), 0u);
  }
}

}  // namespace
}  // namespace jobcore::block
