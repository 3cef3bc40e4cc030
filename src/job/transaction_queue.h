// SPDX-License-Identifier: Apache-2.0
//
// TransactionTurn: the place of a transaction in the line of those of its core.

#ifndef JOBCORE_SRC_JOB_TRANSACTION_QUEUE_H_
#define JOBCORE_SRC_JOB_TRANSACTION_QUEUE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Who comes later waits for those before him with whom he has a resource in common, and for nobody else: so there is
// always one who need not wait.
class TransactionTurn {
 public:
  using Resources = std::vector<std::shared_ptr<Resource>>;

  TransactionTurn(JobCore& core, std::string name) : core_(core), name_(std::move(name)) {}
  ~TransactionTurn() JOBCORE_EXCLUDES(job_mutex) { Leave(); }
  TransactionTurn(const TransactionTurn&) = delete;
  TransactionTurn& operator=(const TransactionTurn&) = delete;

  // At the end of the line, with these; then until it is its turn, which lasts until it leaves, or is destroyed.
  // DeadlineExceeded: the text names the one that it waited for.
  Co<absl::Status> Take(Resources resources, TimePoint deadline) JOBCORE_EXCLUDES(job_mutex);
  const Resources& resources() const { return resources_; }
  void Leave() JOBCORE_EXCLUDES(job_mutex);

 private:
  // The first in its way; null: none.
  const TransactionTurn* InTheWay() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(job_mutex);
  bool Overlaps(const TransactionTurn& other) const;

  JobCore& core_;
  const std::string name_;
  Resources resources_;  // others look at them while it is in the line, under job_mutex; else only it does
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_SRC_JOB_TRANSACTION_QUEUE_H_
