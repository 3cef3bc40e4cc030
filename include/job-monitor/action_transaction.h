// SPDX-License-Identifier: Apache-2.0
//
// ActionTransaction: several actions that happen at one moment, or not at all.
//
//   monitor::ActionTransaction both(core, {.name = "backup of both", .completion = monitor::CompletionMode::kGrouped});
//   both.Add(block::StartBackupAction({.id = "a"}, a_options));
//   both.Add(block::StartBackupAction({.id = "b"}, b_options));
//   absl::Status status = co_await monitor::ActionTransaction::Run(std::move(both));
//
//   its turn ─> section ─> every Prepare, in order ──┬─ all succeeded ─> every Commit ─────────> every Clean ─> end
//   (behind    (over all     (may wait)              │                  (one sweep, no waits)
//   others)     resources)                           └─ one failed ────> the last prepared: Abort, Clean;
//                                                                       then the one before it; … ─> end
//
// Who may do what follows from the types. An action that has been prepared is an object, which there is only then:
// nothing is committed or aborted that was not prepared, and it is the transaction that decides, for all of them.
// What may wait is a coroutine (Prepare, Clean); Commit and Abort are none, and cannot fail. Nothing here holds a lock
// from one step to the next, and there is none that it could hold: the resources stand still because they are drained.
//
// Two transactions whose resources overlap run one after the other, in the order in which they were started; each
// opens one section over all that its actions need. So they cannot wait for each other, whatever their order.

#ifndef JOBCORE_JOB_MONITOR_ACTION_TRANSACTION_H_
#define JOBCORE_JOB_MONITOR_ACTION_TRANSACTION_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-common/job_txn.h"
#include "job-driver/resource.h"

namespace jobcore::inline JOBCORE_ABI {

namespace internal {
class TransactionTurn;
}

namespace monitor {

// What becomes of the jobs that a transaction starts.
enum class CompletionMode : unsigned char {
  kIndividual,  // each one has its own end
  kGrouped,     // they succeed together or fail together: one group (job_txn.h)
};

// Where an action is prepared. Lives until the transaction has ended, and at one address.
class ActionSite {
 public:
  virtual JobCore& core() const = 0;
  // Covers what all actions of the transaction have named.
  virtual const DrainedSection& section() const = 0;
  // For JobSpec::group; null: each job has a group of its own.
  virtual JobTxnBuilder* group() const = 0;
  // Of whatever Prepare waits for; on the clock of the core's main context.
  virtual TimePoint deadline() const = 0;
  // For messages.
  virtual const std::string& transaction() const = 0;

 protected:
  ~ActionSite() = default;
};

// An action that has been prepared, and what it takes to make it so, or to leave no trace. The transaction calls, in
// the core's main context, Commit or Abort, exactly once, and then Clean, exactly once. If the coroutine that runs the
// transaction is destroyed in the middle, Abort comes without Clean.
class PreparedAction {
 public:
  virtual ~PreparedAction() = default;
  // Those of all actions follow each other with nothing in between. Whatever could fail has been done by Prepare,
  // but for memory: who runs out of it here aborts.
  virtual void Commit() noexcept JOBCORE_EXCLUDES(job_mutex) = 0;
  // What was prepared later has been undone already.
  virtual void Abort() noexcept JOBCORE_EXCLUDES(job_mutex) = 0;
  // Until what Commit or Abort has set off is over; the resources still stand still. Gives up waiting at `deadline`.
  virtual Co<void> Clean(TimePoint /*deadline*/) { return {}; }
};

class Action {
 public:
  virtual ~Action() = default;
  // As monitors spell it: "blockdev-backup". For messages; lives as long as the action.
  virtual std::string_view type() const = 0;
  // Adds what must stand still. Called twice, before these are drained and after; if it says something else the second
  // time, that is drained instead.
  virtual void AddResources(std::vector<std::shared_ptr<Resource>>& /*resources*/) const {}
  // In the core's main context, once at most, in the order of the actions; those before it have been prepared. On
  // error nothing must be left of it: there is nobody else to undo it. An exception is an error, too.
  virtual Co<absl::StatusOr<std::unique_ptr<PreparedAction>>> Prepare(const ActionSite& site)
      JOBCORE_EXCLUDES(job_mutex) = 0;
};

// One that fails: for tests of what comes before it, and for what turns out to be impossible while a list of actions is
// being put together, so that it fails in its place.
std::unique_ptr<Action> FailingAction(absl::Status why = absl::AbortedError("Transaction aborted using Abort action"));

struct TransactionOptions {
  std::string name = "transaction";  // for dumps and errors
  CompletionMode completion = CompletionMode::kIndividual;
  // For its turn, its section and its Prepares, all together; and then for its Cleans.
  Nanoseconds timeout = std::chrono::seconds(30);
};

class [[nodiscard]] ActionTransaction {
 public:
  explicit ActionTransaction(JobCore& core, TransactionOptions options = {});
  ~ActionTransaction();
  ActionTransaction(ActionTransaction&&) noexcept;
  ActionTransaction& operator=(ActionTransaction&&) = delete;

  void Add(std::unique_ptr<Action> action);  // not null
  size_t size() const { return actions_.size(); }

  // All or nothing; one without actions succeeds. In the core's main context, not in the Run of a job with resources,
  // nor where a request to one of the actions' resources is in flight, nor in a Prepare. The error is that of the first
  // action that failed, as it is; or
  //   DeadlineExceeded    it was not its turn, or the resources did not stand still, in time
  //   Aborted             kGrouped: one of the jobs was cancelled, by somebody else, before all were prepared
  //   FailedPrecondition  called elsewhere
  // Destroying the coroutine before it has finished is legal, and undoes what has been prepared.
  static Co<absl::Status> Run(ActionTransaction transaction) JOBCORE_EXCLUDES(job_mutex);

 private:
  class Site;
  class PreparedList;
  static Co<absl::Status> StandStill(const ActionTransaction& transaction, Site& site, internal::TransactionTurn& turn)
      JOBCORE_EXCLUDES(job_mutex);
  static Co<absl::Status> PrepareAll(const ActionTransaction& transaction, Site& site, PreparedList& prepared)
      JOBCORE_EXCLUDES(job_mutex);

  JobCore* core_;
  TransactionOptions options_;
  std::vector<std::unique_ptr<Action>> actions_;
};

}  // namespace monitor
}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_MONITOR_ACTION_TRANSACTION_H_
