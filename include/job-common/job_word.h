// SPDX-License-Identifier: Apache-2.0
//
// The heart of a job: one atomic word that holds what is asked of the job (requests) and what it is doing
// (activity), so that a driver's pause point is one load and one branch.
//
//   activity     who may leave it, and to where
//   -----------  -------------------------------------------------------------------------------------------
//   not started  Start, under job_mutex              -> running
//                an abort, under job_mutex           -> done
//   running      the job itself                      -> idle    (lock-free: yield, sleep)
//                the job itself, under job_mutex     -> parked  (together with status and event)
//                the job itself, under job_mutex     -> done    (its Run has ended)
//   idle         anybody: enter, timer, pause, force -> running (lock-free; exactly one succeeds)
//   parked       resume or force, under job_mutex    -> running (together with status and event)
//   done         nobody
//
// Whoever takes the word out of not started, idle or parked thereby owns the suspended job until it has
// posted the job's resumption to its context: nobody else can resume it. A parked job is left alone by Enter
// (a pause is a gate); Enter on a job that is not idle leaves the sticky *woken* bit, which the next yield
// consumes, so a wake-up that comes early is never lost.
//
// The pause bit mirrors "there are pause reasons", the move bit "there is another context to go to"; both are
// written under job_mutex only. A job that has the move bit does not park before it has moved.

#ifndef JOBCORE_JOB_COMMON_JOB_WORD_H_
#define JOBCORE_JOB_COMMON_JOB_WORD_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/sched_point.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {

class JobWord {
 public:
  enum class Activity : uint32_t { kNotStarted, kRunning, kIdle, kParked, kDone };

  // --- Any thread, lock-free ---

  // The hot path of every pause point: does anybody want anything from the job?
  bool NeedsAttention() const { return (word_.load(std::memory_order_relaxed) & kAttention) != 0; }

  Activity activity() const { return ActivityOf(Load()); }
  bool pause_requested() const { return (Load() & kPause) != 0; }
  bool cancel_requested() const { return (Load() & kCancel) != 0; }  // soft or force
  bool force_cancelled() const { return (Load() & kForce) != 0; }
  bool move_requested() const { return (Load() & kMove) != 0; }
  // Asked to pause, and not told to stop: the job must not run its driver's code past a pause point.
  bool must_park() const { return (Load() & (kPause | kForce)) == kPause; }
  // Asked to pause or to move, and not told to stop: the next pause point leads into the gate.
  bool must_halt() const {
    const uint32_t word = Load();
    return (word & kForce) == 0 && (word & (kPause | kMove)) != 0;
  }

  // Enter. True: the job was idle and is now running; the caller must post its resumption.
  bool TakeByEnter() {
    SchedPoint("job.word.enter");
    uint32_t word = Load();
    for (;;) {
      switch (ActivityOf(word)) {
        case Activity::kNotStarted:
        case Activity::kDone:
          return false;
        case Activity::kRunning:
        case Activity::kParked:
          if ((word & kWoken) != 0 || Exchange(word, word | kWoken)) return false;
          break;
        case Activity::kIdle:
          if (Exchange(word, With(word, Activity::kRunning) | kWoken)) return true;
          break;
      }
    }
  }

  // --- The job's own context ---

  // A timer came due. True: the job was idle and the caller resumes it.
  bool TakeByTimer() {
    SchedPoint("job.word.timer");
    uint32_t word = Load();
    while (ActivityOf(word) == Activity::kIdle)
      if (Exchange(word, With(word, Activity::kRunning))) return true;
    return false;
  }

  // running -> idle. False, and nothing changed, if there is a request to look at or a wake-up to consume.
  // `in_gate`: where pauses and moves are being seen to already.
  bool TryIdle(bool in_gate = false) {
    SchedPoint("job.word.idle");
    const uint32_t obstacles = (kAttention | kWoken) & ~(in_gate ? kPause | kMove : 0);
    uint32_t word = Load();
    while ((word & obstacles) == 0)
      if (Exchange(word, With(word, Activity::kIdle))) return true;
    return false;
  }

  // --- The job's own context: for a speed limit ---

