// SPDX-License-Identifier: Apache-2.0
// EXPECT: call to implicitly-deleted copy constructor of .*NormalGrant
// EXPECT: call to deleted member function 'AwaitBegin'
#include "job-monitor/job_gate.h"

namespace jobcore::gate {

// One grant, one holder; and what a coroutine waits with has a name (g++-12 destroys it twice otherwise).
Co<void> Wait(JobGate& gate, const NormalGrant& grant) {
  const AcquireOptions options;
  const auto waited = co_await gate.AwaitBegin(JobClass::kQuery, options);
#ifdef SHOULD_FAIL
  NormalGrant copy = grant;
  const auto unnamed = co_await gate.AwaitBegin(JobClass::kQuery, AcquireOptions());
#endif
}

}  // namespace jobcore::gate
