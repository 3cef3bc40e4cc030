// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_AIO_CPU_RELAX_H_
#define JOBCORE_AIO_CPU_RELAX_H_

#include <atomic>

#include "job-common/fwd.h"
#include "job-common/sched_point.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Tells the processor that this is a spin loop.
inline void CpuRelax() {
  SpinPoint();
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_CPU_RELAX_H_
