// SPDX-License-Identifier: Apache-2.0
//
// A journal in a folder: DIR/journal.db (SQLite), DIR/journal.lock, DIR/journal.reserve. One process has it at a time.
//
// The database file must not be opened by anything else in the process, not even for reading: closing it would drop
// SQLite's own lock (POSIX locks belong to the process). The lock file does not suffer from that, and is why the second
// process is refused even then.

#ifndef JOBCORE_JOB_JOURNAL_SQLITE_JOURNAL_H_
#define JOBCORE_JOB_JOURNAL_SQLITE_JOURNAL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"
#include "job-journal/journal.h"

namespace jobcore::inline JOBCORE_ABI::journal {

struct SqliteJournalOptions {
  std::string folder{};  // there, and not on a network: neither WAL nor locks can be trusted there
  // Results are kept until there are so many newer ones of their object, and no longer than this.
  size_t results_per_object = 16;
  int64_t result_age_seconds = int64_t{7} * 24 * 3600;
  // On disk beside the database: given up when the disk is full, so that jobs can still end.
  uint64_t reserve_bytes = 1 << 20;

  // Seams of tests. The name of a VFS that SQLite knows, for the files of the database.
  std::string vfs{};
  // Called before each thing that is done to other files.
  std::function<void(const char* step)> at_step{};
  std::function<int64_t()> wall_clock_ns{};  // null: the system's
};

// Takes the lock, opens or makes the database, and begins an epoch.
//   Aborted             another process has it; the message says which
//   FailedPrecondition  on a network; or a database of something else
//   ResourceExhausted   no room to begin an epoch
// Not errors: a database of a later version (read_only(): nothing may be recovered, no effect begun); one that is none,
// or so damaged that SQLite cannot open it (set aside as journal.db.corrupt-SECONDS, and Load says journal_lost).
absl::StatusOr<std::unique_ptr<Journal>> OpenSqliteJournal(SqliteJournalOptions options) JOBCORE_EXCLUDES(job_mutex);

}  // namespace jobcore::inline JOBCORE_ABI::journal

#endif  // JOBCORE_JOB_JOURNAL_SQLITE_JOURNAL_H_
