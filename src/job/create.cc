// SPDX-License-Identifier: Apache-2.0
//
// How a job comes into being, and gets going.

#include <new>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "aio/probe.h"
#include "job-driver/job_driver.h"
#include "job/job_ops.h"
#include "job/resource_ops.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

bool IsWellFormedId(std::string_view id) {
  if (id.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(id.front()))) return false;
  for (const char c : id) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.' && c != '_') return false;
  }
  return true;
}

// The reference's rules, in its order, with its texts.
absl::Status CheckId(const JobSpec& spec) {
  if (spec.internal) {
    if (spec.id.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("Cannot specify job ID for internal job");
  }
  if (spec.id.empty()) return absl::InvalidArgumentError("An explicit job ID is required");
  if (!IsWellFormedId(spec.id)) {
    return absl::InvalidArgumentError(absl::StrCat("Invalid job ID '", spec.id, "'"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<JobRef> CreateJob(JobCore& core, const JobSpec& spec, std::unique_ptr<JobDriver> driver) {
  if (driver == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("Job '", spec.id, "' was given no driver"));
  }
  if (absl::Status status = CheckId(spec); !status.ok()) return status;
  if (absl::Status status = JobOps::CheckSpeed(spec.id, spec.speed); !status.ok()) return status;
  return JobOps::Create(core, spec, std::move(driver));
}

absl::StatusOr<JobRef> JobOps::Create(JobCore& core, const JobSpec& spec, std::unique_ptr<JobDriver> driver) {
  if (spec.group != nullptr && spec.group->txn_ == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("Job '", spec.id, "': its group's builder was moved from"));
  }
  if (spec.group != nullptr && &spec.group->txn_->core_ != &core) {
    return absl::InvalidArgumentError(absl::StrCat("Job '", spec.id, "' and its group belong to different cores"));
  }
  for (const std::vector<Resource*>* list : {&spec.resources, &spec.still_at_end}) {
    for (const Resource* resource : *list) {
      if (resource == nullptr || &resource->core() != &core) {
        return absl::InvalidArgumentError(absl::StrCat(
            "Job '", spec.id,
            "': ", resource == nullptr ? "one of its resources is null" : "a resource of it belongs to another core"));
      }
    }
  }
  const uint64_t number = core.next_number_.fetch_add(1, std::memory_order_relaxed);
  // Everything is allocated before the mutex is taken, and destroyed after it is free.
  std::unique_ptr<Job, void (*)(Job*)> job(
      new Block(core, number, spec, spec.group != nullptr ? spec.group->txn_.get() : nullptr, std::move(driver)),
      [](Job* j) JOBCORE_EXCLUDES(job_mutex) { Destroy(*j); });
  {
    JobLock lock(core);
    if (absl::Status status = Register(*job, static_cast<uint64_t>(spec.speed)); !status.ok()) return status;
    return Adopt(*job.release());
  }
}

absl::Status JobOps::Register(Job& job, uint64_t speed) {
  JobCore& core = job.core_;
  JobTxn& txn = *job.txn_;
  if (core.closing_) {
    return absl::FailedPreconditionError(
        absl::StrCat("Job '", job.id_, "' cannot be created: the core is shutting down"));
  }
  if (!job.internal() && core.by_id_.contains(Absl(job.id_))) {
    return absl::AlreadyExistsError(
        absl::StrCat("Job ID '", job.id_, "' already in use; it is free once that job has been dismissed"));
  }
  if (txn.aborting_) {
    return absl::AbortedError(
        absl::StrCat("Job '", job.id_, "' cannot join its group, which has failed: ", Extra(txn).abort_reason));
  }
  if (txn.phase_ != JobTxn::Phase::kOpen) {
    return absl::FailedPreconditionError(
        absl::StrCat("Job '", job.id_, "' cannot join its group, which is sealed; create members before Seal"));
  }
  if (!job.context().TryAddUser()) {
    return absl::FailedPreconditionError(absl::StrCat("Job '", job.id_, "' cannot be created: its I/O thread '",
                                                      job.context().name(), "' has been stopped"));
  }
  try {
    Link(job, speed);
  } catch (...) {
    Unlink(job);
    job.context().RemoveUser();
    throw;
  }
  // From here on nothing allocates, so nothing fails.
  ++core.open_jobs_;
  ++txn.unfinished_;
  if (HasOwnGroup(job)) txn.phase_ = JobTxn::Phase::kSealed;  // a group of its own
  SetStatus(job, JobStatus::kCreated);
  ResourceOps::AddUser(job);
  return absl::OkStatus();
}

namespace {

// What comes next allocates. For tests, which cannot make a container fail.
void MayRunOutOfMemory() {
  if (internal::FaultPoint("create.no_memory")) throw std::bad_alloc();
}

}  // namespace

void JobOps::Link(Job& job, uint64_t speed) {
  JobCore& core = job.core_;
  MayRunOutOfMemory();
  (job.internal() ? core.internal_jobs_ : core.jobs_).Insert(job.number_, &job);
  MayRunOutOfMemory();
  if (!job.internal()) core.by_id_.insert(&job);
  MayRunOutOfMemory();
  job.txn_->members_.push_back(&job);
  MayRunOutOfMemory();
  if (!job.homes_.empty()) NoteContext(core, job.homes_.front());
  ApplySpeed(job, speed);
  MayRunOutOfMemory();
  ResourceOps::Attach(job);
  MayRunOutOfMemory();
  if (!job.internal()) {  // for the event, and those whom it wakes
    core.events_.Reserve(job.id_.size());
    core.deferred_.reserve(core.deferred_.size() + core.observers_.size());
  }
}

void JobOps::Unlink(Job& job) {
  JobCore& core = job.core_;
  ResourceOps::Detach(job);
  RemoveMember(*job.txn_, job);
  if (const auto found = core.by_id_.find(Absl(job.id_)); found != core.by_id_.end() && *found == &job) {
    core.by_id_.erase(found);
  }
  (job.internal() ? core.internal_jobs_ : core.jobs_).Erase(job.number_);
}

absl::Status StartJob(Job& job) {
  JobLock lock(job.core());
  return JobOps::Start(job);
}

absl::Status JobOps::Start(Job& job) {
  if (job.status_ != JobStatus::kCreated) {
    return absl::FailedPreconditionError(absl::StrCat("Job '", job.id_, "' in state '",
                                                      Absl(JobStatusName(job.status_)),
                                                      "' cannot be started; only a created job can"));
  }
  job.started_ = true;
  job.word_.Start();
  SetStatus(job, JobStatus::kRunning);
  DeferResume(job);
  return absl::OkStatus();
}

absl::Status AbandonJob(Job& job) {
  JobLock lock(job.core());
  return JobOps::Abandon(job);
}

absl::Status JobOps::Abandon(Job& job) {
  if (job.status_ != JobStatus::kCreated) {
    return absl::FailedPreconditionError(absl::StrCat(
        "Job '", job.id_, "' in state '", Absl(JobStatusName(job.status_)), "' cannot be abandoned; cancel it"));
  }
  const JobRef keep(job);
  LeaveContext(job);
  ResourceOps::RemoveUser(job);
  RemoveMember(*job.txn_, job);
  job.outcome_ = JobOutcome::Cancelled("abandoned before it was started");
  (void)Unregister(job);
  MaybeConverge(*job.txn_);
  return absl::OkStatus();
}

}  // namespace jobcore::inline JOBCORE_ABI
