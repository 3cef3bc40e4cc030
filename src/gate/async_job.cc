// SPDX-License-Identifier: Apache-2.0
//
// The asynchronous job of a gate: its phases, its end before its time, and how it changes hands.

#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "gate/consequences.h"
#include "gate/text.h"
#include "job-monitor/job_gate.h"

namespace jobcore::inline JOBCORE_ABI::gate {
namespace {

absl::Status IsOver(JobId id) { return absl::NotFoundError(absl::StrCat("job ", ToString(id), " is over")); }

absl::Status NoAbort(const detail::AsyncHolder& job, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat("cannot abort '", View(ToString(job.kind)), "' in phase ",
                                                    View(InfoOf(job.kind).phases[job.phase].name), ": ", why));
}

// The answer to who wants `job` aborted in its present phase.
absl::Status CheckMayAbort(const detail::AsyncHolder& job, AbortOptions options) {
  switch (InfoOf(job.kind).phases[job.phase].abort) {
    case AbortRule::kAccepted:
      return absl::OkStatus();
    case AbortRule::kPostcopy:
      if (options.postcopy) return absl::OkStatus();
      return NoAbort(job, "a part of the object is on the other side");
    case AbortRule::kTooLate:
      return NoAbort(job, "too late");
    case AbortRule::kUseDestroy:
      return NoAbort(job, "destroy the object instead");
    case AbortRule::kImpossible:
      return NoAbort(job, "it cannot be interrupted");
  }
  jobcore::internal::Die("JobGate: a rule for aborts that there is not");
}

}  // namespace

// A grant is the only way here, so the job is that of the grant.
detail::AsyncHolder& JobGate::Owned(uint64_t serial) const {
  if (async_ == nullptr || async_->serial != serial) {
    jobcore::internal::Die(absl::StrCat("JobGate '", options_.name, "': a grant of a job that is over"));
  }
  return *async_;
}

AsyncGrant JobGate::GrantOf(const detail::AsyncHolder& job) {
  const detail::Ticket ticket{.gate = this, .slot = Slot::kAsync, .serial = job.serial, .incarnation = job.incarnation};
  detail::Request request{.slot = Slot::kAsync, .kind = job.kind};
  request.id = job.id;
  request.stop = job.stop.get_token();
  return detail::GrantMaker::Make<AsyncGrant>(ticket, request);
}

// --- Phases ---

PhaseNumber JobGate::Phase(uint64_t serial) const {
  const std::scoped_lock lock(mutex_);
  return Owned(serial).phase;
}

absl::Status JobGate::CheckPhaseOf(const detail::AsyncHolder& job, PhaseNumber to) const {
  if (absl::Status refusal = CheckEdge(job.kind, job.phase, to); !refusal.ok()) return refusal;
  if (InfoOf(job.kind).phases[to].way_back) return absl::OkStatus();
  if (job.abort_requested) {
    return absl::CancelledError(absl::StrCat("job '", View(ToString(job.kind)), "' canceled by client"));
  }
  if (job.was_live && (!live_ || job.incarnation != incarnation_)) return Dead();
  return absl::OkStatus();
}

absl::Status JobGate::CheckPhase(uint64_t serial, PhaseNumber to) const {
  const std::scoped_lock lock(mutex_);
  return CheckPhaseOf(Owned(serial), to);
}

absl::Status JobGate::SetPhase(uint64_t serial, PhaseNumber to) {
  Consequences consequences;
  const std::scoped_lock lock(mutex_);
  detail::AsyncHolder& job = Owned(serial);
  if (absl::Status refusal = CheckPhaseOf(job, to); !refusal.ok()) return refusal;
  job.phase = to;
  job.allowed = InfoOf(job.kind).phases[to].allowed;
  LetIn(consequences);
  return absl::OkStatus();
}

// --- Its end before its time ---

absl::Status JobGate::RequestAbort(JobId id, AbortOptions options) {
  Consequences consequences;
  const std::scoped_lock lock(mutex_);
  if (async_ == nullptr) {
    return id ? IsOver(id) : absl::FailedPreconditionError(absl::StrCat("no job is active on '", options_.name, "'"));
  }
  if (id && id != async_->id) return IsOver(id);
  if (async_->abort_requested) return absl::OkStatus();
  if (absl::Status refusal = CheckMayAbort(*async_, options); !refusal.ok()) return refusal;
  async_->abort_requested = true;
  consequences.RequestStop(*async_);
  return absl::OkStatus();
}

// --- Changing hands ---

absl::Status JobGate::Park(uint64_t serial, OwnerLost policy) {
  const std::scoped_lock lock(mutex_);
  detail::AsyncHolder& job = Owned(serial);
  const PhaseInfo& phase = InfoOf(job.kind).phases[job.phase];
  if (policy == OwnerLost::kNotParked || phase.owner_lost == OwnerLost::kNotParked) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", View(ToString(job.kind)), "' has to have an owner in phase ", View(phase.name)));
  }
  if (monitor_.serial != 0 && monitor_.slot == Slot::kNested) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", View(ToString(job.kind)), "' cannot be parked in the middle of a nested job"));
  }
  job.parked = policy;
  job.task = 0;
  return absl::OkStatus();
}

absl::StatusOr<AsyncGrant> JobGate::Adopt(JobId id, PhaseNumber expected_phase, const Owner& owner) {
  std::string api(owner.api);
  const std::scoped_lock lock(mutex_);
  if (async_ == nullptr || async_->id != id) return IsOver(id);
  if (async_->parked == OwnerLost::kNotParked) {
    return absl::FailedPreconditionError(absl::StrCat("job ", ToString(id), " has an owner: ", async_->api));
  }
  if (async_->phase != expected_phase) {
    if (expected_phase >= InfoOf(async_->kind).phases.size()) return CheckEdge(async_->kind, 0, expected_phase);
    return detail::WrongPhase(async_->kind, async_->phase, expected_phase);
  }
  async_->parked = OwnerLost::kNotParked;
  async_->task = owner.task;
  async_->api.swap(api);
  return GrantOf(*async_);
}

absl::Status JobGate::Discard(JobId id) {
  Consequences consequences;
  const std::scoped_lock lock(mutex_);
  if (async_ == nullptr || async_->id != id) return IsOver(id);
  if (async_->parked == OwnerLost::kNotParked) {
    return absl::FailedPreconditionError(absl::StrCat("job ", ToString(id), " has an owner: ", async_->api));
  }
  EndAsync(consequences);
  LetIn(consequences);
  return absl::OkStatus();
}

}  // namespace jobcore::inline JOBCORE_ABI::gate
