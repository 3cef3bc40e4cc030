// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/ledger.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "block/file_error.h"
#include "block/unique_fd.h"

namespace jobctl {
namespace {

using jobcore::internal::FileError;
using jobcore::internal::Quoted;
using jobcore::internal::UniqueFd;

constexpr char kHeader[] = "# jobctl ledger: blocks of 4096 bytes, newest write to each: offset number crc32";
constexpr char kEnd[] = "# end, blocks: ";

bool ParseLine(const std::string& line, Ledger& ledger) {
  const std::vector<std::string> words = absl::StrSplit(line, ' ');
  uint64_t offset = 0;
  LedgerEntry entry;
  if (words.size() != 3 || !absl::SimpleAtoi(words[0], &offset) || !absl::SimpleAtoi(words[1], &entry.number) ||
      !absl::SimpleHexAtoi(words[2], &entry.crc)) {
    return false;
  }
  return ledger.emplace(offset, entry).second;
}

}  // namespace

absl::Status WriteLedger(const std::string& filename, const Ledger& ledger) {
  std::string text = absl::StrCat(kHeader, "\n");
  for (const auto& [offset, entry] : ledger) {
    absl::StrAppend(&text, offset, " ", entry.number, " ", absl::Hex(entry.crc, absl::kZeroPad8), "\n");
  }
  absl::StrAppend(&text, kEnd, ledger.size(), "\n");
  const UniqueFd file(open(filename.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!file) return FileError("cannot create", filename, errno);
  for (std::string_view left = text; !left.empty();) {
    const ssize_t n = write(file.get(), left.data(), left.size());
    if (n >= 0) {
      left.remove_prefix(static_cast<size_t>(n));
    } else if (errno != EINTR) {
      return FileError("cannot write", filename, errno);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Ledger> ReadLedger(const std::string& filename) {
  std::ifstream file(filename);
  if (!file) return FileError("cannot open", filename, errno);
  Ledger ledger;
  std::string line;
  if (!std::getline(file, line) || line != kHeader) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(filename), " is no ledger; `jobctl mirror --writers N --ledger FILE` writes one"));
  }
  int number = 1;
  while (std::getline(file, line)) {
    ++number;
    if (line == absl::StrCat(kEnd, ledger.size())) return ledger;
    if (!ParseLine(line, ledger)) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(filename), ", line ", number, ", is not a new offset, a number and a checksum"));
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(Quoted(filename), " has been cut off after line ", number));
}

}  // namespace jobctl
