// SPDX-License-Identifier: Apache-2.0
//
// TargetFile: a file that comes into being under its name complete, or not at all. It is written under a
// temporary name beside its own, and renamed at the end.

#ifndef JOBCORE_BLOCK_TARGET_FILE_H_
#define JOBCORE_BLOCK_TARGET_FILE_H_

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "block/unique_fd.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// One thread at a time. The directory is held open, so that it may be renamed meanwhile.
class TargetFile {
 public:
  // Checks that there can be a file `path` that takes so much room, and writes nothing. `replace`: it may exist, but it
  // must not be the `source`, if there is one.
  static absl::StatusOr<TargetFile> Open(std::string path, bool replace, uint64_t room, const struct stat* source);

  TargetFile(TargetFile&&) = default;
  TargetFile& operator=(TargetFile&&) = delete;
  // Discards.
  ~TargetFile() { Discard(); }

  const std::string& path() const { return path_; }
  std::string temporary_path() const;
  int fd() const { return file_.get(); }  // of the temporary file
  // Of the same file, for StartWriteback and Evict; -1 if it cannot be had. Its own open file description: each is told
  // once of an error of writing, and a DataSync through fd() must not miss one because advice has been told.
  int advice_fd() const { return advice_.get(); }

  // Makes the temporary file: empty, open for writing. `mode`: its permissions, less the process's umask.
  absl::Status Create(mode_t mode = 0600);
  // What has the name now is an image that nobody uses, and nobody begins to as long as this lives: FailedPrecondition,
  // or it cannot be opened. Each call looks anew. Nothing to be done if it is not to be replaced, or is a link, which
  // is replaced itself.
  absl::Status LockReplaced();
  // All that may be in the way of Publish.
  absl::Status CheckPublishable() const;
  // Gives the temporary file its name. On error it still is a temporary file.
  absl::Status Publish();
  // The same, but as long as that is not confirmed it can be revoked: what had the name before is kept under another
  // one. FailedPrecondition, or what the system says: the file system cannot keep it.
  absl::Status PublishRevocably();
  void Revoke();   // as before that
  void Confirm();  // what was replaced goes
  // Has `engine` sync the directory, so that the name lasts. `otherwise` begins the text of an error. Home thread; this
  // must stay until it has finished.
  Co<absl::Status> SyncDirectory(IoEngine& engine,
                                 const char* otherwise = "target is in place, but may not outlive a power failure:");
  // Removes the temporary file, if there is one, and nobody has put another one in its place. Revokes before that.
  void Discard();

 private:
  TargetFile(std::string path, std::string directory, std::string name, bool replace)
      : path_(std::move(path)), directory_path_(std::move(directory)), name_(std::move(name)), replace_(replace) {}

  absl::Status OpenDirectory();
  // What stands at the target's name now must not be in the way.
  absl::Status CheckName(const struct stat* source) const;
  absl::Status CheckRoom(uint64_t bytes) const;
  std::string PathOf(const std::string& name) const;
  // What has the name of the temporary file is that. By the file, not by its name: somebody may have put another one
  // there.
  absl::Status CheckTemporary() const { return CheckIs(temporary_); }
  absl::Status CheckIs(const std::string& name) const;
  // 0, or an errno. Both names are in the directory. `flags`: of renameat2.
  int Rename(const std::string& from, const std::string& to, unsigned flags) const;
  // Gives it the name if nobody has that. 0, or an errno.
  int TakeFreeName(std::string& hidden);
  // Gives it the name that somebody has. 0, or an errno.
  int TakeNameOver();

  const std::string path_;
  const std::string directory_path_;
  const std::string name_;
  const bool replace_;
  UniqueFd directory_;
  UniqueFd file_;
  UniqueFd advice_;
  UniqueFd replaced_;       // locked
  std::string temporary_;   // its name in the directory; empty: there is none
  std::string kept_;        // that of what it has replaced, until that is confirmed; empty: nothing
  bool revocable_ = false;  // it has its name, and that has not been confirmed
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_BLOCK_TARGET_FILE_H_
