// SPDX-License-Identifier: Apache-2.0
//
// BlockingDriver: a job whose work is a plain function, for code that cannot be a coroutine. It runs on a thread
// of a BlockingPool; the job looks to monitors like any other.
//
//   absl::Status Checksum::RunBlocking(BlockingJob& job) {          // may block as it likes
//     while (size_t n = ReadBlock()) {
//       if (absl::Status s = job.CheckPoint(); !s.ok()) return s;     // ~1 ns when nobody asks for anything
//       job.progress().Advance(n);
//     }
//     return absl::OkStatus();
//   }
//
// What the monitor asks for, and when it takes effect:
//
//   the function is       pause                                    force-cancel
//   --------------------  ---------------------------------------  -----------------------------------------
//   waiting for a thread  at once; when resumed, it goes to the    at once; it is never entered
//                         end of the queue
//   running               PAUSED once it is at a check point:      its next check point says Cancelled; Run
//                         none of its code runs while PAUSED       ends when it has returned, not before
//   held by a pause       (it stays, and keeps its thread)         the check point says Cancelled
//   in SleepFor           at once                                  SleepFor says Cancelled
//   returned              at once; its thread is free              the outcome is "cancelled"
//
// A soft cancel ends one SleepFor, the present or the next, and otherwise waits for the function to ask. What is
// asked reaches the function by way of the job's context. ~JobCore waits for it without a limit.

#ifndef JOBCORE_JOB_DRIVER_BLOCKING_DRIVER_H_
#define JOBCORE_JOB_DRIVER_BLOCKING_DRIVER_H_

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/progress.h"
#include "job-common/sync.h"
#include "job-driver/blocking_pool.h"
#include "job-driver/job_context.h"
#include "job-driver/job_driver.h"

namespace jobcore::inline JOBCORE_ABI {

// What the function sees of its job. For the thread that runs the function, until it returns.
class BlockingJob final : private BlockingPool::Task {
 public:
  // Where the function may be stopped: blocks while the job is to be paused. Hold nothing here that whoever
  // pauses the job could need. Ok: go on. Cancelled: force-cancelled, return soon. A load and a branch when
  // nobody asks for anything.
  absl::Status CheckPoint() JOBCORE_EXCLUDES(job_mutex) {
    if (requests_.load(std::memory_order_relaxed) == 0) [[likely]]
      return absl::OkStatus();
    return Attend();
  }

  // Blocks for `duration`, or until the job is cancelled, or the driver calls EndSleep. It is a check point: a
  // pause does not cut it short, nor does it extend it. The job's context keeps the time, by its own clock
  // (virtual or not), from its next turn on. Zero and less: just a check point.
  absl::Status SleepFor(Nanoseconds duration) JOBCORE_EXCLUDES(job_mutex);

  // As in JobContext.
  Progress& progress() { return context_.progress(); }
  bool force_cancelled() const { return context_.force_cancelled(); }
  bool cancel_requested() const { return context_.cancel_requested(); }
  const std::string& id() const { return context_.id(); }
  void Ready(ReadyCapabilities capabilities = {}) JOBCORE_EXCLUDES(job_mutex) { context_.Ready(capabilities); }
  void PublishDetails(JobDetails details) JOBCORE_EXCLUDES(job_mutex) { context_.PublishDetails(std::move(details)); }

 private:
  friend class BlockingDriver;
  enum class Phase : uint8_t { kHeld, kQueued, kRunning, kAtCheckPoint, kSleeping, kReturned };
  enum Request : uint32_t { kPause = 1, kStop = 2 };

  BlockingJob(BlockingDriver& driver, BlockingPool& pool, JobContext& context)
      : driver_(driver), pool_(pool), context_(context) {}

  // The function's thread.
  absl::Status Attend() JOBCORE_EXCLUDES(job_mutex);
  void Perform() noexcept override JOBCORE_EXCLUDES(job_mutex);
  void Finished() noexcept override JOBCORE_EXCLUDES(job_mutex);
  void TellRun() JOBCORE_EXCLUDES(job_mutex);  // mutex_ held

  // Run and the hooks of BlockingDriver, in the job's context: see the source.
  void Go(const std::shared_ptr<BlockingJob>& self);
  void Pause();
  void BeforePark();
  void Stop();
  void EndSleep();
  bool GoesOn(TimePoint& wake_at);
  bool RunsCode();
  bool IsOver();
  absl::Status TakeResult();
  bool Withdraw();   // mutex_ held
  void FixWakeUp();  // mutex_ held

  BlockingDriver& driver_;
  BlockingPool& pool_;
  JobContext& context_;
  internal::Atomic<uint32_t> requests_{0};  // kPause, kStop; written under mutex_

  // Guarded by mutex_. Under it only the pool's mutex and the list of a wait domain are locked.
  internal::Mutex mutex_;
  internal::CondVar changed_;
  Phase phase_ = Phase::kHeld;
  Nanoseconds sleep_{0};             // kSleeping: for how long; zero once wake_at_ is set
  TimePoint wake_at_ = kNoDeadline;  // kSleeping, on the clock of the job's context
  bool end_sleep_ = false;           // the present SleepFor, or the next
  bool soft_cancel_told_ = false;    // it has ended a SleepFor
  absl::Status result_;              // written before kReturned, read after it
  std::exception_ptr exception_;     // likewise
};

class BlockingDriver : public JobDriver {
 public:
  // `pool` must outlive the job.
  explicit BlockingDriver(BlockingPool& pool) : pool_(pool) {}

  // The work, once, on a thread of the pool; an exception fails the job. Cancel and Complete come in the job's
  // context, at the same time: what they share with this needs a mutex, or is atomic. The finalisation hooks
  // come after it.
  virtual absl::Status RunBlocking(BlockingJob& job) = 0;

  // What a pause needs done, the function does before or after its check point.
  Co<absl::Status> Run(JobContext& job) final;
  Co<void> Pause(JobContext& job) final;
  Co<void> Resume(JobContext& job) final;

 protected:
  // For Cancel and Complete: ends the function's SleepFor, the present one or the next.
  void EndSleep();

 private:
  BlockingPool& pool_;
  class Guard;
  std::shared_ptr<BlockingJob> job_;  // shared with the pool; from the first step of Run on
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_DRIVER_BLOCKING_DRIVER_H_
