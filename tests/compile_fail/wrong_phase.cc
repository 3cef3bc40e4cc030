// SPDX-License-Identifier: Apache-2.0
// EXPECT: this phase does not lead to that one
// EXPECT: cannot initialize a parameter|no viable conversion
// EXPECT: consteval function 'jobcore::v0::gate::JobClassSet::Of
// EXPECT: no matching function for call to 'Of'
#include "job-monitor/job_gate.h"

namespace jobcore::gate {

using Phase = MigrationOutPhase;

// B24, D6: a phase that does not follow, that of another kind, and sets that nobody has written down.
void Confirm(AsyncJob<AsyncKind::kMigrationOut>& migration, JobClass job_class) {
  (void)migration.Advance<Phase::kBegin3, Phase::kPerform3>();
  constexpr JobClassSet kSet = JobClassSet::Of(JobClass::kQuery);
#ifdef SHOULD_FAIL
  (void)migration.Advance<Phase::kBegin3, Phase::kConfirm3>();
  (void)migration.SetPhase(BackupPhase::kCopy);
  const JobClassSet at_run_time = JobClassSet::Of(job_class);
  constexpr JobClassSet kOfKind = JobClassSet::Of(AsyncKind::kSave);
#endif
  (void)kSet.Contains(job_class);
}

}  // namespace jobcore::gate
