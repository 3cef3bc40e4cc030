// SPDX-License-Identifier: Apache-2.0
//
// The end of the process: for broken invariants only, never for what can happen in a correct program.

#ifndef JOBCORE_AIO_CHECK_H_
#define JOBCORE_AIO_CHECK_H_

#include "absl/strings/string_view.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Writes "jobcore: <message>" to stderr and aborts. The message names the thing that is broken.
[[noreturn]] void Die(absl::string_view message);

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_CHECK_H_
