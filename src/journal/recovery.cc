// SPDX-License-Identifier: Apache-2.0

#include "job-journal/recovery.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "job-monitor/job_kinds.h"

namespace jobcore::inline JOBCORE_ABI::journal {
namespace {

constexpr int kMaxAttempts = 3;

// Who lived in memory does not survive a boot; what lies in files does.
bool LivesInMemory(const Record& record) {
  return record.kind != kMirrorKind && record.kind != static_cast<uint32_t>(gate::AsyncKind::kBackup);
}

bool GoesOn(RecoveryAction action) {
  return action == RecoveryAction::kAdopt || action == RecoveryAction::kKeepUnattended ||
         action == RecoveryAction::kAwaitOther;
}

absl::Status OutcomeOf(const RecoveredJob& job) {
  if (job.action == RecoveryAction::kRollForward) return absl::OkStatus();
  if (job.record.abort_requested) return absl::CancelledError("aborted by a client; undone after a restart");
  return absl::AbortedError(absl::StrCat("the process that ran it has died: ", std::string(ToString(job.action))));
}

class Recovery {
 public:
  Recovery(Journal& journal, Ownership& ownership, RecoveryDriver& driver, const RecoveryOptions& options)
      : journal_(journal), ownership_(ownership), driver_(driver), options_(options) {}

  absl::StatusOr<RecoveredJob> Settle(Record record) JOBCORE_EXCLUDES(job_mutex) {
    RecoveredJob job = Decide(std::move(record));
    if (options_.dry_run) return job;
    absl::StatusOr<FencingToken> token = ownership_.Claim(job.record.key.object);
    if (!token.ok()) return token.status();
    job.record.token = token->value;
    if (job.action != RecoveryAction::kQuarantine) {
      job.record.decision = {.action = static_cast<uint8_t>(job.action),
                             .observed = static_cast<uint8_t>(job.seen),
                             .attempts = static_cast<uint8_t>(job.record.decision.attempts + 1)};
      if (absl::Status written = Write(Edit::What::kPut, job.record); !written.ok()) return written;
      if (absl::Status owned = ownership_.Check(job.record.key.object, *token); !owned.ok()) return owned;
      if (absl::Status applied = driver_.Apply(job.record, job.action, *token); !applied.ok()) {
        job.why = absl::StrCat(std::string(ToString(job.action)), ": ", applied.message());
        job.action = RecoveryAction::kQuarantine;
      }
    }
    if (absl::Status written = WriteOutcome(job); !written.ok()) return written;
    return job;
  }

 private:
  RecoveredJob Decide(Record record) JOBCORE_EXCLUDES(job_mutex) {
    RecoveredJob job{.record = std::move(record)};
    const Decision& before = job.record.decision;
    if (before.action == static_cast<uint8_t>(RecoveryAction::kQuarantine)) {
      job.action = RecoveryAction::kQuarantine;
      job.why = "it was quarantined before";
      return job;
    }
    if (before.attempts >= kMaxAttempts) {
      job.action = RecoveryAction::kQuarantine;
      job.why = absl::StrCat("the process has died ", before.attempts, " times in one decision");
      return job;
    }
    if (before.action != 0 && before.action < kRecoveryActionNames.size() && before.observed < kAllObserved.size()) {
      job.action = static_cast<RecoveryAction>(before.action);
      job.seen = static_cast<Observed>(before.observed);
      return job;
    }
    const Times& started = job.record.started;
    const bool earlier_boot =
        !options_.boot_id.empty() && !started.boot_id.empty() && started.boot_id != options_.boot_id;
    if (earlier_boot && LivesInMemory(job.record)) {
      job.seen = Observed::kNothing;
      job.action = RecoveryAction::kDiscard;
      return job;
    }
    std::optional<RecoveryAction> action;
    if (gate::JobClassSet::FromBits(job.record.allowed).has_value()) {
      const absl::StatusOr<Observed> seen = driver_.Probe(job.record);
      job.seen = seen.ok() ? *seen : Observed::kUnknown;
      action = RuleFor(job.record.kind, job.record.phase, job.seen);
    }
    if (!action.has_value()) job.why = "its kind, its phase or what it allows is not known to this version";
    if (action == RecoveryAction::kQuarantine) job.why = "it cannot be found out what it is doing";
    job.action = action.value_or(RecoveryAction::kQuarantine);
    return job;
  }

  absl::Status WriteOutcome(RecoveredJob& job) JOBCORE_EXCLUDES(job_mutex) {
    if (job.action == RecoveryAction::kQuarantine) {
      job.record.decision.action = static_cast<uint8_t>(RecoveryAction::kQuarantine);
      return Write(Edit::What::kPut, job.record);
    }
    if (GoesOn(job.action)) {
      job.record.decision = {};
      return Write(Edit::What::kPut, job.record);
    }
    return journal_.Commit(EndOf(job.record, OutcomeOf(job)));
  }

  absl::Status Write(Edit::What what, const Record& record) JOBCORE_EXCLUDES(job_mutex) {
    const Edit edit{.what = what, .record = record};
    return journal_.Commit({&edit, 1});
  }

  Journal& journal_;
  Ownership& ownership_;
  RecoveryDriver& driver_;
  const RecoveryOptions& options_;
};

}  // namespace

std::vector<Edit> EndOf(const Record& record, const absl::Status& outcome) {
  Record result = record;
  result.key.slot = Slot::kResult;
  result.key.sub = absl::StrFormat("%016x%016x", record.id.instance, record.id.number);
  result.intent = {.state = Intent::State::kDone, .what = record.intent.what};
  result.decision = {};
  result.flags = static_cast<uint64_t>(outcome.raw_code());
  result.payload = std::string(outcome.message());
  std::vector<Edit> edits(2);
  edits[0] = {.what = Edit::What::kPut, .record = std::move(result)};
  edits[1].what = Edit::What::kErase;
  edits[1].record.key = record.key;
  return edits;
}

absl::StatusOr<RecoveryReport> Recover(Journal& journal, Ownership& ownership, RecoveryDriver& driver,
                                       const RecoveryOptions& options) {
  if (journal.read_only() && !options.dry_run) {
    return absl::FailedPreconditionError("the journal has been written by a later version: nothing is recovered");
  }
  absl::StatusOr<LoadReport> loaded = journal.Load();
  if (!loaded.ok()) return loaded.status();
  RecoveryReport report{.quarantined = std::move(loaded->problems),
                        .orphans = driver.Orphans(loaded->records),
                        .journal_lost = loaded->journal_lost};
  Recovery recovery(journal, ownership, driver, options);
  report.jobs.reserve(loaded->records.size());
  for (Record& record : loaded->records) {
    if (record.key.slot == Slot::kResult) continue;
    absl::StatusOr<RecoveredJob> job = recovery.Settle(std::move(record));
    if (!job.ok()) return job.status();
    report.jobs.push_back(*std::move(job));
  }
  return report;
}

}  // namespace jobcore::inline JOBCORE_ABI::journal
