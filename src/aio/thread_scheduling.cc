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
namespace {

void AskForSlice(__u64 ns) {
  sched_attr now{};
  if (syscall(SYS_sched_getattr, 0, &now, sizeof(now), 0) != 0 || now.sched_policy != SCHED_NORMAL) return;
  now.sched_runtime = ns;
  (void)syscall(SYS_sched_setattr, 0, &now, 0);
}

}  // namespace

void AskToRunPromptly() { AskForSlice(100'000); }  // the least

void AskToRunAsUsual() { AskForSlice(0); }

void AskToYield() {
  AskToRunAsUsual();
  constexpr int kNice = 10;
  // Of this thread only, in Linux.
  (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + kNice);
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
