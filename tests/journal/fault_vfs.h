// SPDX-License-Identifier: Apache-2.0
//
// FaultVfs: the file system under SQLite, as a test wants it. Each operation that changes a file has a number; at one
// of them the process dies, or the disk refuses, or writes half a page. A power cut takes back what has not been
// flushed.

#ifndef JOBCORE_TESTS_JOURNAL_FAULT_VFS_H_
#define JOBCORE_TESTS_JOURNAL_FAULT_VFS_H_

#include <sqlite3.h>

#include <functional>
#include <string>

namespace jobcore_test {

struct FaultPlan {
  enum class What {
    kNothing,
    kDie,       // before the operation
    kTear,      // writes half of it, and dies
    kIoError,   // this one
    kNoSpace,   // this one and all after it, as long as `full` says so
    kPowerCut,  // dies with all that was not flushed undone
  };
  What what = What::kNothing;
  long at = 0;  // from 1
  std::function<bool()> full{};
  bool flushes_lie = false;   // they say OK, and do nothing
  bool only_flushes = false;  // `at` counts them alone
};

struct FaultCounts {
  long operations = 0;
  long flushes = 0;
};

// The name of it, for SqliteJournalOptions::vfs. One in a process.
const char* UseFaultVfs();
// From now on; counts from 0.
void SetFaults(FaultPlan plan);
FaultCounts Faults();
// One of the numbered operations that is not SQLite's.
void FaultStep(const char* name);
// Of a process that has died of it.
inline constexpr int kDied = 77;

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_JOURNAL_FAULT_VFS_H_
