// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_AIO_COROUTINE_INTERNAL_H_
#define JOBCORE_AIO_COROUTINE_INTERNAL_H_

#include "job-common/coroutine.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Takes the result of a finished coroutine; aborts, naming it, if an exception left it.
void TakeOrDie(const char* name, Co<void>& co);

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_COROUTINE_INTERNAL_H_
