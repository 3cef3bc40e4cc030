// SPDX-License-Identifier: Apache-2.0

#include "job/transaction_queue.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/probe.h"
#include "job-common/aio_wait.h"
#include "job-common/job_core.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI::internal {

bool TransactionTurn::Overlaps(const TransactionTurn& other) const {
  return std::any_of(resources_.begin(), resources_.end(), [&](const std::shared_ptr<Resource>& resource) {
    return std::find(other.resources_.begin(), other.resources_.end(), resource) != other.resources_.end();
  });
}

const TransactionTurn* TransactionTurn::InTheWay() const {
  for (const TransactionTurn* other : JobOps::Transactions(core_)) {
    if (other == this) return nullptr;
    if (Overlaps(*other)) return other;
  }
  return nullptr;
}

Co<absl::Status> TransactionTurn::Take(Resources resources, TimePoint deadline) {
  Leave();
  resources_ = std::move(resources);
  {
    JobLock lock(core_);
    JobOps::Transactions(core_).push_back(this);
  }
  const auto must_wait = [this]() JOBCORE_EXCLUDES(job_mutex) {
    JobLock lock(core_);
    return InTheWay() != nullptr;
  };
  const std::string what = absl::StrCat("turn of transaction '", name_, "'");
  const absl::Status waited = co_await AioWaitWhile(core_, must_wait, {.name = what, .deadline = deadline});
  if (waited.ok()) co_return absl::OkStatus();
  Reached("transaction.not_its_turn_in_time");
  JobLock lock(core_);
  const TransactionTurn* const other = InTheWay();
  co_return absl::DeadlineExceededError(
      absl::StrCat("it was not the ", what, " by its deadline",
                   other != nullptr ? absl::StrCat(": transaction '", other->name_, "' was before it") : ""));
}

void TransactionTurn::Leave() {
  JobLock lock(core_);
  if (std::erase(JobOps::Transactions(core_), this) != 0) JobOps::NoteChange(core_);
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
