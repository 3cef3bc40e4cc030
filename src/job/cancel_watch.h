// SPDX-License-Identifier: Apache-2.0
//
// CancelWatch: notices jobs whose Run does not end although they have been force-cancelled.
//
// The delay is the same for all, so a queue in order of cancellation is one in order of deadlines, and one timer
// for its head is enough. Nothing is taken out of the middle: a job that ends in time is only counted off, and when
// none is left the queue is emptied and the timer disarmed, so that it keeps no loop from going to sleep.

#ifndef JOBCORE_SRC_JOB_CANCEL_WATCH_H_
#define JOBCORE_SRC_JOB_CANCEL_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"

namespace jobcore::inline JOBCORE_ABI::internal {

class CancelWatch final : public WorkItem {
 public:
  // `delay` 0: never looks.
  CancelWatch(JobCore& core, Nanoseconds delay)
      : WorkItem("watch of cancelled jobs", &Run), core_(core), delay_(delay) {}

  bool enabled() const { return delay_ > Nanoseconds::zero(); }

  // A job has been force-cancelled; one such job has ended, or has been reported.
  void Add(uint64_t job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  void CountOff() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  // Home thread of the main context, when no job is left: before the loop ends.
  void Stop() { timer_.reset(); }

 private:
  struct Entry {
    TimePoint deadline;
    uint64_t job;  // a number: the job may have gone
  };

  static void Run(WorkItem& item, Reason reason) JOBCORE_EXCLUDES(job_mutex);
  void PostRun() ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  // In the main context: reports who is due, and sets the timer for the next one.
  void Look() JOBCORE_EXCLUDES(job_mutex);
  // At most so many entries of the queue are looked at in one critical section. True: there may be more to do now.
  bool LookAtSome(TimePoint now, TimePoint& next, const std::vector<ListedWait>& waits)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);

  JobCore& core_;
  const Nanoseconds delay_;
  std::deque<Entry> queue_ ABSL_GUARDED_BY(job_mutex);
  size_t running_ ABSL_GUARDED_BY(job_mutex) = 0;  // of the jobs in the queue, those that have not ended
  bool posted_ ABSL_GUARDED_BY(job_mutex) = false;
  std::unique_ptr<AioTimer> timer_;  // main context only; made on first use
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_SRC_JOB_CANCEL_WATCH_H_