  // The hot path of Throttle: NeedsAttention, or there is a limit.
  bool NeedsThrottling() const { return (word_.load(std::memory_order_relaxed) & (kAttention | kLimited)) != 0; }
  bool limited() const { return (Load() & kLimited) != 0; }
  // True if the speed was changed since the last call.
  bool ConsumeSpeedChange() {
    return (Load() & kSpeedChanged) != 0 &&
           (word_.fetch_and(~kSpeedChanged, std::memory_order_acq_rel) & kSpeedChanged) != 0;
  }
  // As TryIdle, for a wait that Enter does not end: what keeps the job running is a request, or a change of speed
  // not consumed. A wake-up stays for the next yield.
  bool TryIdleThrottled(bool in_gate) {
    SchedPoint("job.word.idle_throttled");
    const uint32_t obstacles = (kAttention | kSpeedChanged) & ~(in_gate ? kPause | kMove : 0);
    uint32_t word = Load();
    while ((word & obstacles) == 0)
      if (Exchange(word, With(word, Activity::kIdle))) return true;
    return false;
  }

  // True if the job was woken since the last call.
  bool ConsumeWoken() {
    return (Load() & kWoken) != 0 && (word_.fetch_and(~kWoken, std::memory_order_acq_rel) & kWoken) != 0;
  }

  // --- Under job_mutex ---

  // These return true if the job was idle and is now running: the caller must post its resumption.
  bool RequestPause() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return Request(kPause); }
  bool RequestMove() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return Request(kMove); }
  bool RequestForce() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { return Request(kForce | kCancel); }
  // A soft cancel wakes as Enter does.
  bool RequestCancel() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    word_.fetch_or(kCancel, std::memory_order_acq_rel);
    return TakeByEnter();
  }
  void ClearPause() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { word_.fetch_and(~kPause, std::memory_order_acq_rel); }
  void ClearMove() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { word_.fetch_and(~kMove, std::memory_order_acq_rel); }
  // Whatever the job waits for, it looks again; only a wait for its limit cares. (As above: post if true.)
  bool RequestSpeedChange(bool limited) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) {
    if (!limited) word_.fetch_and(~kLimited, std::memory_order_acq_rel);
    return Request(limited ? kLimited | kSpeedChanged : kSpeedChanged);
  }
  // The transitions that go with a change of status.
  void Start() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { Set(Activity::kRunning); }
  void Park() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { Set(Activity::kParked); }
  void Unpark() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { Set(Activity::kRunning); }
  void Done() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex) { Set(Activity::kDone); }

 private:
  static constexpr uint32_t kActivity = 0x07;
  static constexpr uint32_t kPause = 0x08;
  static constexpr uint32_t kCancel = 0x10;
  static constexpr uint32_t kForce = 0x20;
  static constexpr uint32_t kMove = 0x40;
  static constexpr uint32_t kWoken = 0x80;
  static constexpr uint32_t kLimited = 0x100;       // mirrors "the speed is not 0"; written under job_mutex only
  static constexpr uint32_t kSpeedChanged = 0x200;  // since the job looked last
  static constexpr uint32_t kAttention = kPause | kForce | kMove;

  static constexpr Activity ActivityOf(uint32_t word) { return static_cast<Activity>(word & kActivity); }
  static constexpr uint32_t With(uint32_t word, Activity activity) {
    return (word & ~kActivity) | static_cast<uint32_t>(activity);
  }
  uint32_t Load() const { return word_.load(std::memory_order_acquire); }
  bool Exchange(uint32_t& expected, uint32_t desired) {
    return word_.compare_exchange_weak(expected, desired, std::memory_order_acq_rel, std::memory_order_acquire);
  }
  // The activity is stable under the mutex except between running and idle, which Set's callers exclude: they
  // own the job, or it is parked or not started. The other bits may change at any time.
  void Set(Activity activity) {
    uint32_t word = Load();
    while (!Exchange(word, With(word, activity))) {
    }
  }
  bool Request(uint32_t bits) {
    SchedPoint("job.word.request");
    uint32_t word = Load();
    for (;;) {
      const bool idle = ActivityOf(word) == Activity::kIdle;
      if (Exchange(word, (idle ? With(word, Activity::kRunning) : word) | bits)) return idle;
    }
  }

  internal::Atomic<uint32_t> word_{0};
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_JOB_WORD_H_
