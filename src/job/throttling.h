// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_SRC_JOB_THROTTLING_H_
#define JOBCORE_SRC_JOB_THROTTLING_H_

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "job-common/clock.h"
#include "job-common/job_mutex.h"
#include "job-driver/rate_limit.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// A job that has, or had, a speed limit.
struct Throttling {
  // As monitors have set it; the job takes it over when its word says that it has changed.
  Allowance allowance ABSL_GUARDED_BY(job_mutex);

  // --- Only touched in the job's context ---
  RateLimit limit;
  uint64_t units = 0;  // that the job wants to start
  TimePoint looked_at;
  TimePoint start;  // when it may, as of then

  // For how long the job has waited; while it waits, less the time when it began to (so it is negative then). One
  // value, so that any thread can read it. Written in the job's context.
  std::atomic<int64_t> waited{0};
  void BeginWait(TimePoint now) { waited.fetch_sub(now.time_since_epoch().count(), std::memory_order_relaxed); }
  void EndWait(TimePoint now) {
    if (waited.load(std::memory_order_relaxed) < 0) {
      waited.fetch_add(now.time_since_epoch().count(), std::memory_order_relaxed);
    }
  }
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_SRC_JOB_THROTTLING_H_
