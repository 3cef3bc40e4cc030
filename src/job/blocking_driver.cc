// SPDX-License-Identifier: Apache-2.0
//
// Two sides meet under BlockingJob::mutex_: the function on its thread, and Run with its hooks in the job's
// context. Run sleeps as a coroutine job does, so that the gate, the job's clock and a move to another context
// apply to it unchanged; the Pause hook brings the function to a stop first. The thread wakes Run by Enter. It
// does so under mutex_: Run takes that once more before it ends, so job, core and driver are still there.

#include "job-driver/blocking_driver.h"

#include <exception>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "job-common/aio_wait.h"
#include "job-common/job_core.h"

namespace jobcore::inline JOBCORE_ABI {

// --- The function's side ---

// After each change that Run or its Pause hook may wait for; mutex_ is held.
void BlockingJob::TellRun() {
  Enter(context_.job());
  if (requests_ != 0) context_.job().core().main_context().wait_domain().Kick();  // somebody may await the function
}

absl::Status BlockingJob::Attend() {
  internal::AssertNoJobMutexHeld("BlockingJob", "CheckPoint");
  std::unique_lock lock(mutex_);
  // The word of the job knows of a force-cancel first.
  if ((requests_ & kPause) != 0 && !force_cancelled()) {
    phase_ = Phase::kAtCheckPoint;
    TellRun();
    changed_.wait(lock, [this] { return (requests_ & kPause) == 0 || (requests_ & kStop) != 0; });
    phase_ = Phase::kRunning;
  }
  if (force_cancelled()) return absl::CancelledError(absl::StrCat("job '", id(), "' was cancelled"));
  return absl::OkStatus();
}

absl::Status BlockingJob::SleepFor(Nanoseconds duration) {
  internal::AssertNoJobMutexHeld("BlockingJob", "SleepFor");
  if (duration > Nanoseconds::zero()) {
    std::unique_lock lock(mutex_);
    if (!force_cancelled()) {
      sleep_ = duration;
      phase_ = Phase::kSleeping;
      TellRun();
      changed_.wait(lock, [this] { return phase_ != Phase::kSleeping || (requests_ & kStop) != 0; });
      phase_ = Phase::kRunning;
    }
  }
  return Attend();
}

void BlockingJob::Perform() noexcept {
  {
    const std::scoped_lock lock(mutex_);
    phase_ = Phase::kRunning;
  }
  result_ = Attend();  // what came after a thread had taken it out of the queue
  if (!result_.ok()) return;
  try {
    result_ = driver_.RunBlocking(*this);
  } catch (...) {
    exception_ = std::current_exception();
  }
}

void BlockingJob::Finished() noexcept {
  const std::scoped_lock lock(mutex_);
  phase_ = Phase::kReturned;
  TellRun();
}

// --- Run's side: the job's context ---

// Into the queue, or out of the check point.
void BlockingJob::Go(const std::shared_ptr<BlockingJob>& self) {
  const std::scoped_lock lock(mutex_);
  requests_ &= ~kPause;
  if (phase_ == Phase::kHeld && !force_cancelled()) {
    pool_.Submit(std::shared_ptr<Task>(self, this));  // if it throws, nothing has happened
    phase_ = Phase::kQueued;
  }
  changed_.notify_one();
}

// True: no thread has it. mutex_ is held.
bool BlockingJob::Withdraw() {
  if (phase_ == Phase::kQueued && pool_.Withdraw(*this)) phase_ = Phase::kHeld;
  return phase_ == Phase::kHeld;
}

// The end of a SleepFor is fixed at the first look, so that it stays what it is while the job is parked. mutex_ is
// held.
void BlockingJob::FixWakeUp() {
  if (phase_ != Phase::kSleeping || sleep_ == Nanoseconds::zero()) return;
  wake_at_ = SaturatingAdd(context_.context().clock().Now(), std::exchange(sleep_, Nanoseconds::zero()));
}

// False: the function has returned. True: until `wake_at`, or until Enter, there is nothing to do.
bool BlockingJob::GoesOn(TimePoint& wake_at) {
  const std::scoped_lock lock(mutex_);
  wake_at = kNoDeadline;
  if (phase_ == Phase::kReturned) return false;
  if (phase_ != Phase::kSleeping) return true;
  FixWakeUp();
  const bool soft_cancelled = cancel_requested() && !soft_cancel_told_;
  if (soft_cancelled || end_sleep_ || context_.context().clock().Now() >= wake_at_) {
    soft_cancel_told_ |= soft_cancelled;
    end_sleep_ = false;
    phase_ = Phase::kRunning;
    changed_.notify_one();
  } else {
    wake_at = wake_at_;
  }
  return true;
}

void BlockingJob::Pause() {
  const std::scoped_lock lock(mutex_);
  requests_ |= kPause;
  Withdraw();
}

void BlockingJob::BeforePark() {
  const std::scoped_lock lock(mutex_);
  FixWakeUp();
}

void BlockingJob::EndSleep() {
  const std::scoped_lock lock(mutex_);
  end_sleep_ = true;
  Enter(context_.job());
}

void BlockingJob::Stop() {
  const std::scoped_lock lock(mutex_);
  requests_ |= kStop;
  if (Withdraw()) {
    result_ = absl::CancelledError();
    phase_ = Phase::kReturned;
  }
  changed_.notify_one();
}

// Or may begin to at any moment.
bool BlockingJob::RunsCode() {
  const std::scoped_lock lock(mutex_);
  return phase_ == Phase::kQueued || phase_ == Phase::kRunning;
}

// No thread has it, nor will unless by Go.
bool BlockingJob::IsOver() {
  const std::scoped_lock lock(mutex_);
  return phase_ == Phase::kHeld || phase_ == Phase::kReturned;
}

absl::Status BlockingJob::TakeResult() {
  if (exception_ != nullptr) std::rethrow_exception(std::exchange(exception_, nullptr));
  return std::move(result_);
}

// --- BlockingDriver ---

// Run's last line of defence: an exception out of the gate must not free a driver whose function runs.
class BlockingDriver::Guard {
 public:
  explicit Guard(BlockingJob& job) : job_(job) {}
  ~Guard() {
    if (!job_.IsOver()) internal::Die(absl::StrCat("Run of job '", job_.id(), "' ended before its blocking function"));
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  BlockingJob& job_;
};

Co<absl::Status> BlockingDriver::Run(JobContext& job) {
  job_.reset(new BlockingJob(*this, pool_, job));
  const Guard guard(*job_);
  job_->Go(job_);
  TimePoint wake_at = kNoDeadline;
  while (job_->GoesOn(wake_at)) {
    const absl::Status status = co_await job.SleepUntil(wake_at);
    if (status.ok()) continue;
    job_->Stop();
    // From now on sleeps and yields of the job end at once.
    const std::string name = absl::StrCat("blocking function of cancelled job '", job.id(), "' to return");
    (void)co_await AioWaitWhile(job.job().core(), [this] { return !job_->IsOver(); }, {.name = name});
  }
  co_return job_->TakeResult();
}

Co<void> BlockingDriver::Pause(JobContext& job) {
  job_->Pause();
  const std::string name = absl::StrCat("blocking function of job '", job.id(), "' to reach a check point");
  // Also if the pause is taken back meanwhile: it may be asked for again, and then the job parks at once.
  const auto runs = [this, &job] { return job_->RunsCode() && !job.force_cancelled(); };
  (void)co_await AioWaitWhile(job.job().core(), runs, {.name = name});
  job_->BeforePark();
}

Co<void> BlockingDriver::Resume(JobContext&) {
  job_->Go(job_);
  return {};
}

void BlockingDriver::EndSleep() {
  if (job_ != nullptr) job_->EndSleep();
}

}  // namespace jobcore::inline JOBCORE_ABI
