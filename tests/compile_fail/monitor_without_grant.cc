// SPDX-License-Identifier: Apache-2.0
// EXPECT: no viable conversion|no matching member function
// EXPECT: call to deleted (member )?function 'Enter'
#include <utility>

#include "job-monitor/gated_monitor.h"

namespace jobcore::gate {

// C3: nobody gets at the monitor without a grant for it; that of an asynchronous job as a whole is none.
void Command(GatedMonitor<int>& monitor, NormalGrant normal, const AsyncGrant& job, const AgentGrant& agent) {
  auto session = monitor.Enter(normal);
#ifdef SHOULD_FAIL
  auto of_job = monitor.Enter(job);
  auto of_agent = monitor.Enter(agent);
  auto of_nobody = monitor.Enter();
  auto of_temporary = monitor.Enter(std::move(normal));
#endif
}

}  // namespace jobcore::gate
