// SPDX-License-Identifier: Apache-2.0
//
// UniqueFd: owns a file descriptor.

#ifndef JOBCORE_BLOCK_UNIQUE_FD_H_
#define JOBCORE_BLOCK_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  // Errors of close are dropped: whoever cares for the data has synced it before.
  ~UniqueFd() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_BLOCK_UNIQUE_FD_H_
