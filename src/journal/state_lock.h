// SPDX-License-Identifier: Apache-2.0
//
// StateLock: the file that says which process has a journal. Locked with flock, for as long as this lives:
//
//   flock, not fcntl   A POSIX lock is dropped by any open and close of its file in the process; this one is not.
//   O_CLOEXEC          A helper that inherited the descriptor would keep the lock after the death of its parent.
//   a file of its own  SQLite's lock is a POSIX one, on the database.
//
// The file is never removed: two processes could lock two files of one name. If somebody else removes it, IsOurs finds
// that out, and whoever had it stops.

#ifndef JOBCORE_SRC_JOURNAL_STATE_LOCK_H_
#define JOBCORE_SRC_JOURNAL_STATE_LOCK_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::journal::internal {

class StateLock {
 public:
  // Aborted: another process has it; the message says which.
  static absl::StatusOr<StateLock> Take(std::string path);

  StateLock(StateLock&& other) noexcept;
  StateLock& operator=(StateLock&&) = delete;
  ~StateLock();

  // The file of that name is still the one that we have locked. One system call.
  bool IsOurs() const;
  // For those who find it locked, and for the next one who has it (EpochSaid). A full disk loses no more than that.
  void Describe(uint64_t epoch);
  // The epoch of who had it before; 0: nobody, or it does not say.
  uint64_t EpochSaid() const;

 private:
  StateLock(std::string path, int fd, dev_t device, ino_t inode)
      : path_(std::move(path)), fd_(fd), device_(device), inode_(inode) {}

  std::string path_;
  int fd_;
  dev_t device_;
  ino_t inode_;
};

}  // namespace jobcore::inline JOBCORE_ABI::journal::internal

#endif  // JOBCORE_SRC_JOURNAL_STATE_LOCK_H_
