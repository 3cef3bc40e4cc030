// SPDX-License-Identifier: Apache-2.0
//
// What somebody else has done to a file that is being read.

#ifndef JOBCORE_BLOCK_FILE_CHANGE_H_
#define JOBCORE_BLOCK_FILE_CHANGE_H_

#include <sys/stat.h>

#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// `what` and `path` name the file, `since` says since when: "source", "disk0.img", "while it was being copied".
// DataLoss: it has another size by now.
inline absl::Status CheckSameSize(std::string_view what, std::string_view path, std::string_view since, off_t before,
                                  off_t now) {
  if (now == before) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(ToAbsl(what), " ", Quoted(path),
                                          now > before ? " has grown " : " has shrunk ", ToAbsl(since), ": from ",
                                          before, " to ", now, " bytes"));
}

// The same, and it has not been written to: otherwise a copy could hold what the file never held at one time. (Not the
// time of the last change of its inode: who renames it, or makes a link to it, does no harm.)
inline absl::Status CheckUnchanged(std::string_view what, std::string_view path, std::string_view since,
                                   const struct stat& before, const struct stat& now) {
  if (absl::Status s = CheckSameSize(what, path, since, before.st_size, now.st_size); !s.ok()) return s;
  if (now.st_mtim.tv_sec == before.st_mtim.tv_sec && now.st_mtim.tv_nsec == before.st_mtim.tv_nsec) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(ToAbsl(what), " ", Quoted(path), " has been modified ", ToAbsl(since)));
}

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_BLOCK_FILE_CHANGE_H_
