// SPDX-License-Identifier: Apache-2.0
//
// The io_uring engine with all that can be chosen about it; IoEngine::Uring has the defaults.

#ifndef JOBCORE_AIO_URING_ENGINE_H_
#define JOBCORE_AIO_URING_ENGINE_H_

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "job-common/io_engine.h"

namespace jobcore::inline JOBCORE_ABI::internal {

struct UringOptions {
  int helpers = 1;         // threads for what io_uring cannot do
  unsigned entries = 256;  // of the ring, a power of two, at least 2: one more than there are requests in the kernel
  // Transfers from this size on are handed to the kernel's own threads. Smaller ones are done at once where the page
  // cache allows it, which is the cheapest way, but keeps the ring's only thread from everything else.
  size_t async_bytes = size_t{32} * 1024;
};

absl::StatusOr<std::unique_ptr<IoEngine>> MakeUringEngine(const UringOptions& options);

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_URING_ENGINE_H_
