// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the job core share: a world with one core, a driver that does what a script
// says and writes down which hooks were called where, and gates at which coroutines stop until the
// test lets them go on. Every world checks, when it ends, that its events and its hooks have kept
// the rules.

#ifndef JOBCORE_TESTS_SUPPORT_JOB_TEST_UTIL_H_
#define JOBCORE_TESTS_SUPPORT_JOB_TEST_UTIL_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-common/aio_context.h"
#include "job-common/aio_wait.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/iothread.h"
#include "job-common/job.h"
#include "job-common/job_core.h"
#include "job-common/job_event.h"
#include "job-common/job_mutex.h"
#include "job-common/job_outcome.h"
#include "job-common/job_status.h"
#include "job-common/job_txn.h"
#include "job-common/verb_reply.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"
#include "job-monitor/event_observer.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"
#include "job-monitor/watchdog.h"
#include "support/virtual_time.h"

namespace jobcore {

// No wait of a test takes longer, so a hang is a failure. Far more than anything needs, on a machine that is busy with
// other things too, and less than ctest's patience.
inline TimePoint Patience(std::chrono::seconds limit = std::chrono::seconds(30)) {
  return SaturatingAdd(Clock::System().Now(), limit);
}

// Which hooks were called, on which driver, in which context. Any thread.
class HookLog {
 public:
  int NewDriver();  // a number for a new driver
  void Add(int driver, std::string_view job, std::string_view hook);

  // The hooks of the drivers of this name, in order; "~" is the destructor.
  std::vector<std::string> Of(std::string_view job) const;
  // "a.Run", "b.Run", … of all jobs, in order; only the hooks named, if any are.
  std::vector<std::string> All(std::initializer_list<std::string_view> hooks = {}) const;
  int Count(std::string_view job, std::string_view hook) const;
  // The name of the context in which the hook was called last; "" if it was not.
  std::string Where(std::string_view job, std::string_view hook) const;
  // Everything has come to its end: each driver had the hooks that the protocol promises, once, in
  // order.
  void CheckProtocol() const;

 private:
  struct Entry {
    int driver;
    std::string job;
    std::string hook;
    std::string context;
  };
  mutable std::mutex mutex_;
  int drivers_ = 0;
  std::vector<Entry> entries_;
};

// What a driver does in each hook; null: nothing, successfully.
struct Script {
  std::function<Co<absl::Status>(JobContext&)> run = nullptr;
  std::function<Co<void>(JobContext&)> pause = nullptr;
  std::function<Co<void>(JobContext&)> resume = nullptr;
  std::function<void(JobContext&, CancelMode)> cancel = nullptr;
  std::function<Co<absl::Status>(JobContext&)> complete = nullptr;
  std::function<Co<absl::Status>(JobContext&, const JobOptions&)> change = nullptr;
  std::function<Co<absl::Status>()> prepare = nullptr;
  std::function<Co<absl::Status>()> commit = nullptr;
  std::function<Co<void>()> abort = nullptr;
  std::function<Co<void>()> clean = nullptr;
  std::function<void()> destroyed = nullptr;
  std::string type = "scripted";
};

class ScriptedDriver final : public JobDriver {
 public:
  ScriptedDriver(HookLog& log, std::string name, Script script)
      : log_(log), name_(std::move(name)), script_(std::move(script)), number_(log.NewDriver()) {}
  ~ScriptedDriver() override;

  std::string_view type() const override { return script_.type; }
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
  struct InHook;
  HookLog& log_;
  const std::string name_;
  const Script script_;
  const int number_;
  std::atomic<int> in_finalisation_{0};
  std::atomic<int> in_gate_{0};
  std::atomic<int> in_request_{0};
};

// How a test tells a job that runs Obey what to do. Any thread; shared with the job.
class Remote {
 public:
  // Lets the job return `status`.
  void Finish(Job& job, const absl::Status& status = absl::OkStatus());

  bool finishing() const { return finish_.load(); }
  absl::Status result() const;
  // How many times the job has come round.
  int turns() const { return turns_.load(); }
  void CountTurn() { turns_.fetch_add(1); }

 private:
  std::atomic<bool> finish_{false};
  std::atomic<int> turns_{0};
  mutable std::mutex mutex_;
  absl::StatusCode code_ = absl::StatusCode::kOk;
  std::string message_;
};

// Yields until told to finish. Cancelled: returns that at once; cancelled softly: succeeds at once.
Co<absl::Status> Obey(JobContext& job, Remote& remote);
// A script for it; with `ready`, it becomes ready first.
Script Obedient(std::shared_ptr<Remote> remote, std::optional<ReadyCapabilities> ready = {});
// A script whose Run returns this at once.
Script Returning(absl::Status status);

// Where coroutines stop until the test opens it. It does not look at cancellation. Made by
// TestWorld, which opens it at the latest when it ends.
class Gate {
 public:
  explicit Gate(AioContext& context) : context_(context.shared_from_this()) {}

