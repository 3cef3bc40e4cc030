// SPDX-License-Identifier: Apache-2.0

#include "journal/state_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace jobcore::inline JOBCORE_ABI::journal::internal {

absl::StatusOr<StateLock> StateLock::Take(std::string path) {
  for (;;) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      char text[256];
      const ssize_t length = pread(fd, text, sizeof(text), 0);
      close(fd);
      if (error != EWOULDBLOCK) return absl::ErrnoToStatus(error, absl::StrCat("flock ", path));
      return absl::AbortedError(absl::StrCat(
          path, " is locked by another process: ",
          length > 0 ? std::string(text, static_cast<size_t>(length)) : std::string("which has not said yet who it is"),
          " (if that one is dead: by a child that has inherited the file from it)"));
    }
    struct stat ours;
    struct stat named;
    if (fstat(fd, &ours) == 0 && stat(path.c_str(), &named) == 0 && ours.st_dev == named.st_dev &&
        ours.st_ino == named.st_ino) {
      return StateLock(std::move(path), fd, ours.st_dev, ours.st_ino);
    }
    close(fd);  // removed between open and flock: what we have locked has no name
  }
}

StateLock::StateLock(StateLock&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), device_(other.device_), inode_(other.inode_) {}

StateLock::~StateLock() {
  if (fd_ >= 0) close(fd_);
}

bool StateLock::IsOurs() const {
  struct stat named;
  return stat(path_.c_str(), &named) == 0 && named.st_dev == device_ && named.st_ino == inode_;
}

void StateLock::Describe(uint64_t epoch) {
  // As long as any that was there, so that it need not be cut: the old text is whole until the new one is.
  const std::string text = absl::StrFormat("pid %-10d epoch %-20u", getpid(), epoch);
  [[maybe_unused]] const ssize_t written = pwrite(fd_, text.data(), text.size(), 0);
}

uint64_t StateLock::EpochSaid() const {
  char text[256];
  const ssize_t length = pread(fd_, text, sizeof(text), 0);
  if (length <= 0) return 0;
  const std::string_view said(text, static_cast<size_t>(length));
  const size_t at = said.find("epoch ");
  if (at == std::string_view::npos) return 0;
  uint64_t epoch = 0;
  for (size_t i = at + 6; i < said.size() && said[i] >= '0' && said[i] <= '9'; ++i) {
    epoch = epoch * 10 + static_cast<uint64_t>(said[i] - '0');
  }
  return epoch;
}

}  // namespace jobcore::inline JOBCORE_ABI::journal::internal
