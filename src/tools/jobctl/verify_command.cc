// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/verify_command.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "block/file_error.h"
#include "tools/jobctl/ledger.h"
#include "tools/jobctl/numbered_block.h"
#include "tools/jobctl/put.h"
#include "tools/jobctl/session.h"

namespace jobctl {
namespace {

using jobcore::internal::Quoted;

constexpr int kMostShown = 10;

int Complain(const absl::Status& status) {
  Put(STDERR_FILENO, absl::StrCat("jobctl: ", status.message(), "\n"));
  return kExitUsage;
}

bool Holds(std::ifstream& image, uint64_t offset, const LedgerEntry& entry) {
  std::array<char, kBlockBytes> block{};
  image.clear();
  image.seekg(static_cast<std::streamoff>(offset));
  return image.read(block.data(), block.size()) && Crc32(std::as_bytes(std::span(block))) == entry.crc;
}

}  // namespace

int RunVerify(const VerifyCommand& command) {
  const absl::StatusOr<Ledger> ledger = ReadLedger(command.ledger);
  if (!ledger.ok()) return Complain(ledger.status());
  std::ifstream image(command.image, std::ios::binary);
  if (!image) return Complain(jobcore::internal::FileError("cannot open", command.image, errno));
  size_t lost = 0;
  for (const auto& [offset, entry] : *ledger) {
    if (Holds(image, offset, entry)) continue;
    if (++lost > kMostShown) continue;
    Put(STDERR_FILENO, absl::StrCat("jobctl: the block at offset ", offset, ", write ", entry.number, ", is not in ",
                                    Quoted(command.image), "\n"));
  }
  Put(STDOUT_FILENO,
      lost == 0 ? absl::StrCat("all ", ledger->size(), " blocks are in ", Quoted(command.image), "\n")
                : absl::StrCat(lost, " of ", ledger->size(), " blocks are lost in ", Quoted(command.image), "\n"));
  return lost == 0 ? kExitDone : kExitFailed;
}

}  // namespace jobctl
