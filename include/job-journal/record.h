// SPDX-License-Identifier: Apache-2.0
//
// What a journal keeps of one job. A record is written once for each transition, whole: all that recovery needs is in
// the commit that takes the slot, and nothing is added to it later by a second one.
//
// A record knows nothing of gates and drivers: kinds and phases are numbers, of which recovery knows the meaning, and a
// number that it does not know concerns this record only. Progress is not in it.

#ifndef JOBCORE_JOB_JOURNAL_RECORD_H_
#define JOBCORE_JOB_JOURNAL_RECORD_H_

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "job-common/fwd.h"
#include "job-monitor/job_id.h"

namespace jobcore::inline JOBCORE_ABI::journal {

// What of an object the record is about. Numbers go to the journal: they never change.
enum class Slot : uint8_t {
  kAsync = 1,   // the asynchronous job of its gate
  kNormal = 2,  // a normal job that has to be finished after a crash: destroy
  kJob = 3,     // a job of the core; `sub` is its id there
  kResult = 4,  // what became of one; `sub` is its id, as text
};

struct Key {
  std::string object{};
  Slot slot = Slot::kAsync;
  std::string sub{};
  auto operator<=>(const Key&) const = default;
};

// A step with an effect outside. Load() gives back what was intended: that it may have happened. Whether it has is for
// the driver to find out.
struct Intent {
  enum class State : uint8_t { kNone = 0, kIntended = 1, kDone = 2 };
  State state = State::kNone;
  std::string what{};  // the driver's: what it needs to find out, and to undo or finish
  bool operator==(const Intent&) const = default;
};

// What recovery has set out to do, written down before it is done.
struct Decision {
  uint8_t action = 0;    // RecoveryAction; 0: none yet
  uint8_t observed = 0;  // why
  uint8_t attempts = 0;  // how often it has been begun
  bool operator==(const Decision&) const = default;
};

// When it began: the wall clock can be set, so elapsed time is that of the boot, if it is still the same one.
struct Times {
  int64_t wall_ns = 0;  // 0: unknown, which is not "now"
  int64_t boot_ns = 0;
  std::string boot_id{};
  bool operator==(const Times&) const = default;
};

struct Record {
  Key key{};
  gate::JobId id{};
  uint64_t sequence = 0;  // given by the journal: of the transition that wrote this
  uint64_t epoch = 0;     // given by the journal: of the process that wrote it
  uint64_t token = 0;     // with which its writer owned the object (ownership.h)
  uint32_t kind = 0;      // gate::AsyncKind, or kCoreJob
  uint32_t version = 0;   // of the kind's phases
  uint32_t phase = 0;
  uint32_t allowed = 0;  // gate::JobClassSet::bits(): recovery restores what was recorded
  uint64_t owner_task = 0;
  std::string owner_api{};
  uint64_t flags = 0;  // the driver's
  bool abort_requested = false;
  Times started{};
  Intent intent{};
  Decision decision{};
  std::string payload{};  // the driver's
  bool operator==(const Record&) const = default;
};

// The kind of records in Slot::kJob: payload is a record of a job of the core; nothing writes it yet.
inline constexpr uint32_t kCoreJob = 0x100;

// The bytes that are stored, and back. Whatever version wrote them says so in the first two; those of a later one are
// refused with Unimplemented, damaged ones with DataLoss. The key, sequence number and epoch are not in them: they are
// stored beside, and are the arguments of Checksum together with them.
std::string Encode(const Record& record);
absl::StatusOr<Record> Decode(std::string_view bytes);

// CRC-32C over the bytes and what is stored beside them: a row that has got another one's content does not match.
// SQLite has no checksums of its own: its integrity check passes a changed payload.
uint32_t Checksum(const Record& record, std::string_view bytes);

namespace internal {
uint32_t Crc32c(uint32_t crc, std::string_view bytes);
}  // namespace internal

}  // namespace jobcore::inline JOBCORE_ABI::journal

#endif  // JOBCORE_JOB_JOURNAL_RECORD_H_
