// SPDX-License-Identifier: Apache-2.0
//
// Locks by which programs that use the same image keep out of each other's way.

#ifndef JOBCORE_BLOCK_IMAGE_LOCK_H_
#define JOBCORE_BLOCK_IMAGE_LOCK_H_

#include <string_view>

#include "absl/status/status.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Locks the open file `fd`, for as long as it is open, against all writers and, if `writes`, against those who cannot
// bear one. Understood by QEMU, and understands it: for each permission there is one byte that those lock (shared) who
// use it, and another one that those lock who do not let others use it.
// FailedPrecondition: somebody is in the way; or, if `required`, the file system knows no such locks.
absl::Status LockImage(int fd, std::string_view filename, bool writes, bool required);

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_BLOCK_IMAGE_LOCK_H_
