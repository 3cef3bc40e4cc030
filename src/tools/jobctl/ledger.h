// SPDX-License-Identifier: Apache-2.0
//
// A ledger: what was acknowledged to the clients of a rehearsal, to be proved by whoever has the image and this file.
//
//   # jobctl ledger: blocks of 4096 bytes, newest write to each: offset number crc32
//   8192 17 5d1a30f2
//   # end, blocks: 1

#ifndef JOBCORE_TOOLS_JOBCTL_LEDGER_H_
#define JOBCORE_TOOLS_JOBCTL_LEDGER_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace jobctl {

struct LedgerEntry {
  uint64_t number = 0;  // of the write
  uint32_t crc = 0;     // of the block (numbered_block.h)
};

// By offsets.
using Ledger = std::map<uint64_t, LedgerEntry>;

// Makes the file. AlreadyExists: there is one, which may be precious.
absl::Status WriteLedger(const std::string& filename, const Ledger& ledger);
// InvalidArgument: it is none; the text says in which line.
absl::StatusOr<Ledger> ReadLedger(const std::string& filename);

}  // namespace jobctl

#endif  // JOBCORE_TOOLS_JOBCTL_LEDGER_H_
