// SPDX-License-Identifier: Apache-2.0
//
// Worked examples: a backup and a migration of a disk, with the drivers of the block layer, as asynchronous jobs of a
// gate. What is in front of an effect is its phase; an abort that was accepted ends the driver's job, and with it ours.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "block/node_world.h"
#include "job-driver/block/backup.h"
#include "job-driver/block/mirror.h"
#include "job-monitor/job_gate.h"
#include "job-monitor/job_wait.h"

namespace jobcore::gate {
namespace {

using block::kKiB;
using block::NodeWorld;
using testing::HasSubstr;

constexpr uint64_t kSize = 1024 * kKiB;

// Aborting the asynchronous job cancels the job of the core.
class CancelOnStop {
 public:
  CancelOnStop(const std::stop_token& stop, JobRef job) : callback_(stop, Cancel{std::move(job)}) {}

 private:
  struct Cancel {
    JobRef job;
    void operator()() const {
      JobLock lock(job->core());
      (void)monitor::Cancel(*job, CancelMode::kForce);
    }
  };
  std::stop_callback<Cancel> callback_;
};

// `copying` is called in the middle of it.
Co<absl::Status> RunBackup(JobCore& core, JobGate& gate, block::BackupOptions backup, AcquireOptions options,
                           std::function<void(JobId)> copying) {
  using Phase = BackupPhase;
  absl::StatusOr<AsyncJob<AsyncKind::kBackup>> job = co_await gate.AwaitAsync<AsyncKind::kBackup>(options);
  if (!job.ok()) co_return job.status();
  if (absl::Status s = job->Advance<Phase::kNone, Phase::kPrepare>(); !s.ok()) co_return s;
  absl::StatusOr<JobRef> copy;
  {
    const absl::StatusOr<NestedGrant> step = co_await gate.AwaitNested(*job, options);
    if (!step.ok()) co_return step.status();
    const JobSpec spec{.id = "backup0"};
    copy = co_await block::CreateBackup(core, spec, backup);
  }
  if (!copy.ok()) co_return copy.status();
  absl::Status status = job->Advance<Phase::kPrepare, Phase::kCopy>();
  if (status.ok()) {
    const CancelOnStop cancel(job->stop_token(), *copy);
    status = StartJob(**copy);
    copying(job->id());
    const absl::StatusOr<JobOutcome> outcome = co_await monitor::AwaitJob(*copy);
    if (status.ok()) status = outcome.ok() ? outcome->ToStatus() : outcome.status();
  }
  if (status.ok()) status = job->Advance<Phase::kCopy, Phase::kCommit>();
  if (!status.ok()) (void)job->SetPhase(Phase::kRollBack);
  co_return status;
}

struct World : NodeWorld {
  World() { gate.BeginLife(); }
  JobIds ids{1};
  JobGate gate{ids, {.name = "vm1"}};
};

TEST(GateAndDrivers, ABackupLeavesRoomForQueriesAndNotForMigrations) {
  World world;
  auto source = world.FullDisk("disk", kSize, &world.io());
  auto target = world.Disk("copy", kSize);
  bool seen = false;
  const absl::Status status = world.Await(RunBackup(
      world.core(), world.gate, {.source = source, .target = target}, {.owner = {.api = "BackupBegin"}}, [&](JobId) {
        seen = true;
        EXPECT_TRUE(world.gate.Begin(JobClass::kQuery, {.nowait = true}).ok());
        const auto save = world.gate.BeginAsync(AsyncKind::kSave, {.nowait = true});
        EXPECT_THAT(std::string(save.status().message()), HasSubstr("(held by monitor=BackupBegin)"));
        EXPECT_THAT(std::string(save.status().message()), HasSubstr("backup, phase copy"));
      }));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(seen);
  EXPECT_EQ(source->Snapshot(), target->Snapshot());
  EXPECT_EQ(world.gate.Info().queued, 0u);
}

TEST(GateAndDrivers, AnAbortedBackupEndsItsJobAndLetsTheNextOneIn) {
  World world;
  auto source = world.FullDisk("disk", kSize, &world.io());
  auto target = world.Disk("copy", kSize);
  const auto abort = [&](JobId id) { EXPECT_TRUE(world.gate.RequestAbort(id).ok()); };
  const absl::Status aborted =
      world.Await(RunBackup(world.core(), world.gate, {.source = source, .target = target}, {}, abort));
  EXPECT_EQ(aborted.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(world.gate.Info().queued, 0u);
  const absl::Status again =
      world.Await(RunBackup(world.core(), world.gate, {.source = source, .target = target}, {}, [](JobId) {}));
  EXPECT_TRUE(again.ok()) << again;
  EXPECT_EQ(source->Snapshot(), target->Snapshot());
}

// The storage of a migration: it is sent by a mirror, and the cut is the switch.
TEST(GateAndDrivers, AMigrationMirrorsAndThenSwitches) {
  using Phase = MigrationOutPhase;
  World world;
  auto source = world.FullDisk("disk", kSize, &world.io());
  auto target = world.Disk("copy", kSize);
  absl::StatusOr<AsyncJob<AsyncKind::kMigrationOut>> migration =
      world.gate.BeginAsync<AsyncKind::kMigrationOut>({.owner = {.api = "MigrateBegin3"}, .nowait = true});
  ASSERT_TRUE(migration.ok());
  ASSERT_TRUE((migration->Advance<Phase::kNone, Phase::kBegin3>().ok()));
  ASSERT_TRUE(migration->Park(OwnerLost::kRollBack).ok());
  // The next call of the client.
  absl::StatusOr<AsyncGrant> adopted =
      world.gate.Adopt(migration->id(), static_cast<PhaseNumber>(Phase::kBegin3), {.api = "MigratePerform3"});
  ASSERT_TRUE(adopted.ok());
  migration = std::move(*adopted).As<AsyncKind::kMigrationOut>();
  ASSERT_TRUE((migration->Advance<Phase::kBegin3, Phase::kPerform3>().ok()));
  JobRef mirror = world.Mirror({.id = "m"}, {.source = source, .target = target});
  ASSERT_TRUE(world.RunUntilStatus(mirror, "ready"));
  ASSERT_TRUE((migration->Advance<Phase::kPerform3, Phase::kPerform3Done>().ok()));
  EXPECT_EQ(world.gate.RequestAbort(migration->id()).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE((migration->Advance<Phase::kPerform3Done, Phase::kConfirm3>().ok()));
  world.Switch(mirror);
  EXPECT_EQ(source->Snapshot(), target->Snapshot());
}

}  // namespace
}  // namespace jobcore::gate
