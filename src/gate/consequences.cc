// SPDX-License-Identifier: Apache-2.0

#include "gate/consequences.h"

#include <utility>

namespace jobcore::inline JOBCORE_ABI::gate {

Consequences::~Consequences() {
  while (first_ != nullptr) {
    // Out of the waiter, which may be gone as soon as it is posted.
    detail::GateWaiter& waiter = *std::exchange(first_, first_->next_);
    waiter.Post();
  }
  if (stop_.stop_possible()) stop_.request_stop();
}

void Consequences::Tell(detail::GateWaiter& waiter) {
  waiter.next_ = nullptr;
  (last_ != nullptr ? last_->next_ : first_) = &waiter;
  last_ = &waiter;
}

}  // namespace jobcore::inline JOBCORE_ABI::gate
