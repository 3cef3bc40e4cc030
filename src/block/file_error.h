// SPDX-License-Identifier: Apache-2.0
//
// Errors about files: what failed, which file, why.

#ifndef JOBCORE_BLOCK_FILE_ERROR_H_
#define JOBCORE_BLOCK_FILE_ERROR_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

// A name may hold anything, line ends and terminal control sequences too.
inline std::string Quoted(std::string_view path) { return absl::StrCat("'", absl::Utf8SafeCEscape(ToAbsl(path)), "'"); }

// "cannot open 'disk0.img': Permission denied"
inline absl::Status FileError(std::string_view what, std::string_view path, int error) {
  return absl::Status(absl::ErrnoToStatusCode(error),
                      absl::StrCat(ToAbsl(what), " ", Quoted(path), ": ", std::generic_category().message(error)));
}

// "cannot write 'disk0.img' at offset 4096: No space left on device"
inline absl::Status FileErrorAt(std::string_view what, std::string_view path, uint64_t offset, int error) {
  return absl::Status(absl::ErrnoToStatusCode(error),
                      absl::StrCat(ToAbsl(what), " ", Quoted(path), " at offset ", offset, ": ",
                                   std::generic_category().message(error)));
}

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_BLOCK_FILE_ERROR_H_
