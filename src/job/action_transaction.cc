// SPDX-License-Identifier: Apache-2.0

#include "job-monitor/action_transaction.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/probe.h"
#include "job-common/job_core.h"
#include "job/job_ops.h"
#include "job/transaction_queue.h"

namespace jobcore::inline JOBCORE_ABI::monitor {

// --- An action for tests ---

namespace {

class Failing final : public Action {
 public:
  explicit Failing(absl::Status why) : why_(std::move(why)) {
    if (why_.ok()) internal::Die("FailingAction that is to succeed");
  }
  std::string_view type() const override { return "abort"; }
  Co<absl::StatusOr<std::unique_ptr<PreparedAction>>> Prepare(const ActionSite&) override { co_return why_; }

 private:
  const absl::Status why_;
};

}  // namespace

std::unique_ptr<Action> FailingAction(absl::Status why) { return std::make_unique<Failing>(std::move(why)); }

// --- What a transaction has while it runs ---

class ActionTransaction::Site final : public ActionSite {
 public:
  Site(JobCore& core, const TransactionOptions& options)
      : core_(core), name_(options.name), deadline_(SaturatingAdd(Now(), options.timeout)) {
    if (options.completion == CompletionMode::kGrouped) group_.emplace(core);
  }
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  JobCore& core() const override { return core_; }
  const DrainedSection& section() const override { return section_; }
  JobTxnBuilder* group() const override { return group_.has_value() ? &*group_ : nullptr; }
  TimePoint deadline() const override { return deadline_; }
  const std::string& transaction() const override { return name_; }

  TimePoint Now() const { return core_.main_context().clock().Now(); }
  void SetSection(DrainedSection section) JOBCORE_EXCLUDES(job_mutex) { section_ = std::move(section); }

 private:
  JobCore& core_;
  const std::string name_;
  const TimePoint deadline_;
  DrainedSection section_;
  mutable std::optional<JobTxnBuilder> group_;  // members join through what is otherwise constant for actions
};

// What has been prepared, and not been decided about. Whatever ends early, nothing of this stays.
class ActionTransaction::PreparedList {
 public:
  PreparedList() = default;
  ~PreparedList() JOBCORE_EXCLUDES(job_mutex) {
    for (; !actions_.empty(); actions_.pop_back()) actions_.back()->Abort();
  }
  PreparedList(const PreparedList&) = delete;
  PreparedList& operator=(const PreparedList&) = delete;

  void Reserve(size_t n) { actions_.reserve(n); }
  void Add(std::unique_ptr<PreparedAction> action) { actions_.push_back(std::move(action)); }  // reserved

  Co<void> CommitAll(TimePoint deadline) JOBCORE_EXCLUDES(job_mutex) {
    const std::vector<std::unique_ptr<PreparedAction>> all = std::exchange(actions_, {});
    for (const auto& action : all) action->Commit();
    for (const auto& action : all) co_await action->Clean(deadline);
  }
  // Each is undone completely before the one that was prepared before it.
  Co<void> AbortAll(TimePoint deadline) JOBCORE_EXCLUDES(job_mutex) {
    while (!actions_.empty()) {
      const std::unique_ptr<PreparedAction> last = std::move(actions_.back());
      actions_.pop_back();
      last->Abort();
      co_await last->Clean(deadline);
    }
  }

 private:
  std::vector<std::unique_ptr<PreparedAction>> actions_;
};

// --- ActionTransaction ---

ActionTransaction::ActionTransaction(JobCore& core, TransactionOptions options)
    : core_(&core), options_(std::move(options)) {}
ActionTransaction::~ActionTransaction() = default;
ActionTransaction::ActionTransaction(ActionTransaction&&) noexcept = default;

void ActionTransaction::Add(std::unique_ptr<Action> action) {
  if (action == nullptr) internal::Die(absl::StrCat("transaction '", options_.name, "': a null action"));
  actions_.push_back(std::move(action));
}

Co<absl::Status> ActionTransaction::Run(ActionTransaction transaction) {
  JobCore& core = *transaction.core_;
  const TransactionOptions& options = transaction.options_;
  if (AioContext::Current() != &core.main_context()) {
    co_return absl::FailedPreconditionError(
        absl::StrCat("transaction '", options.name, "' must be run in the core's main context"));
  }
  // Destroyed in reverse: what was prepared is undone while its resources still stand still, and it is still its turn.
  internal::TransactionTurn turn(core, options.name);
  Site site(core, options);
  PreparedList prepared;
  absl::Status status = co_await StandStill(transaction, site, turn);
  if (status.ok()) status = co_await PrepareAll(transaction, site, prepared);
  if (status.ok() && site.group() != nullptr) status = site.group()->Seal();
  // Not site.deadline(), which may have passed: what has been decided must come to its end.
  const TimePoint deadline = SaturatingAdd(site.Now(), options.timeout);
  if (status.ok()) {
    co_await prepared.CommitAll(deadline);
  } else {
    internal::Reached("transaction.rolled_back");
    co_await prepared.AbortAll(deadline);
  }
  co_return status;
}

// One section over all, opened in one step; again if one of the actions was about other resources by then.
Co<absl::Status> ActionTransaction::StandStill(const ActionTransaction& transaction, Site& site,
                                               internal::TransactionTurn& turn) {
  const auto resources_now = [&transaction] {
    std::vector<std::shared_ptr<Resource>> resources;
    for (const std::unique_ptr<Action>& action : transaction.actions_) action->AddResources(resources);
    return resources;
  };
  for (std::vector<std::shared_ptr<Resource>> wanted = resources_now(); !wanted.empty();) {
    if (absl::Status s = co_await turn.Take(std::move(wanted), site.deadline()); !s.ok()) co_return s;
    std::vector<Resource*> resources;
    resources.reserve(turn.resources().size());
    for (const std::shared_ptr<Resource>& resource : turn.resources()) resources.push_back(resource.get());
    const std::string name = absl::StrCat("transaction '", site.transaction(), "'");
    absl::StatusOr<DrainedSection> section =
        co_await DrainedSection::Open(resources, {.name = name, .deadline = site.deadline()});
    if (!section.ok()) co_return section.status();
    site.SetSection(*std::move(section));
    wanted = resources_now();
    if (wanted == turn.resources()) break;
    internal::Reached("transaction.resources_changed");
    site.SetSection(DrainedSection());
  }
  co_return absl::OkStatus();
}

Co<absl::Status> ActionTransaction::PrepareAll(const ActionTransaction& transaction, Site& site,
                                               PreparedList& prepared) {
  prepared.Reserve(transaction.actions_.size());
  for (const std::unique_ptr<Action>& action : transaction.actions_) {
    absl::Status status;
    try {
      absl::StatusOr<std::unique_ptr<PreparedAction>> one = co_await action->Prepare(site);
      status = one.status();
      if (status.ok()) prepared.Add(*std::move(one));
    } catch (...) {
      status = StatusFromException("Prepare");
    }
    if (!status.ok()) co_return status;
  }
  co_return absl::OkStatus();
}

}  // namespace jobcore::inline JOBCORE_ABI::monitor
