// SPDX-License-Identifier: Apache-2.0

#include "tools/jobcored/pidfile.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "block/file_error.h"

namespace jobcored {

using jobcore::internal::FileError;
using jobcore::internal::Quoted;
using jobcore::internal::UniqueFd;

absl::StatusOr<Pidfile> Pidfile::Create(const std::string& path) {
  for (;;) {
    UniqueFd file(open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644));
    if (!file) return FileError("cannot open", path, errno);
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(file.get(), F_OFD_SETLK, &lock) != 0) {
      if (errno != EAGAIN && errno != EACCES) return FileError("cannot lock", path, errno);
      return absl::AlreadyExistsError(absl::StrCat(Quoted(path), " is another process's"));
    }
    // Whoever had it may have removed it before we got it.
    struct stat held, named;
    if (fstat(file.get(), &held) != 0) return FileError("cannot look at", path, errno);
    if (stat(path.c_str(), &named) != 0 || held.st_ino != named.st_ino || held.st_dev != named.st_dev) continue;
    if (ftruncate(file.get(), 0) != 0) return FileError("cannot write", path, errno);
    return Pidfile(path, std::move(file));
  }
}

absl::Status Pidfile::Write() {
  const std::string text = absl::StrCat(getpid(), "\n");
  const ssize_t written = pwrite(file_.get(), text.data(), text.size(), 0);
  if (written == static_cast<ssize_t>(text.size())) return absl::OkStatus();
  return FileError("cannot write", path_, written < 0 ? errno : ENOSPC);
}

Pidfile::~Pidfile() {
  if (!path_.empty()) unlink(path_.c_str());
}

}  // namespace jobcored
