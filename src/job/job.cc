// SPDX-License-Identifier: Apache-2.0

#include "job-common/job.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/probe.h"
#include "job/job_account.h"
#include "job/job_ops.h"
#include "job/rate_estimate.h"
#include "job/resource_ops.h"

namespace jobcore::inline JOBCORE_ABI {

namespace {

std::vector<Resource*> Unique(std::vector<Resource*> resources) {
  std::sort(resources.begin(), resources.end());
  resources.erase(std::unique(resources.begin(), resources.end()), resources.end());
  return resources;
}

std::unique_ptr<const internal::ResourceUse> UseOf(const JobSpec& spec) {
  if (spec.resources.empty() && spec.still_at_end.empty()) return nullptr;
  return std::unique_ptr<const internal::ResourceUse>(
      new internal::ResourceUse{Unique(spec.resources), Unique(spec.still_at_end), spec.drain_timeout});
}

}  // namespace

Job::Job(JobCore& core, uint64_t number, const JobSpec& spec, JobTxn& group, std::unique_ptr<JobDriver> driver)
    : core_(core),
      number_(number),
      id_(spec.id),
      type_(driver->type()),
      txn_(&group),
      driver_(std::move(driver)),
      resource_use_(UseOf(spec)),
      auto_finalize_(spec.auto_finalize),
      auto_dismiss_(spec.auto_dismiss),
      context_(spec.context != nullptr ? spec.context : &core.main_context()),
      progress_(spec.unit),
      run_root_(&JobOps::RunReturned, *this),
      item_("job", &JobOps::ResumeJob, *this) {
  if (spec.context != nullptr && spec.context != &core.main_context()) {
    homes_.push_back(spec.context->shared_from_this());
  }
  core_.live_jobs_.fetch_add(1, std::memory_order_relaxed);
}

JobOps::Block::Block(JobCore& core, uint64_t number, const JobSpec& spec, JobTxn* group,
                     std::unique_ptr<JobDriver> driver)
    : Job(core, number, spec, group != nullptr ? *group : own_group, std::move(driver)),
      face(*this),
      own_group(core, number, /*references=*/0) {
  // Last: from here on ~Job gives it back.
  if (group != nullptr) group->references_.fetch_add(1, std::memory_order_relaxed);
}

Job::~Job() { core_.live_jobs_.fetch_sub(1, std::memory_order_release); }

JobStatus Job::status() const {
  core_.mutex_.AssertHeld("Job::status");
  return status_;
}

const JobOutcome* Job::outcome() const {
  core_.mutex_.AssertHeld("Job::outcome");
  return outcome_.get();
}

absl::Span<Resource* const> Job::resources() const {
  if (resource_use_ == nullptr) return {};
  return resource_use_->resources;
}

absl::Span<Resource* const> Job::still_at_end() const {
  if (resource_use_ == nullptr) return {};
  return resource_use_->still_at_end;
}

std::vector<std::string> Job::pause_reasons() const {
  core_.mutex_.AssertHeld("Job::pause_reasons");
  std::vector<std::string> reasons;
  if (account_ != nullptr) account_->reasons.CopyTo(reasons);
  return reasons;
}

void JobRef::Release(Job* job) {
  if (job->references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  // Nobody resumes the job any more: until its Run has ended the registry has a reference.
  std::construct_at(&job->item_, "end of job", &JobOps::DestroyJob, *job);
  // The job may be gone before Post has returned.
  const std::shared_ptr<AioContext> main = job->core_.main_context().shared_from_this();
  main->Post(job->item_);
}

void JobOps::DestroyJob(WorkItem& item, WorkItem::Reason) {
  Job& job = static_cast<Job::Item&>(item).job;
  const std::shared_ptr<AioContext> main = job.core_.main_context_;
  Destroy(job);
  main->wait_domain().Kick();  // ~JobCore may be waiting for the last one
}

void JobOps::Destroy(Job& job) {
  const JobTxn::Handle group(HasOwnGroup(job) ? nullptr : job.txn_);
  delete static_cast<Block*>(&job);
}

void JobOps::DropAndDestroy(JobRef ref) {
  Job& job = *std::exchange(ref.job_, nullptr);
  if (job.references_.fetch_sub(1, std::memory_order_acq_rel) == 1) Destroy(job);
}

void JobOps::SetStatus(Job& job, JobStatus to) {
  JobCore& core = job.core_;
  const JobStatus from = job.status_;
  if (!MayTransition(from, to)) {
    internal::Die(absl::StrCat("job '", job.id_, "' cannot go from ", Absl(JobStatusName(from)), " to ",
                               Absl(JobStatusName(to))));
  }
  job.status_ = to;
  core.changed_ = true;
  if (!IsConcluded(from) && IsConcluded(to)) --core.open_jobs_;
  if (from == to) return;
  const TimePoint now = AccountTransition(job, from, to);
  if (!job.internal()) AppendEvent(job, now);
  if (to == JobStatus::kConcluded && !job.internal()) Remember(job, now);
}

JobEvent& JobOps::AppendEvent(Job& job, TimePoint now) {
  JobCore& core = job.core_;
  JobEvent& event = core.events_.Append();
  event.job_number = job.number_;
  event.job_id = job.id_;
  event.status = job.status_;
  event.outcome = job.outcome_;
  event.time = now;
  job.last_event_ = event.sequence;
  NoteChange(core);
  WakeObservers(core);
  return event;
}

void JobOps::LeaveContext(Job& job) {
  if (MoveIsPending(job)) {
    internal::Reached("move.finished_first");
    VoidMove(job, absl::FailedPreconditionError(
                      absl::StrCat("Job '", job.id_, "' finished first, before it could be moved")));
  }
  ResourceOps::Detach(job);
  if (job.word_.pause_requested()) job.word_.ClearPause();
  job.word_.Done();
  VoidReasons(job);
  UnwatchCancelled(job);
  if (job.pending_ != nullptr && !job.pending_->requests.empty()) DeferVerbs(job);  // to answer them
  job.context().RemoveUser();
  --job.txn_->unfinished_;
}

JobRef JobOps::Unregister(Job& job) {
  JobCore& core = job.core_;
  SetStatus(job, JobStatus::kNull);
  (job.internal() ? core.internal_jobs_ : core.jobs_).Erase(job.number_);
  if (!job.internal()) core.by_id_.erase(&job);
  return Adopt(job);
}

void JobOps::Defer(JobCore& core, AioContext& context, WorkItem& item) {
  const bool kept = &context == core.main_context_.get();
  core.deferred_.push_back({&item, kept ? nullptr : context.shared_from_this()});
  core.posts_ = true;
}

void JobOps::Answer(JobCore& core, VerbReply reply, absl::Status status) {
  if (reply.context_ == nullptr) return;
  auto* const item = new VerbReply::Item(std::move(reply.callback_), std::move(status));  // deletes itself
  Defer(core, *reply.context_, *item);
}

bool JobOps::IsQuiet(const Job* job) {
  switch (job->word_.activity()) {
    case JobWord::Activity::kNotStarted:
    case JobWord::Activity::kParked:
    case JobWord::Activity::kDone:
      return true;
    case JobWord::Activity::kRunning:
    case JobWord::Activity::kIdle:
      break;
  }
  return false;
}

void JobOps::DeferResume(Job& job) { Defer(job.core_, job.context(), job.item_); }

Nanoseconds JobOps::WaitingTime(const Job& job, const JobTimes& times, TimePoint now) {
  const CoRoot& run = job.run_root_;
  Nanoseconds suspended = run.suspended_time();
  // The one in progress; once Run has ended there is none.
  if (run.suspended_in() != nullptr && job.word_.activity() != JobWord::Activity::kDone) {
    suspended += std::max(now - run.since(), Nanoseconds(0));
  }
  return std::max(suspended - times.Parked() - times.throttled, Nanoseconds(0));
}

std::vector<JobRef> JobOps::JobsAfter(const JobCore& core, uint64_t after, size_t max) {
  std::vector<JobRef> page;
  VisitAfter(core, after, max, [&page](Job& job) { page.emplace_back(job); });
  return page;
}

size_t JobOps::VisitAfter(const JobCore& core, uint64_t after, size_t max, absl::FunctionRef<void(Job&)> visit) {
  size_t visited = 0;
  auto a = core.jobs_.UpperBound(after);
  auto b = core.internal_jobs_.UpperBound(after);
  for (; visited < max; ++visited) {
    const bool more_a = a != core.jobs_.end();
    const bool more_b = b != core.internal_jobs_.end();
    if (!more_a && !more_b) break;
    auto& next = more_a && (!more_b || a->number < b->number) ? a : b;
    visit(*next->job);
    ++next;
  }
  return visited;
}

Job* JobOps::FindById(JobCore& core, std::string_view id) {
  const auto found = core.by_id_.find(Absl(id));
  return found == core.by_id_.end() ? nullptr : *found;
}

}  // namespace jobcore::inline JOBCORE_ABI
