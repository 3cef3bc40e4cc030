// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/gate_destroy.h"

#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"

namespace jobcore::inline JOBCORE_ABI::gate {

// Somebody is ending the object of `gate`.
class DestroyMark {
 public:
  explicit DestroyMark(JobGate& gate) : gate_(gate) {
    const std::scoped_lock lock(gate_.mutex_);
    ++gate_.destroyers_;
    incarnation_ = gate_.incarnation_;
    was_live_ = gate_.live_;
  }
  ~DestroyMark() {
    const std::scoped_lock lock(gate_.mutex_);
    --gate_.destroyers_;
  }
  DestroyMark(const DestroyMark&) = delete;
  DestroyMark& operator=(const DestroyMark&) = delete;

  absl::Status CheckMayBegin(const AcquireOptions& options) const {
    return was_live_ || options.may_be_dead ? absl::OkStatus() : gate_.Dead();
  }
  // It has been killed: OK if that was our doing.
  absl::Status Killed() { return !was_live_ || gate_.EndLife(incarnation_) ? absl::OkStatus() : gate_.Dead(); }

 private:
  JobGate& gate_;
  uint64_t incarnation_ = 0;
  bool was_live_ = false;
};

absl::StatusOr<NormalGrant> BeginDestroy(JobGate& gate, absl::FunctionRef<absl::Status()> kill,
                                         const AcquireOptions& options) {
  DestroyMark mark(gate);
  if (absl::Status refusal = mark.CheckMayBegin(options); !refusal.ok()) return refusal;
  if (absl::Status failure = kill(); !failure.ok()) return failure;
  if (absl::Status late = mark.Killed(); !late.ok()) return late;
  AcquireOptions dead = options;
  dead.may_be_dead = true;
  dead.incarnation = 0;
  return gate.Begin(JobClass::kDestroy, dead);
}

Co<absl::StatusOr<NormalGrant>> AwaitDestroy(JobGate& gate, Co<absl::Status> kill, const AcquireOptions& options) {
  DestroyMark mark(gate);
  if (absl::Status refusal = mark.CheckMayBegin(options); !refusal.ok()) co_return refusal;
  absl::Status failure = co_await std::move(kill);
  if (!failure.ok()) co_return failure;
  if (absl::Status late = mark.Killed(); !late.ok()) co_return late;
  AcquireOptions dead = options;
  dead.may_be_dead = true;
  dead.incarnation = 0;
  co_return co_await gate.AwaitBegin(JobClass::kDestroy, dead);
}

}  // namespace jobcore::inline JOBCORE_ABI::gate
