// SPDX-License-Identifier: Apache-2.0
//
// Words for dumps of waits.

#ifndef JOBCORE_SRC_JOB_WAIT_TEXT_H_
#define JOBCORE_SRC_JOB_WAIT_TEXT_H_

#include <string>

#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_core.h"
#include "job-monitor/wait_dump.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// How long a reader waits for a job_mutex that may be stuck.
inline constexpr Nanoseconds kMutexPatience = std::chrono::seconds(1);

// "12 ms", "3.2 s", "320 s".
std::string DurationText(Nanoseconds duration);
// Who holds it, so that a reader could not have it.
std::string StuckMutexText(const JobCore& core);
monitor::LoopState Observe(const AioContext& context);
// "in callback 'job', polled 3.2 s ago".
std::string LoopText(const monitor::LoopState& loop);

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_SRC_JOB_WAIT_TEXT_H_
