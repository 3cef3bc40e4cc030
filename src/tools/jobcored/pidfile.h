// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_TOOLS_JOBCORED_PIDFILE_H_
#define JOBCORE_TOOLS_JOBCORED_PIDFILE_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "block/unique_fd.h"

namespace jobcored {

// A file that nobody else can have meanwhile; removed at the end.
class Pidfile {
 public:
  // It is empty so far. AlreadyExists: another process has it.
  static absl::StatusOr<Pidfile> Create(const std::string& path);
  // Writes this process's id: it can be used.
  absl::Status Write();
  ~Pidfile();
  Pidfile(Pidfile&& other) noexcept : path_(std::exchange(other.path_, {})), file_(std::move(other.file_)) {}
  Pidfile& operator=(Pidfile&&) = delete;

 private:
  Pidfile(std::string path, jobcore::internal::UniqueFd file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;  // empty: moved from
  jobcore::internal::UniqueFd file_;
};

}  // namespace jobcored

#endif  // JOBCORE_TOOLS_JOBCORED_PIDFILE_H_
