// SPDX-License-Identifier: Apache-2.0
// A Co that is not awaited never runs.
// EXPECT: ignoring return value of .* declared with 'nodiscard' attribute
#pragma clang diagnostic error "-Wunused-result"
#pragma clang diagnostic error "-Wunused-value"
#include "job-common/coroutine.h"

namespace jobcore {

Co<void> Step();

Co<void> TwoSteps() {
  co_await Step();
#ifdef SHOULD_FAIL
  Step();
#endif
}

}  // namespace jobcore
