// SPDX-License-Identifier: Apache-2.0
//
// What follows from a change of a gate and must not be done under its mutex: stop callbacks and dropped work may come
// back to the gate, and so may what a job's memory holds. Declared before the lock, so that it ends after it.

#ifndef JOBCORE_GATE_CONSEQUENCES_H_
#define JOBCORE_GATE_CONSEQUENCES_H_

#include <memory>
#include <stop_token>

#include "job-common/fwd.h"
#include "job-monitor/gate_waiter.h"

namespace jobcore::inline JOBCORE_ABI::gate {

class Consequences {
 public:
  Consequences() = default;
  ~Consequences();
  Consequences(const Consequences&) = delete;
  Consequences& operator=(const Consequences&) = delete;

  // A coroutine that has its answer goes on.
  void Tell(detail::GateWaiter& waiter);
  void RequestStop(const detail::AsyncHolder& job) { stop_ = job.stop; }
  void Free(std::unique_ptr<detail::AsyncHolder> job) { over_ = std::move(job); }

 private:
  detail::GateWaiter* first_ = nullptr;
  detail::GateWaiter* last_ = nullptr;
  std::stop_source stop_{std::nostopstate};
  std::unique_ptr<detail::AsyncHolder> over_;
};

}  // namespace jobcore::inline JOBCORE_ABI::gate

#endif  // JOBCORE_GATE_CONSEQUENCES_H_
