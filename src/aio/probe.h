// SPDX-License-Identifier: Apache-2.0
//
// Where tests look into the core, and make it fail: nothing in production. See job-testing/probes.h.

#ifndef JOBCORE_AIO_PROBE_H_
#define JOBCORE_AIO_PROBE_H_

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

#ifdef JOBCORE_INSTRUMENTED

// This rare branch was taken. `branch` lives forever.
void Reached(const char* branch);
// Is what comes next to fail? `site` lives forever.
bool FaultPoint(const char* site);

#else

constexpr void Reached(const char*) {}
constexpr bool FaultPoint(const char*) { return false; }

#endif

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_PROBE_H_
