// SPDX-License-Identifier: Apache-2.0
//
// Recovery: after a restart, each job that the journal has a record of is brought to an end, or back.
//
//   hold the gates → for each record: probe → decide → write the decision down → apply it → write the outcome → release
//
// A decision that is written down is repeated, not taken again, if recovery itself dies: what has been half done may
// look like something else. The third death in one decision ends in quarantine, so that no record kills a daemon for
// ever. What is there without a record is listed, and left alone.

#ifndef JOBCORE_JOB_JOURNAL_RECOVERY_H_
#define JOBCORE_JOB_JOURNAL_RECOVERY_H_

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-journal/journal.h"
#include "job-journal/ownership.h"
#include "job-journal/record.h"
#include "job-journal/recovery_rules.h"

namespace jobcore::inline JOBCORE_ABI::journal {

// What recovery knows of the world. Called on the thread that calls Recover; may block.
class RecoveryDriver {
 public:
  virtual ~RecoveryDriver() = default;

  // Changes nothing. An error counts as Observed::kUnknown.
  virtual absl::StatusOr<Observed> Probe(const Record& record) JOBCORE_EXCLUDES(job_mutex) = 0;
  // Idempotent: repeated after a crash in the middle of it. `token`: see ownership.h. An error: quarantine.
  virtual absl::Status Apply(const Record& record, RecoveryAction action, FencingToken token)
      JOBCORE_EXCLUDES(job_mutex) = 0;
  // Names of what is there and is in none of the records.
  virtual std::vector<std::string> Orphans(std::span<const Record>) JOBCORE_EXCLUDES(job_mutex) { return {}; }
};

struct RecoveredJob {
  Record record{};  // as it is now: without a decision if the job goes on
  Observed seen = Observed::kUnknown;
  RecoveryAction action = RecoveryAction::kNone;
  std::string why{};  // of a quarantine
};

struct RecoveryReport {
  std::vector<RecoveredJob> jobs{};
  std::vector<Problem> quarantined{};  // records that cannot be read; their objects: query and destroy only
  std::vector<std::string> orphans{};
  bool journal_lost = false;  // an object without a record may have a job all the same
};

struct RecoveryOptions {
  bool dry_run = false;   // decide only: nothing is claimed, written or applied
  std::string boot_id{};  // of this boot; empty: not known. What lived in an earlier boot is gone
};

// FailedPrecondition: the journal can only be read (a dry run is possible). Aborted: it is another process's now;
// nothing has been applied since. Any other error: of the journal, which can then be reopened, and recovery repeated.
absl::StatusOr<RecoveryReport> Recover(Journal& journal, Ownership& ownership, RecoveryDriver& driver,
                                       const RecoveryOptions& options) JOBCORE_EXCLUDES(job_mutex);

// The edits that end a job: its result, by id, and its record no more; in one commit.
std::vector<Edit> EndOf(const Record& record, const absl::Status& outcome);

}  // namespace jobcore::inline JOBCORE_ABI::journal

#endif  // JOBCORE_JOB_JOURNAL_RECOVERY_H_
