// SPDX-License-Identifier: Apache-2.0
//
// What the scenarios of controlled threads share: a world of one core, whose main loop is the scenario's own thread,
// and I/O threads; drivers that write down which hooks were called; and the rules that every run must keep.

#ifndef JOBCORE_TESTS_THREADS_THREAD_WORLD_H_
#define JOBCORE_TESTS_THREADS_THREAD_WORLD_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/iothread.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_mutex.h"
#include "job-common/job_outcome.h"
#include "job-common/sched_point.h"
#include "job-common/sync.h"
#include "job-common/verb_reply.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/job_monitor.h"
#include "job-testing/campaign.h"
#include "job-testing/choices.h"
#include "job-testing/controlled_threads.h"

namespace jobcore::threads {

using internal::Atomic;
using internal::CondVar;
using internal::Mutex;
using internal::SpinPoint;
using internal::Thread;
using testing::Choices;
using testing::ControlledThreads;

// Runs `scenario` with many seeds, half of them with each strategy, and expects no failure. Fewer under sanitizers.
void RunScenario(absl::FunctionRef<void(Choices&)> scenario, uint64_t seeds = 1000,
                 std::vector<std::string> must_reach = {});
// The strategy of a run, which its seed decides.
ControlledThreads::Options StrategyOf(Choices& choices);

// Ends the run: the campaign tells of it, with the seed and the schedule.
[[noreturn]] void Violated(std::string_view rule);
inline void Require(bool holds, std::string_view rule) {
  if (!holds) Violated(rule);
}
// The same for a Status.
void RequireOk(const absl::Status& status, std::string_view what);

// A value that threads wait for. Never to be used under job_mutex.
template <typename T>
class Shared {
 public:
  template <typename F>
  void Update(F change) {
    const std::scoped_lock lock(mutex_);
    change(value_);
    changed_.notify_all();
  }
  // For threads that run no loop: blocks until the value is as wanted.
  template <typename F>
  void Await(F wanted) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return wanted(value_); });
  }
  T Get() {
    const std::scoped_lock lock(mutex_);
    return value_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  T value_{};
};

// Awaitable: the next turn of the loop.
struct NextTurn {
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> self) {
    AioContext::Current()->Post("next turn", [waiter = CoHandle::Of(self, "next turn")] { waiter.Resume(); });
  }
  void await_resume() const noexcept {}
};

// What a driver does in its hooks; null: nothing, successfully.
struct Hooks {
  std::function<Co<absl::Status>(JobContext&)> run = nullptr;
  std::function<Co<void>(JobContext&)> pause = nullptr;
  std::function<Co<void>(JobContext&)> resume = nullptr;
  std::function<void(JobContext&, CancelMode)> cancel = nullptr;
  std::function<Co<absl::Status>(JobContext&)> complete = nullptr;
  std::function<Co<absl::Status>(JobContext&)> change = nullptr;
  std::function<Co<absl::Status>()> prepare = nullptr;
  std::function<Co<absl::Status>()> commit = nullptr;
  std::function<Co<void>()> abort = nullptr;
};

// Which hooks were called, how often. Plain numbers on purpose: the core has to order the hooks of a driver, and
// ThreadSanitizer reports it if it does not.
struct Ledger {
  std::string id;
  int runs = 0;
  int returns = 0;
  int pauses = 0;
  int resumes = 0;
  int soft_cancels = 0;
  int force_cancels = 0;
  int prepares = 0;
  int commits = 0;
  int aborts = 0;
  int cleans = 0;
  int destroyed = 0;
  bool abandoned = false;
};

class World {
 public:
  struct Options {
    int io_threads = 1;
    size_t history_count = 4;
    size_t event_capacity = 1024;
  };
  explicit World(Choices& choices) : World(choices, Options()) {}
  World(Choices& choices, Options options);
  // Ends the core and the I/O threads, then looks at what all the drivers and events tell. JobRefs go before.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  Choices& choices() { return choices_; }
  ControlledThreads& threads() { return threads_; }
  JobCore& core() { return *core_; }
  AioContext& main() { return core_->main_context(); }
  AioContext& io(size_t n = 0) { return io_threads_.at(n)->context(); }
  std::unique_ptr<IOThread> NewIOThread(std::string name);
  // Ends the core now, while other threads go on.
  void EndCore();

  // --- Any thread ---
  std::unique_ptr<JobDriver> Driver(std::string id, Hooks hooks = {});
  absl::StatusOr<JobRef> TryCreate(const JobSpec& spec, Hooks hooks = {});
  JobRef Create(const JobSpec& spec, Hooks hooks = {});
  JobRef Start(const JobSpec& spec, Hooks hooks = {});
  Ledger& ledger(std::string_view id);

  absl::Status Pause(const JobRef& job, std::string_view reason = monitor::kUserPause);
  absl::Status Resume(const JobRef& job, std::string_view reason = monitor::kUserPause);
  absl::Status Cancel(const JobRef& job, CancelMode mode = CancelMode::kForce);
  absl::Status Move(const JobRef& job, AioContext& target, VerbReply reply = {});
  absl::Status Complete(const JobRef& job, VerbReply reply = {});
  absl::Status Change(const JobRef& job, VerbReply reply = {});
  absl::Status Finalize(const JobRef& job, VerbReply reply = {});
  absl::Status Dismiss(const JobRef& job);
  absl::Status SetSpeed(const JobRef& job, int64_t speed);
  JobStatus StatusOf(const JobRef& job);

  // --- The scenario's thread, or (the second) any plain one ---
  // Turns the main loop while waiting for what changes of jobs can bring about.
  void AwaitStatus(const JobRef& job, JobStatus status);
  JobOutcome AwaitEnd(const JobRef& job);
  // Turns the main loop until `done`; whoever changes that kicks the core's wait domain (jobs do).
  void Await(absl::FunctionRef<bool()> done);
  void Kick() { main().wait_domain().Kick(); }

 private:
  Ledger* FindLedger(std::string_view id);  // the latest of this name
  void CheckEvents();
  void CheckLedgers();

  Choices& choices_;
  ControlledThreads threads_;
  std::mutex ledgers_mutex_;  // not a point for the scheduler
  std::deque<Ledger> ledgers_;
  std::vector<std::unique_ptr<IOThread>> io_threads_;
  std::unique_ptr<JobCore> core_;
};

// Counts answers to verbs. Outlives the world, or at least the core.
struct Answers {
  VerbReply Make(World& world) {
    return VerbReply(world.main(), [this](const absl::Status& status) {
      ++count;
      ok += status.ok() ? 1 : 0;
      last = status.code();
    });
  }
  // All three in the main context.
  int count = 0;
  int ok = 0;
  absl::StatusCode last = absl::StatusCode::kOk;
};

// Run: passes pause points until it is cancelled, or has made so many steps.
Co<absl::Status> Steps(JobContext& job, int steps);
// Run: yields until it is cancelled, softly (then it succeeds) or by force, or `finish` is set.
Co<absl::Status> YieldUntil(JobContext& job, Atomic<bool>& finish);

}  // namespace jobcore::threads

#endif  // JOBCORE_TESTS_THREADS_THREAD_WORLD_H_
