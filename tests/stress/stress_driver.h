// SPDX-License-Identifier: Apache-2.0
//
// The drivers of the stress test: several kinds of work, with hooks that may wait, fail and throw, and that
// check that they are called when, where and as often as the protocol says.

#ifndef JOBCORE_TESTS_STRESS_STRESS_DRIVER_H_
#define JOBCORE_TESTS_STRESS_STRESS_DRIVER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "job-common/coroutine.h"
#include "job-common/io_engine.h"
#include "job-common/job_core.h"
#include "job-common/task_scope.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-driver/resource.h"
#include "stress/stress_util.h"

namespace jobcore::stress {

enum class Kind {
  kTight,       // steps with pause points
  kSleepZero,   // steps with sleeps of zero
  kShortSleep,  // steps with short sleeps
  kYield,       // yields until entered a few times
  kReady,       // becomes ready, waits for completion or a soft cancel
  kTasks,       // steps with file I/O in a TaskScope
};
inline constexpr uint64_t kKinds = 6;

// What a driver is going to do; drawn at creation.
struct Plan {
  Kind kind = Kind::kTight;
  uint64_t seed = 0;
  uint64_t steps = 0;
  bool run_fails = false;     // in the middle
  bool run_throws = false;    // in the middle
  int stubborn = 0;           // pause points at which it ignores a cancel
  bool pause_waits = false;   // in the Pause and Resume hooks
  bool pause_throws = false;  // in the Pause hook
  bool complete_waits = false;
  bool complete_fails = false;  // the first time
  bool hooks_wait = false;      // in Prepare, Commit, Abort, Clean
  bool prepare_fails = false;
  bool prepare_throws = false;
  bool commit_fails = false;
};
Plan MakePlan(Rng& rng);

// A resource, and what may not be true at the same time. Any thread.
struct Disk {
  Disk(JobCore& core, std::string name) : resource(core, std::move(name)) {}
  Resource resource;
  std::atomic<int> sections{0};  // granted
  std::atomic<int> inside{0};    // requests
};
// A request between its admission and its end.
class Inside {
 public:
  explicit Inside(Disk& disk) : disk_(disk) {
    disk_.inside.fetch_add(1);
    STRESS_CHECK(disk_.sections.load() == 0, disk_.resource.name(), ": a request was admitted into a section");
  }
  ~Inside() { disk_.inside.fetch_sub(1); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Disk& disk_;
};

// Main context only: what has happened to the members of one group.
struct GroupRecord {
  int commits = 0;
  int aborts = 0;
};

// What is known of a job; outlives it. Fields that are no atomics are ordered by the library alone (the hooks
// of a job follow each other, also from one thread to the other), and ThreadSanitizer looks on.
struct JobRecord {
  JobRecord(std::string i, Plan p, std::shared_ptr<GroupRecord> g) : id(std::move(i)), plan(p), group(std::move(g)) {}

  const std::string id;  // empty: internal
  const Plan plan;
  const std::shared_ptr<GroupRecord> group;

  // Any thread.
  std::atomic<bool> stepping{false};     // between two suspensions of Run
  std::atomic<const char*> note{"new"};  // for the dump of a hang
  std::atomic<bool> destroyed{false};    // the driver

  // Constant after the creation of the job.
  std::vector<Disk*> disks;  // its resources

  // Those who hold a JobRef; read when the driver is destroyed, or later.
  uint64_t number = 0;  // 0: creation failed
  bool abandoned = false;

  // The hooks.
  int runs = 0;
  bool returned = false;
  bool run_ok = false;
  int prepares = 0;
  bool prepare_ok = false;
  int commits = 0;
  bool commit_ok = false;
  int aborts = 0;
  int cleans = 0;
};

// What the drivers of a core share.
struct DriverWorld {
  JobCore& core;
  IoEngine& engine;
  int fd;
};

class StressDriver final : public JobDriver {
 public:
  StressDriver(const DriverWorld& world, std::shared_ptr<JobRecord> record)
      : world_(world), record_(std::move(record)), rng_(record_->plan.seed) {}
  ~StressDriver() override;

  std::string_view type() const override { return "stress"; }
  Co<absl::Status> Run(JobContext& job) override;
  Co<void> Pause(JobContext& job) override;
  Co<void> Resume(JobContext& job) override;
  void Cancel(JobContext& job, CancelMode mode) override;
  Co<absl::Status> Complete(JobContext& job) override;
  Co<absl::Status> Change(JobContext& job, const JobOptions& options) override;
  Co<absl::Status> Prepare() override;
  Co<absl::Status> Commit() override;
  Co<void> Abort() override;
  Co<void> Clean() override;

 private:
  class RunScope;

  Co<absl::Status> Work(JobContext& job);
  Co<absl::Status> WorkInSteps(JobContext& job);
  Co<absl::Status> WorkUntilEntered(JobContext& job);
  Co<absl::Status> WorkUntilCompleted(JobContext& job);
  Co<absl::Status> WorkWithTasks(JobContext& job);
  Co<void> OneTask(JobContext& job, uint64_t chunk);
  Co<absl::Status> Between(JobContext& job);  // the suspension between two steps

  void UseDisk(JobContext& job);
  // Driver code: what a parked job must not run.
  absl::Status Step(JobContext& job, uint64_t i);
  // True if `status` (of a pause point) ends the work.
  bool MustStop(const absl::Status& status);
  void InJob(JobContext& job, const char* hook);
  void InMain(const char* hook);
  void Check(bool condition, const char* what);
  Co<void> MaybeWait(AioContext& context);

  const DriverWorld world_;
  const std::shared_ptr<JobRecord> record_;
  Rng rng_;
  // The job's context only.
  bool in_run_ = false;
  bool paused_ = false;      // between the hooks
  bool completing_ = false;  // in the hook, or in that of a change
  TaskScope tasks_;
  bool completed_ = false;
  int complete_failures_ = 0;
  int cancels_[2] = {0, 0};
  int stubborn_left_ = 0;
};

}  // namespace jobcore::stress

#endif  // JOBCORE_TESTS_STRESS_STRESS_DRIVER_H_
