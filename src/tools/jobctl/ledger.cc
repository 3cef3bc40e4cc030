// SPDX-License-Identifier: Apache-2.0

#include "tools/jobctl/ledger.h"

#include <cerrno>
#include <fstream>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "block/file_error.h"

namespace jobctl {
namespace {

using jobcore::internal::FileError;
using jobcore::internal::Quoted;

constexpr char kHeader[] = "# jobctl ledger: blocks of 4096 bytes, newest write to each: offset number crc32";

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
  std::ofstream file(filename);
  file << kHeader << "\n";
  for (const auto& [offset, entry] : ledger) {
    file << absl::StrCat(offset, " ", entry.number, " ", absl::Hex(entry.crc, absl::kZeroPad8)) << "\n";
  }
  if (!file.flush()) return FileError("cannot write", filename, errno);
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
  for (int number = 2; std::getline(file, line); ++number) {
    if (!ParseLine(line, ledger)) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(filename), ", line ", number, ", is not a new offset, a number and a checksum"));
    }
  }
  return ledger;
}

}  // namespace jobctl
