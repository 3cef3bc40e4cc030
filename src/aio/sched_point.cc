// SPDX-License-Identifier: Apache-2.0

#include "job-common/sched_point.h"

#ifdef JOBCORE_INSTRUMENTED

#include <atomic>

#include "job-testing/thread_control.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {
constinit std::atomic<SchedHook> installed{nullptr};
}  // namespace

SchedHook SetSchedHook(SchedHook hook) { return installed.exchange(hook); }

void SchedPoint(const char* point) {
  if (const SchedHook hook = installed.load(std::memory_order_acquire)) hook(point);
  internal::SwitchPoint(point);
}

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_INSTRUMENTED
