// SPDX-License-Identifier: Apache-2.0
//
// Short reads of what is in the page cache, by the thread that asks: copying takes less time than waking up another
// thread, and being woken by it.

#ifndef JOBCORE_AIO_CACHED_READ_H_
#define JOBCORE_AIO_CACHED_READ_H_

#include <optional>

#include "job-common/fwd.h"
#include "job-common/io_engine.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Does `request`, a read, if it is short and all of it is in the page cache.
std::optional<IoResult> ReadFromCache(const IoRequest& request);

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_CACHED_READ_H_
