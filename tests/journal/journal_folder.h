// SPDX-License-Identifier: Apache-2.0
//
// A folder for a journal, and a process of one's own to have it in.

#ifndef JOBCORE_TESTS_JOURNAL_JOURNAL_FOLDER_H_
#define JOBCORE_TESTS_JOURNAL_JOURNAL_FOLDER_H_

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "job-journal/record.h"
#include "job-journal/sqlite_journal.h"
#include "job-monitor/job_kinds.h"
#include "journal/fault_vfs.h"

namespace jobcore_test {

class JournalFolder {
 public:
  JournalFolder() {
    // In memory: what a flush costs is not what these tests are about, and kills do not need one.
    const std::string where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : ::testing::TempDir();
    std::string name = where + "/journal.XXXXXX";
    if (mkdtemp(name.data()) == nullptr) abort();
    path_ = name;
  }
  ~JournalFolder() { std::filesystem::remove_all(path_); }
  JournalFolder(const JournalFolder&) = delete;
  JournalFolder& operator=(const JournalFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string Path(const std::string& name) const { return path_ + "/" + name; }

  absl::StatusOr<std::unique_ptr<jobcore::journal::Journal>> Open(
      const std::function<void(jobcore::journal::SqliteJournalOptions&)>& change = nullptr) const {
    jobcore::journal::SqliteJournalOptions options{.folder = path_, .vfs = UseFaultVfs(), .at_step = FaultStep};
    options.reserve_bytes = 1 << 16;
    if (change) change(options);
    return jobcore::journal::OpenSqliteJournal(std::move(options));
  }
  // Must be possible.
  std::unique_ptr<jobcore::journal::Journal> OpenNow() const {
    auto journal = Open();
    if (!journal.ok()) {
      ADD_FAILURE() << journal.status();
      abort();
    }
    return *std::move(journal);
  }

 private:
  std::string path_;
};

// `work` in a child. How that ended: its exit status, or -1.
inline int InChild(const std::function<void()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    work();
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) abort();
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

inline jobcore::journal::Record BackupRecord(const std::string& object, uint64_t number,
                                             jobcore::gate::BackupPhase phase = {}) {
  jobcore::journal::Record record{.key = {.object = object}};
  record.id = {.instance = 1, .number = number};
  record.kind = static_cast<uint32_t>(jobcore::gate::AsyncKind::kBackup);
  record.version = 1;
  record.phase = static_cast<uint32_t>(phase);
  record.allowed = jobcore::gate::kDefaultAllowed.bits();
  record.owner_api = "backup-begin";
  record.flags = 0x42;
  return record;
}

inline jobcore::journal::Edit Put(jobcore::journal::Record record) {
  return {.what = jobcore::journal::Edit::What::kPut, .record = std::move(record)};
}
inline jobcore::journal::Edit Begin(jobcore::journal::Record record) {
  return {.what = jobcore::journal::Edit::What::kBegin, .record = std::move(record)};
}
inline absl::Status Commit(jobcore::journal::Journal& journal, const jobcore::journal::Edit& edit) {
  return journal.Commit({&edit, 1});
}

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_JOURNAL_JOURNAL_FOLDER_H_
