// SPDX-License-Identifier: Apache-2.0
//
// Groups: how members come to an end together. Exactly one actor, Finalise, takes a group from PENDING or
// ABORTING to its end; which critical section posts it is decided by the group's phase.

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/coroutine_internal.h"
#include "aio/probe.h"
#include "job-common/job_txn.h"
#include "job-driver/resource.h"
#include "job/job_ops.h"
#include "job/resource_ops.h"

namespace jobcore::inline JOBCORE_ABI {

JobTxn::JobTxn(JobCore& core, uint64_t number, uint32_t references)
    : core_(core), number_(number), references_(references) {}

JobTxnBuilder::JobTxnBuilder(JobCore& core)
    : txn_(new JobTxn(core, core.next_number_.fetch_add(1, std::memory_order_relaxed), /*references=*/1)) {}

JobTxnBuilder::~JobTxnBuilder() {
  if (txn_ == nullptr || sealed_) return;
  // Posted, because this may run under job_mutex.
  JobCore& core = txn_->core_;
  core.main_context().Post("abort of an unsealed group", [txn = std::move(txn_)]() JOBCORE_EXCLUDES(job_mutex) {
    JobLock lock(txn->core_);
    JobOps::AbortUnsealed(*txn);
  });
}

absl::Status JobTxnBuilder::Seal() {
  if (txn_ == nullptr) return absl::FailedPreconditionError("the group's builder was moved from");
  JobLock lock(txn_->core_);
  sealed_ = true;
  return JobOps::Seal(*txn_);
}

absl::Status JobOps::Seal(JobTxn& txn) {
  if (txn.aborting_) {
    return absl::AbortedError(absl::StrCat("the group has failed before it was sealed: ", Extra(txn).abort_reason));
  }
  if (txn.phase_ != JobTxn::Phase::kOpen) return absl::FailedPreconditionError("the group was sealed before");
  txn.phase_ = JobTxn::Phase::kSealed;
  MaybeConverge(txn);
  return absl::OkStatus();
}

void JobOps::AbortUnsealed(JobTxn& txn) {
  if (txn.phase_ != JobTxn::Phase::kOpen) return;
  AbortGroup(txn, "the group was given up before it was sealed");
}

void JobOps::RemoveMember(JobTxn& txn, Job& job) {
  txn.members_.erase(std::remove(txn.members_.begin(), txn.members_.end(), &job), txn.members_.end());
}

JobTxn::Extra& JobOps::Extra(JobTxn& txn) {
  if (txn.extra_ == nullptr) txn.extra_ = std::make_unique<JobTxn::Extra>();
  return *txn.extra_;
}

void JobOps::AbortGroup(JobTxn& txn, std::string reason) {
  if (txn.aborting_.exchange(true, std::memory_order_relaxed)) return;
  if (txn.phase_ >= JobTxn::Phase::kDecided) internal::Die("a group was aborted after its cut");
  if (txn.phase_ == JobTxn::Phase::kOpen) internal::Reached("group.aborted_before_seal");
  Extra(txn).abort_reason = std::move(reason);
  for (auto member = txn.members_.rbegin(); member != txn.members_.rend(); ++member) AbortMember(**member);
  MaybeConverge(txn);
}

namespace {

// One object each, as they may go to many members and into the events of all of them.
const SharedOutcome& CancelledBeforeStart() {
  static const auto& outcome = *new SharedOutcome(JobOutcome::Cancelled("cancelled before it was started"));
  return outcome;
}

const SharedOutcome& CancelledAfterRun() {
  static const auto& outcome = *new SharedOutcome(JobOutcome::Cancelled("cancelled after it had finished"));
  return outcome;
}

}  // namespace

void JobOps::AbortMember(Job& job) {
  switch (job.status_) {
    case JobStatus::kCreated:  // completes without ever having run
      internal::Reached("group.never_started_member");
      LeaveContext(job);
      job.outcome_ = CancelledBeforeStart();
      SetStatus(job, JobStatus::kAborting);
      return;
    case JobStatus::kRunning:
    case JobStatus::kPaused:
    case JobStatus::kReady:
    case JobStatus::kStandby:
      ForceCancelRunning(job);
      return;
    case JobStatus::kWaiting:
    case JobStatus::kPending:
      internal::Reached("group.aborted_after_run");
      job.outcome_ = CancelledAfterRun();
      SetStatus(job, JobStatus::kAborting);
      return;
    default:  // the member that failed, or one that had been abandoned
      return;
  }
}

void JobOps::MaybeConverge(JobTxn& txn) {
  if (txn.unfinished_ != 0 || txn.phase_ > JobTxn::Phase::kSealed) return;
  if (txn.aborting_) {
    PostFinaliser(txn);
    return;
  }
  if (txn.phase_ == JobTxn::Phase::kOpen) return;
  bool manual = false;
  for (auto member = txn.members_.rbegin(); member != txn.members_.rend(); ++member) {
    SetStatus(**member, JobStatus::kPending);
    manual |= !(*member)->auto_finalize_;
  }
  if (!manual) PostFinaliser(txn);
}

void JobOps::PostFinaliser(JobTxn& txn) {
  JobCore& core = txn.core_;
  txn.phase_ = JobTxn::Phase::kFinalizing;
  NoteChange(core);
  if (txn.members_.empty()) {
    internal::Reached("group.without_members");
    txn.phase_ = JobTxn::Phase::kDone;
    return;
  }
  // No reference: the registry has one to each member until it concludes. Whoever finds none here posts the item again:
  // acquire, so that the loop has let go of it before.
  JobTxn* others = core.to_finalise_.load(std::memory_order_relaxed);
  do {
    txn.next_to_finalise_ = others;
  } while (
      !core.to_finalise_.compare_exchange_weak(others, &txn, std::memory_order_acq_rel, std::memory_order_relaxed));
  if (others == nullptr) Defer(core, *core.main_context_, core.finalise_item_);
}

void JobOps::FailMember(Job& job, const absl::Status& status) {
  job.outcome_ = JobOutcome::Failed(status);
  SetStatus(job, JobStatus::kAborting);
  AbortGroup(*job.txn_, absl::StrCat("job '", job.id_, "' ", job.outcome_->ToString()));
}

// One section over what all members want to stand still, for the smallest of their timeouts. A cancel of the group
// ends the wait.
Co<absl::StatusOr<DrainedSection>> JobOps::DrainMembers(JobTxn& txn, const Members& members) {
  std::vector<Resource*> resources;
  Nanoseconds timeout = Nanoseconds::max();
  for (const JobRef& job : members) {
    if (job->still_at_end().empty()) continue;
    resources.insert(resources.end(), job->still_at_end().begin(), job->still_at_end().end());
    timeout = std::min(timeout, job->resource_use_->drain_timeout);
  }
  const std::string name = absl::StrCat("end of the group of job '", members.back()->id_, "'");
  absl::StatusOr<std::unique_ptr<internal::Section>> section = ResourceOps::Make(resources, {.name = name});
  if (!section.ok()) co_return section.status();
  const TimePoint deadline = SaturatingAdd(txn.core_.main_context_->clock().Now(), timeout);
  auto give_up = [&txn]() JOBCORE_EXCLUDES(job_mutex) {
    JobLock lock(txn.core_);
    return txn.aborting_.load(std::memory_order_relaxed);
  };
  co_return co_await ResourceOps::Open(*std::move(section), deadline, std::move(give_up));
}

JobRef JobOps::Conclude(Job& job, const absl::Status& committed) {
  if (!committed.ok()) {
    internal::Reached("group.commit_failed");
    job.outcome_ = JobOutcome::Failed(committed);
    SetStatus(job, JobStatus::kAborting);
  }
  if (!job.outcome_.has_value()) job.outcome_ = JobOutcome::Succeeded();
  SetStatus(job, JobStatus::kConcluded);
  // One that was never started has no record worth keeping (as in the reference).
  return job.auto_dismiss_ || !job.started_ ? Unregister(job) : JobRef();
}

bool JobOps::Decide(JobTxn& txn) {
  txn.phase_ = JobTxn::Phase::kDecided;
  return !txn.aborting_;
}

void JobOps::EndGroup(JobTxn& txn) {
  txn.phase_ = JobTxn::Phase::kDone;
  txn.finaliser_.store(nullptr, std::memory_order_relaxed);
  txn.members_.clear();
  if (txn.extra_ == nullptr) return;
  for (VerbReply& reply : txn.extra_->finalize_replies) {
    Answer(txn.core_, std::move(reply),
           txn.aborting_ ? absl::AbortedError(txn.extra_->abort_reason) : absl::OkStatus());
  }
  txn.extra_->finalize_replies.clear();
}

void JobOps::RunFinalisers(WorkItem& item, WorkItem::Reason reason) {
  if (reason == WorkItem::Reason::kDrop) return;
  JobCore& core = static_cast<JobCore::FinaliseItem&>(item).core;
  JobTxn* next = nullptr;  // oldest first
  for (JobTxn* txn = core.to_finalise_.exchange(nullptr, std::memory_order_acq_rel); txn != nullptr;) {
    JobTxn* const newer = std::exchange(next, txn);
    txn = std::exchange(txn->next_to_finalise_, newer);
  }
  Singles singles;
  while (next != nullptr) {
    JobTxn& txn = *next;
    next = txn.next_to_finalise_;  // now: the group may soon be gone
    CalledHooks called;
    if (NeedsNoCoroutine(txn, called)) {
      singles.push_back({.txn = &txn, .job = FixedMembers(txn).front()});
      if (singles.size() == kMostAtOnce) FinaliseTogether(core, singles);
    } else {
      FinaliseTogether(core, singles);  // what has converged first ends first
      SpawnFinaliser(txn, std::move(called));
    }
  }
  FinaliseTogether(core, singles);
}

void JobOps::SpawnFinaliser(JobTxn& txn, CalledHooks called) {
  Members newest_first;
  const absl::InlinedVector<Job*, 1>& members = FixedMembers(txn);
  newest_first.reserve(members.size());
  for (auto member = members.rbegin(); member != members.rend(); ++member) newest_first.emplace_back(**member);
  Spawn("finalisation of a group", Finalise(txn, std::move(newest_first), std::move(called)));
}

namespace {

Co<absl::Status> Fail(absl::Status status) { co_return status; }

// A hook that is no coroutine itself may throw.
Co<absl::Status> CallPrepare(JobDriver& driver) {
  try {
    return driver.Prepare();
  } catch (...) {
    return Fail(StatusFromException("Prepare"));
  }
}

Co<absl::Status> CallCommit(JobDriver& driver) {
  try {
    return driver.Commit();
  } catch (...) {
    return Fail(StatusFromException("Commit"));
  }
}

}  // namespace

// --- Groups of one whose driver has no hooks, as far as one can tell from what calling them returns ---
//
// Most jobs are such. They need no coroutine, and many of them go through the cut and conclude in one critical section
// each. The first hook that has a frame makes its group leave the others.

bool JobOps::NeedsNoCoroutine(JobTxn& txn, CalledHooks& called) {
  Job& job = *FixedMembers(txn).front();
  if (FixedMembers(txn).size() > 1 || !job.still_at_end().empty()) return false;
  internal::Finaliser& at = *txn.core_.finaliser_;
  txn.finaliser_.store(&at, std::memory_order_release);
  if (txn.aborting_.load(std::memory_order_relaxed)) return true;
  at.Enter("Prepare", &job);
  Co<absl::Status>& prepare = called.prepare.emplace(CallPrepare(*job.driver_));
  at.Enter(nullptr, nullptr);
  return prepare.trivial();
}

void JobOps::FinaliseTogether(JobCore& core, Singles& singles) {
  if (singles.empty()) return;
  {  // The cut.
    JobLock lock(core);
    for (const Single& single : singles) (void)Decide(*single.txn);
  }
  Singles ended;
  for (const Single& single : singles) {
    JobDriver& driver = *single.job->driver_;
    const bool commit = !single.txn->aborting_.load(std::memory_order_relaxed);  // as it was at the cut
    internal::Finaliser& at = *core.finaliser_;
    CalledHooks called;
    called.prepare.emplace();
    bool trivial;
    if (commit) {
      at.Enter("Commit", single.job);
      trivial = called.commit.emplace(CallCommit(driver)).trivial();
    } else {
      at.Enter("Abort", single.job);
      trivial = called.abort.emplace(driver.Abort()).trivial();
    }
    if (trivial) {
      at.Enter("Clean", single.job);
      trivial = called.clean.emplace(driver.Clean()).trivial();
    }
    at.Enter(nullptr, nullptr);
    if (trivial) {
      ended.push_back(single);
    } else {
      ConcludeTogether(core, ended);
      ended.clear();
      SpawnFinaliser(*single.txn, std::move(called));
    }
  }
  ConcludeTogether(core, ended);
  singles.clear();
}

void JobOps::ConcludeTogether(JobCore& core, const Singles& singles) {
  if (singles.empty()) return;
  absl::InlinedVector<JobRef, kMostAtOnce> gone;
  {
    JobLock lock(core);
    for (const Single& single : singles) {
      ResourceOps::RemoveUser(*single.job);
      gone.push_back(Conclude(*single.job, absl::OkStatus()));
      EndGroup(*single.txn);
    }
  }
  for (JobRef& job : gone) {
    if (job) DropAndDestroy(std::move(job));
  }
  core.main_context_->wait_domain().Kick();  // ~JobCore may be waiting for the last one
}

// --- All others ---

Co<void> JobOps::Finalise(JobTxn& txn, Members members, CalledHooks called) {
  JobCore& core = txn.core_;
  const CoRoot* const root = co_await internal::ThisRoot();
  internal::Finaliser at{.root = root};  // what it is doing, for dumps
  txn.finaliser_.store(&at, std::memory_order_release);
  bool commit = !txn.aborting_.load(std::memory_order_relaxed);

  // What the members want to stand still does so from here to the end, unless they are all to abort.
  DrainedSection section;
  const bool drains =
      std::any_of(members.begin(), members.end(), [](const JobRef& m) { return !m->still_at_end().empty(); });
  if (commit && drains) {
    at.Enter(internal::Finaliser::kDrain, nullptr);
    absl::StatusOr<DrainedSection> opened = co_await DrainMembers(txn, members);
    at.Enter(nullptr, nullptr);
    const absl::Status status = opened.status();
    if (status.ok()) section = *std::move(opened);
    JobLock lock(core);
    if (status.ok()) {
      txn.section_open_ = true;
    } else if (txn.aborting_) {
      internal::Reached("group.cancelled_while_draining");
    } else {
      internal::Reached("group.not_drained_in_time");
      Job& job =
          **std::find_if(members.begin(), members.end(), [](const JobRef& m) { return !m->still_at_end().empty(); });
      FailMember(job, status);
    }
    commit = !txn.aborting_;
  }

  // Phase one: all Prepare, until one fails or somebody cancels. Whether somebody has is decided by the cut; what is
  // seen of it before saves further ones.
  for (size_t i = 0; commit && i < members.size(); ++i) {
    Job& job = *members[i];
    absl::Status status;
    at.Enter("Prepare", &job);
    try {
      Co<absl::Status> hook = called.prepare ? *std::move(called.prepare) : job.driver_->Prepare();
      status = co_await std::move(hook);
    } catch (...) {
      status = StatusFromException("Prepare");
    }
    if (txn.aborting_.load(std::memory_order_relaxed)) internal::Reached("group.cancelled_in_prepare");
    if (!status.ok()) {
      JobLock lock(core);
      if (!txn.aborting_) FailMember(job, status);
    }
    commit = !txn.aborting_.load(std::memory_order_relaxed);
  }

  {  // The cut.
    JobLock lock(core);
    commit = Decide(txn);
  }

  // Phase two: all Commit, or all Abort.
  const auto end_section = [&]() JOBCORE_EXCLUDES(job_mutex) {
    {
      JobLock lock(core);
      txn.section_open_ = false;
    }
    section.End();
  };
  std::vector<absl::Status> committed;  // what Commit said; empty, as a rule: they all have succeeded
  const auto commit_status = [&](size_t i) { return committed.empty() ? absl::OkStatus() : committed[i]; };
  for (size_t i = 0; i < members.size(); ++i) {
    Job& job = *members[i];
    at.Enter(commit ? "Commit" : "Abort", &job);
    if (commit) {
      absl::Status status;
      try {
        Co<absl::Status> hook = called.commit ? *std::move(called.commit) : job.driver_->Commit();
        status = co_await std::move(hook);
      } catch (...) {
        status = StatusFromException("Commit");
      }
      if (!status.ok()) {
        committed.resize(members.size());
        committed[i] = std::move(status);
      }
    } else {
      Co<void> hook = called.abort ? *std::move(called.abort) : job.driver_->Abort();
      co_await std::move(hook);
    }
  }
  // Nothing has changed, so nobody has to wait until all has been cleared away, which may have to wait for I/O.
  if (drains && !commit) end_section();

  // Then all Clean. Each member concludes before another one's coroutine runs; those whose hooks are none do so
  // together.
  size_t concluded = 0;
  const auto conclude = [&](size_t end) JOBCORE_EXCLUDES(job_mutex) {
    while (concluded < end) {
      const size_t page_end = std::min(end, concluded + kMostAtOnce);
      JobLock lock(core);
      for (; concluded < page_end; ++concluded) (void)Conclude(*members[concluded], commit_status(concluded));
    }
  };
  for (size_t i = 0; i < members.size(); ++i) {
    Job& job = *members[i];
    at.Enter("Clean", &job);
    Co<void> hook = called.clean ? *std::move(called.clean) : job.driver_->Clean();
    if (!hook.trivial()) conclude(i);
    co_await std::move(hook);
  }

  const size_t last = members.size() - 1;
  conclude(last);
  if (drains && commit) end_section();  // nobody sees the end of the group while its resources still stand still
  {
    JobLock lock(core);
    for (const JobRef& member : members) ResourceOps::RemoveUser(*member);
    (void)Conclude(*members[last], commit_status(last));
    EndGroup(txn);
  }

  AioContext& main = *core.main_context_;
  for (JobRef& member : members) DropAndDestroy(std::move(member));
  members.clear();
  main.wait_domain().Kick();  // ~JobCore may be waiting for the last one
}

bool JobOps::AwaitsFinalize(const Job& job) {
  return job.status_ == JobStatus::kPending && job.txn_->phase_ == JobTxn::Phase::kSealed;
}

namespace {
bool CompletionRequested(const internal::PendingVerbs& pending) {
  return std::any_of(pending.requests.begin(), pending.requests.end(),
                     [](const auto& request) { return request.verb == JobVerb::kComplete; });
}
}  // namespace

bool JobOps::GoesOnByItself(const Job& job) {
  switch (job.status_) {
    case JobStatus::kRunning:
    case JobStatus::kAborting:
      return true;
    case JobStatus::kPending:
      return !AwaitsFinalize(job);
    case JobStatus::kReady:  // if it has been asked to finish
      return job.word_.cancel_requested() ||
             (job.pending_ != nullptr && (job.pending_->complete_accepted || CompletionRequested(*job.pending_)));
    default:
      return false;
  }
}

}  // namespace jobcore::inline JOBCORE_ABI
