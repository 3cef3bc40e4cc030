// SPDX-License-Identifier: Apache-2.0
//
// What the core synchronises with: the types of the standard library, by their names here. One of the seams that
// tests replace: in the instrumented build each operation is a point at which a test decides which thread goes on
// (job-testing/controlled_threads.h).

#ifndef JOBCORE_JOB_COMMON_SYNC_H_
#define JOBCORE_JOB_COMMON_SYNC_H_

#include "job-common/fwd.h"

#ifdef JOBCORE_INSTRUMENTED
#include "job-testing/instrumented_sync.h"
#else

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace jobcore::inline JOBCORE_ABI::internal {

using Mutex = std::mutex;
using CondVar = std::condition_variable;
using Thread = std::thread;
// For what threads agree by. What is only shown (names, counters, times in a dump) is a plain std::atomic.
template <typename T>
using Atomic = std::atomic<T>;

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_INSTRUMENTED

#endif  // JOBCORE_JOB_COMMON_SYNC_H_
