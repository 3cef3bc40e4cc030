// SPDX-License-Identifier: Apache-2.0

#include "aio/thread_scheduling.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace jobcore::inline JOBCORE_ABI::internal {

// The C library has no function for this. For the usual policy, `sched_runtime` is the time slice: whoever has a
// shorter one than the thread that is running takes the processor from it when it is woken.
void AskToRunPromptly() {
  constexpr __u64 kSlice = 100'000;  // ns: the least
  sched_attr now{};
  if (syscall(SYS_sched_getattr, 0, &now, sizeof(now), 0) != 0 || now.sched_policy != SCHED_NORMAL) return;
  now.sched_runtime = kSlice;
  (void)syscall(SYS_sched_setattr, 0, &now, 0);
}

void AskToYield() {
  constexpr int kNice = 10;
  // Of this thread only, in Linux.
  (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + kNice);
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
