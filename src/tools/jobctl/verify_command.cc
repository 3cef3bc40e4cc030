// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/verify_command.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "block/file_change.h"
#include "block/file_error.h"
#include "block/file_kind.h"
#include "block/unique_fd.h"
#include "tools/jobctl/ledger.h"
#include "tools/jobctl/numbered_block.h"
#include "tools/jobctl/put.h"
#include "tools/jobctl/session.h"

namespace jobctl {
namespace {

using jobcore::internal::FileError;
using jobcore::internal::Quoted;
using jobcore::internal::UniqueFd;

constexpr int kMostShown = 10;

int Complain(const absl::Status& status) {
  Put(STDERR_FILENO, absl::StrCat("jobctl: ", status.message(), "\n"));
  return kExitUsage;
}

// Something that can be read at any offset.
absl::Status OpenImage(const std::string& filename, UniqueFd& image, struct stat& opened) {
  image = UniqueFd(open(filename.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!image) return FileError("cannot open", filename, errno);
  if (fstat(image.get(), &opened) != 0) return FileError("cannot look at", filename, errno);
  if (S_ISREG(opened.st_mode) || S_ISBLK(opened.st_mode)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("cannot look into ", Quoted(filename), ": it is ", jobcore::internal::FileKind(opened.st_mode)));
}

// What has been found was there at one time. A device does not tell.
absl::Status CheckUnchanged(const std::string& filename, int image, const struct stat& opened) {
  struct stat now{};
  if (fstat(image, &now) != 0) return FileError("cannot look at", filename, errno);
  if (!S_ISREG(now.st_mode)) return absl::OkStatus();
  return jobcore::internal::CheckUnchanged("image", filename, "while it was being looked at", opened, now);
}

bool Holds(int image, uint64_t offset, const LedgerEntry& entry) {
  std::array<std::byte, kBlockBytes> block{};
  size_t filled = 0;
  while (filled < block.size()) {
    const ssize_t n = pread(image, block.data() + filled, block.size() - filled, static_cast<off_t>(offset + filled));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    filled += static_cast<size_t>(n);
  }
  return Crc32(block) == entry.crc;
}

}  // namespace

int RunVerify(const VerifyCommand& command) {
  const absl::StatusOr<Ledger> ledger = ReadLedger(command.ledger);
  if (!ledger.ok()) return Complain(ledger.status());
  UniqueFd image;
  struct stat opened{};
  if (const absl::Status s = OpenImage(command.image, image, opened); !s.ok()) return Complain(s);
  size_t lost = 0;
  for (const auto& [offset, entry] : *ledger) {
    if (Holds(image.get(), offset, entry)) continue;
    if (++lost > kMostShown) continue;
    Put(STDERR_FILENO, absl::StrCat("jobctl: the block at offset ", offset, ", write ", entry.number, ", is not in ",
                                    Quoted(command.image), "\n"));
  }
  Put(STDOUT_FILENO,
      lost == 0 ? absl::StrCat("all ", ledger->size(), " blocks are in ", Quoted(command.image), "\n")
                : absl::StrCat(lost, " of ", ledger->size(), " blocks are lost in ", Quoted(command.image), "\n"));
  if (const absl::Status s = CheckUnchanged(command.image, image.get(), opened); !s.ok()) {
    (void)Complain(s);
    return kExitFailed;
  }
  return lost == 0 ? kExitDone : kExitFailed;
}

}  // namespace jobctl
