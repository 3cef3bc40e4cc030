// SPDX-License-Identifier: Apache-2.0
//
// BlockingDriver: a job whose work is a plain function, for code that cannot be a coroutine. It runs on a thread
// of a BlockingPool; the job looks to monitors like any other.
//
//   class Checksum final : public BlockingDriver {
//    public:
//     explicit Checksum(BlockingPool& pool) : BlockingDriver(pool) {}
//     absl::Status RunBlocking(BlockingJob& job) override {           // may block as it likes
//       while (size_t n = ReadBlock()) {
//         if (absl::Status s = job.CheckPoint(); !s.ok()) return s;    // ~1 ns when nobody asked for anything
//         job.progress().Advance(n);
//       }
//       return absl::OkStatus();
//     }
//   };
//
// What the monitor asks for, and when it takes effect:
//
//   the function is        pause                                  force-cancel
//   ---------------------  -------------------------------------  --------------------------------------------
//   waiting for a thread   at once; it goes to the end of the     at once; the function is never entered
//                          queue when it is resumed
//   running                PAUSED once it is at a check point:    its next check point says Cancelled, and the
//                          no code of it runs while PAUSED        job goes on once it has returned, not before
//   at a check point       (it is held there, with its thread)    the check point says Cancelled
//   in SleepFor            at once                                SleepFor says Cancelled
//   returned               at once; its thread is free            the outcome is "cancelled"
//
// A soft cancel ends one SleepFor, the present or the next, and otherwise waits for the function to ask.
// Destroying the core waits for its functions, without a limit: have check points.

#ifndef JOBCORE_JOB_DRIVER_BLOCKING_DRIVER_H_
#define JOBCORE_JOB_DRIVER_BLOCKING_DRIVER_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/progress.h"
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
  // pause does not cut it short, nor does it extend it. Time is kept in the job's context, by its clock
  // (whichever that is), from the next turn of its loop on.
  absl::Status SleepFor(Nanoseconds duration) JOBCORE_EXCLUDES(job_mutex);

  // The function is the one that writes it.
  Progress& progress() { return context_.progress(); }

  // As in JobContext.
  bool force_cancelled() const { return context_.force_cancelled(); }
  bool cancel_requested() const { return context_.cancel_requested(); }
  const std::string& id() const { return context_.id(); }
  void Ready(ReadyCapabilities capabilities = {}) JOBCORE_EXCLUDES(job_mutex) { context_.Ready(capabilities); }
  void PublishDetails(JobDetails details) JOBCORE_EXCLUDES(job_mutex) { context_.PublishDetails(std::move(details)); }

 private:
  friend class BlockingDriver;
  enum class Phase : uint8_t { kHeld, kQueued, kRunning, kAtCheckPoint, kSleeping, kReturned };
  static constexpr uint32_t kPause = 1;
  static constexpr uint32_t kStop = 2;

  BlockingJob(BlockingDriver& driver, BlockingPool& pool, JobContext& context)
      : driver_(driver), pool_(pool), context_(context) {}

  // The function's thread.
  absl::Status Attend() JOBCORE_EXCLUDES(job_mutex);
  void Perform() noexcept override;
  void Finished() noexcept override JOBCORE_EXCLUDES(job_mutex);
  void TellRun() JOBCORE_EXCLUDES(job_mutex);  // mutex_ held

  // Run and the hooks of BlockingDriver, in the job's context.
  void Go(const std::shared_ptr<BlockingJob>& self);  // into the queue, or out of the check point
  void Pause();
  void BeforePark();
  void Stop();
  void EndSleep();
  bool GoesOn(TimePoint& wake_at);  // false: the function has returned; ends a SleepFor that is over
  bool RunsCode();                  // or may begin to at any moment
  bool IsOver();                    // no thread has it, or will get it unless by Go
  absl::Status TakeResult();
  bool Withdraw();   // mutex_ held; true: no thread has it
  void FixWakeUp();  // mutex_ held

  BlockingDriver& driver_;
  BlockingPool& pool_;
  JobContext& context_;
  std::atomic<uint32_t> requests_{0};  // kPause, kStop; written under mutex_

  // Guarded by mutex_. Under it only the pool's mutex and the list of a wait domain are locked.
  std::mutex mutex_;
  std::condition_variable changed_;
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
  // `pool` must outlive the job's Run.
  explicit BlockingDriver(BlockingPool& pool) : pool_(pool) {}

  // The work, once, on a thread of the pool; an exception fails the job. The hooks Cancel and Complete run in
  // the job's context, at the same time as this: what they share needs a mutex or is atomic. The finalisation
  // hooks come after it.
  virtual absl::Status RunBlocking(BlockingJob& job) = 0;

  // In the job's context: not for overriding. What has to be done around a pause, the function does around its check
  // points.
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