  Co<void> Pass();  // any home thread
  void Open();      // any thread
  int reached() const { return reached_.load(); }

 private:
  const std::shared_ptr<AioContext> context_;
  std::atomic<bool> open_{false};
  std::atomic<int> reached_{0};
};

// The answers to verbs.
class Replies {
 public:
  VerbReply Make(AioContext& context);
  int count() const;
  // "OK" or "<CODE>: <message>".
  std::vector<std::string> all() const;

 private:
  struct State {
    std::mutex mutex;
    std::vector<std::string> answers;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

// One core, whose main context the test turns by hand (or which has its own thread), and I/O
// threads. JobRefs and observers of a test are declared after its world.
class TestWorld {
 public:
  struct Options {
    bool own_thread = false;
    bool virtual_time = false;  // the main context goes by clock()
    int io_threads = 0;
    size_t event_capacity = 4096;
    Nanoseconds unresponsive_after = std::chrono::seconds(30);
    size_t history_count = 1024;
    Nanoseconds history_age = std::chrono::hours(1);
  };
  TestWorld() : TestWorld(Options()) {}
  explicit TestWorld(Options options);
  ~TestWorld();
  TestWorld(const TestWorld&) = delete;
  TestWorld& operator=(const TestWorld&) = delete;

  JobCore& core() { return *core_; }
  AioContext& main() { return core_->main_context(); }
  AioContext& io(size_t n = 0) { return io_threads_.at(n)->context(); }
  support::ManualClock& clock() { return clock_; }
  HookLog& log() { return log_; }
  Gate& NewGate();

  // --- Making jobs ---
  JobRef Create(JobSpec spec, Script script);
  JobRef Start(JobSpec spec, Script script);  // creates and starts
  std::unique_ptr<JobDriver> Driver(std::string name, Script script = {});

  // --- Making time pass ---
  // Turns the main loop until `done` holds; false, and a failure, if that takes too long.
  bool RunUntil(absl::FunctionRef<bool()> done, std::string_view what = "condition");
  bool RunUntilStatus(const JobRef& job, std::string_view status);
  bool RunUntilNull(const JobRef& job) { return RunUntilStatus(job, "null"); }
  // Turns all loops until whatever is going on by itself has come to rest.
  void Settle();

  // --- The monitor's side, each in a critical section of its own ---
  absl::Status Pause(const JobRef& job, std::string_view reason = monitor::kUserPause);
  absl::Status Resume(const JobRef& job, std::string_view reason = monitor::kUserPause);
  absl::Status Cancel(const JobRef& job, CancelMode mode = CancelMode::kForce);
  absl::Status Complete(const JobRef& job, VerbReply reply = {});
  absl::Status Change(const JobRef& job, JobOptions options, VerbReply reply = {});
  absl::Status SetSpeed(const JobRef& job, int64_t speed);
  absl::Status Finalize(const JobRef& job, VerbReply reply = {});
  absl::Status Dismiss(const JobRef& job);
  bool Findable(std::string_view id);
  std::string Status(const JobRef& job);   // wire name
  std::string Outcome(const JobRef& job);  // JobOutcome::ToString, "" while open
  monitor::JobInfo Query(const JobRef& job);
  uint64_t LastEvent();

  // --- Events ---
  // "a created", "b running", "b error write stop", "b unresponsive", … since the last call.
  std::vector<std::string> NewEvents();
  // All statuses of the jobs of this name, from the beginning.
  std::vector<std::string> History(std::string_view id);
  // The outcome that the last event of this name carries: JobOutcome::ToString, "" if none.
  std::string EventOutcome(std::string_view id);

 private:
  std::vector<JobEvent> ReadAll(EventCursor& cursor, uint64_t& lost);
  void CheckEvents();

  const bool own_thread_;
  support::ManualClock clock_;
  HookLog log_;
  std::mutex gates_mutex_;
  std::vector<std::unique_ptr<Gate>> gates_;
  std::vector<std::unique_ptr<IOThread>> io_threads_;
  std::unique_ptr<JobCore> core_;
  std::unique_ptr<monitor::Watchdog> watchdog_;  // prints what is stuck; fails nothing
  EventCursor cursor_;
};

// Passes if `status` has this code and its text begins with `start` and names the job.
void ExpectRefused(const absl::Status& status, std::string_view start, std::string_view id,
                   absl::StatusCode code = absl::StatusCode::kFailedPrecondition);

using Strings = std::vector<std::string>;

}  // namespace jobcore

#endif  // JOBCORE_TESTS_SUPPORT_JOB_TEST_UTIL_H_
