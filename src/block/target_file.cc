// SPDX-License-Identifier: Apache-2.0

#include "block/target_file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "block/file_kind.h"
#include "block/image_lock.h"
#include "job-common/io_engine.h"

namespace jobcore::inline JOBCORE_ABI::internal {
namespace {

// ".<name>.jobcore-" and six characters, cut to what a file system takes.
std::string RandomName(std::string_view name) {
  static constexpr std::string_view kTag = ".jobcore-";
  static constexpr std::string_view kCharacters = "abcdefghijklmnopqrstuvwxyz012345";
  std::array<unsigned char, 6> random{};
  // Six bytes are always given at once; were they not, zeros would do: the name is tried with O_EXCL.
  (void)!getrandom(random.data(), random.size(), 0);
  std::string result(".");
  result.append(name.substr(0, NAME_MAX - 1 - kTag.size() - random.size()));
  result.append(kTag);
  for (const unsigned char byte : random) result.push_back(kCharacters[byte % kCharacters.size()]);
  return result;
}

}  // namespace

absl::StatusOr<TargetFile> TargetFile::Open(std::string path, bool replace, uint64_t room, const struct stat* source) {
  const size_t slash = path.rfind('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (path.empty()) return absl::InvalidArgumentError("target: empty file name");
  if (name.empty() || name == "." || name == "..") {
    return absl::InvalidArgumentError(
        absl::StrCat("target ", Quoted(path), " is the name of a directory, not of a file"));
  }
  std::string directory = slash == std::string::npos ? "." : path.substr(0, slash == 0 ? 1 : slash);

  TargetFile file(std::move(path), std::move(directory), std::move(name), replace);
  if (absl::Status s = file.OpenDirectory(); !s.ok()) return s;
  if (absl::Status s = file.CheckName(source); !s.ok()) return s;
  if (absl::Status s = file.CheckRoom(room); !s.ok()) return s;
  return file;
}

absl::Status TargetFile::OpenDirectory() {
  directory_ = UniqueFd(open(directory_path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory_) return FileError("cannot open the target's directory", directory_path_, errno);
  if (faccessat(directory_.get(), ".", W_OK | X_OK, AT_EACCESS) != 0) {
    return FileError("cannot write to the target's directory", directory_path_, errno);
  }
  return absl::OkStatus();
}

absl::Status TargetFile::CheckName(const struct stat* source) const {
  struct stat found;
  if (fstatat(directory_.get(), name_.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return FileError("cannot look at target", path_, errno);
  }
  // The link itself would be replaced; but whoever names a link to a directory, or to the source, errs.
  struct stat behind;
  if (S_ISLNK(found.st_mode) && fstatat(directory_.get(), name_.c_str(), &behind, 0) == 0) {
    found = behind;
  }
  if (source != nullptr && found.st_dev == source->st_dev && found.st_ino == source->st_ino) {
    return absl::InvalidArgumentError(absl::StrCat("target ", Quoted(path_), " is the same file as the source"));
  }
  if (!S_ISREG(found.st_mode) && !S_ISLNK(found.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("target ", Quoted(path_), " is ", FileKind(found.st_mode)));
  }
  if (!replace_) {
    return absl::AlreadyExistsError(absl::StrCat("target ", Quoted(path_), " exists"));
  }
  return absl::OkStatus();
}

absl::Status TargetFile::CheckRoom(uint64_t bytes) const {
  struct statvfs room;
  if (fstatvfs(directory_.get(), &room) != 0) {
    return FileError("cannot look at the file system of", directory_path_, errno);
  }
  // Blocks, not bytes: their product need not fit.
  const uint64_t needed = bytes / room.f_frsize + (bytes % room.f_frsize != 0 ? 1 : 0);
  if (needed <= room.f_bavail) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("no room for target ", Quoted(path_), ": ", bytes, " bytes are needed, ",
                   static_cast<uint64_t>(room.f_bavail) * room.f_frsize, " are available"));
}

std::string TargetFile::temporary_path() const { return PathOf(temporary_); }

std::string TargetFile::PathOf(const std::string& name) const {
  return absl::StrCat(directory_path_, directory_path_ == "/" ? "" : "/", name);
}

absl::Status TargetFile::Create(mode_t mode) {
  constexpr int kAttempts = 100;
  for (int i = 0; i < kAttempts; ++i) {
    std::string name = RandomName(name_);
    file_ =
        UniqueFd(openat(directory_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (file_) {
      temporary_ = std::move(name);
      // For reading: closing a file that was open for writing means a flush to file systems of the network.
      advice_ = UniqueFd(openat(directory_.get(), temporary_.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
      return absl::OkStatus();
    }
    if (errno != EEXIST) break;
  }
  return FileError("cannot create a temporary file beside target", path_, errno);
}

absl::Status TargetFile::LockReplaced() {
  replaced_ = UniqueFd();
  if (!replace_) return absl::OkStatus();
  constexpr int kMode = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  replaced_ = UniqueFd(openat(directory_.get(), name_.c_str(), kMode));
  if (!replaced_) {
    // Nothing, or a link: what that leads to stays as it is.
    return errno == ENOENT || errno == ELOOP ? absl::OkStatus() : FileError("cannot open", path_, errno);
  }
  return LockImage(replaced_.get(), path_, /*writes=*/true, /*required=*/false);
}

absl::Status TargetFile::CheckIs(const std::string& name) const {
  const std::string path = PathOf(name);
  struct stat named;
  struct stat open;
  if (fstat(file_.get(), &open) != 0) return FileError("cannot look at", path, errno);
  if (fstatat(directory_.get(), name.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0) {
    return FileError("lost the temporary file", path, errno);
  }
  if (named.st_dev != open.st_dev || named.st_ino != open.st_ino) {
    return absl::FailedPreconditionError(absl::StrCat("the temporary file ", Quoted(path), " has been replaced"));
  }
  return absl::OkStatus();
}

absl::Status TargetFile::CheckPublishable() const {
  if (absl::Status s = CheckTemporary(); !s.ok()) return s;
  absl::Status status = CheckName(nullptr);
  if (absl::IsAlreadyExists(status)) {
    return absl::AlreadyExistsError(absl::StrCat("target ", Quoted(path_), " has appeared meanwhile"));
  }
  return status;
}

int TargetFile::Rename(const std::string& from, const std::string& to, unsigned flags) const {
  const int directory = directory_.get();
  return renameat2(directory, from.c_str(), directory, to.c_str(), flags) == 0 ? 0 : errno;
}

int TargetFile::TakeFreeName(std::string& hidden) {
  int error = Rename(hidden, name_, RENAME_NOREPLACE);
  if (error == EINVAL || error == ENOSYS) {
    // Not known to this file system. A link does not replace anything either.
    const int directory = directory_.get();
    error = linkat(directory, hidden.c_str(), directory, name_.c_str(), 0) == 0 ? 0 : errno;
    if (error == 0) unlinkat(directory, hidden.c_str(), 0);
  }
  if (error == 0) hidden.clear();
  return error;
}

int TargetFile::TakeNameOver() {
  int error = Rename(temporary_, name_, RENAME_EXCHANGE);
  if (error == 0) {
    kept_ = std::exchange(temporary_, {});
    return 0;
  }
  if (error != EINVAL && error != ENOSYS) return error;
  // Not known to this file system. It is kept by a second name, and loses the first one.
  const int directory = directory_.get();
  std::string kept = RandomName(name_);
  if (linkat(directory, name_.c_str(), directory, kept.c_str(), 0) != 0) return errno;
  error = Rename(temporary_, name_, 0);
  if (error != 0) {
    unlinkat(directory, kept.c_str(), 0);
    return error;
  }
  kept_ = std::move(kept);
  temporary_.clear();
  return 0;
}

absl::Status TargetFile::Publish() {
  int error = 0;
  if (replace_) {
    error = Rename(temporary_, name_, 0);
    if (error == 0) temporary_.clear();
  } else {
    error = TakeFreeName(temporary_);
  }
  return error == 0 ? absl::OkStatus() : FileError("cannot give the file its name", path_, error);
}

absl::Status TargetFile::PublishRevocably() {
  constexpr int kAttempts = 100;  // somebody else makes and removes the same name
  int error = 0;
  for (int i = 0; i < kAttempts; ++i) {
    error = TakeFreeName(temporary_);
    if (error != EEXIST || !replace_) break;
    error = TakeNameOver();
    if (error != ENOENT) break;
  }
  if (error != 0) return FileError("cannot give the file its name", path_, error);
  revocable_ = true;
  return absl::OkStatus();
}

// Nothing can be done about an error: a name that somebody else has taken meanwhile is his.
void TargetFile::Revoke() {
  if (!std::exchange(revocable_, false) || !CheckIs(name_).ok()) return;
  if (!kept_.empty() && Rename(kept_, name_, RENAME_EXCHANGE) == 0) {
    temporary_ = std::exchange(kept_, {});
    return;
  }
  std::string hidden = RandomName(name_);
  if (Rename(name_, hidden, 0) != 0) return;
  temporary_ = std::move(hidden);
  // Somebody else may have taken the name meanwhile.
  if (!kept_.empty()) (void)TakeFreeName(kept_);
}

void TargetFile::Confirm() {
  revocable_ = false;
  if (!kept_.empty()) unlinkat(directory_.get(), std::exchange(kept_, {}).c_str(), 0);
}

Co<absl::Status> TargetFile::SyncDirectory(IoEngine& engine, const char* otherwise) {
  const IoResult io = co_await FileSync(engine, directory_.get());
  // EINVAL: a file system whose directories need no sync, or know none.
  if (io.error != 0 && io.error != EINVAL) co_return FileError(otherwise, path_, io.error);
  co_return absl::OkStatus();
}

void TargetFile::Discard() {
  Revoke();
  // Nothing can be done about an error; the name says what the file is.
  if (!temporary_.empty() && CheckTemporary().ok()) unlinkat(directory_.get(), temporary_.c_str(), 0);
  temporary_.clear();
  file_ = UniqueFd();
  advice_ = UniqueFd();
  replaced_ = UniqueFd();
}

}  // namespace jobcore::inline JOBCORE_ABI::internal
