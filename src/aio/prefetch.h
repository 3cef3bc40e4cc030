// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_AIO_PREFETCH_H_
#define JOBCORE_AIO_PREFETCH_H_

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Asks for the cache line of `address`, to be written to. Worth it for one that comes from another processor: a load
// would fetch it to be read only, and the write that follows would then have to ask for it once more.
inline void PrefetchForWrite(const void* address) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" ::"m"(*static_cast<const char*>(address)));  // the builtin prefetches for reading there
#else
  __builtin_prefetch(address, 1);
#endif
}

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_PREFETCH_H_
