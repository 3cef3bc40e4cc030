// SPDX-License-Identifier: Apache-2.0
//
// Choices: where a test gets all its decisions from: a seed, a recorded list, or the bytes of a fuzzer. Same source,
// same decisions. What was decided is recorded, so that a failure can be replayed, and shrunk by leaving decisions
// out: 0 is therefore to mean the simplest thing everywhere (no fault, the same thread, the shortest script).

#ifndef JOBCORE_JOB_TESTING_CHOICES_H_
#define JOBCORE_JOB_TESTING_CHOICES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {
struct ChoicesMirror;
}

namespace jobcore::inline JOBCORE_ABI::testing {

// One thread at a time: that of the simulation, or the one controlled thread that runs.
class Choices {
 public:
  // From a pseudo-random sequence, the same on all machines.
  explicit Choices(uint64_t seed);
  // What was recorded; zeros when that is used up.
  static Choices Replay(std::vector<uint32_t> record);
  // Two bytes to a decision; zeros when they are used up.
  static Choices FromBytes(std::span<const uint8_t> bytes);

  // One of 0 … n-1; n > 0.
  uint32_t Below(uint32_t n);
  // True with probability 1/n; n > 1.
  bool OneIn(uint32_t n) { return Below(n) == n - 1; }
  // `low` … `high`, both included.
  uint32_t Between(uint32_t low, uint32_t high) { return low + Below(high - low + 1); }
  template <typename Container>
  auto& Pick(Container& from) {
    return from[Below(static_cast<uint32_t>(std::size(from)))];
  }

  const std::vector<uint32_t>& record() const { return record_; }

 private:
  friend struct internal::ChoicesMirror;
  Choices() = default;
  void Record(uint32_t value);
  enum class Source { kSeed, kRecord, kBytes };
  Source source_ = Source::kSeed;
  uint64_t state_ = 0;  // kSeed
  std::vector<uint32_t> replay_;
  std::vector<uint32_t> record_;
  internal::ChoicesMirror* mirror_ = nullptr;
};

// "0,3,1x4,0x17": what JOBCORE_CHOICES takes.
std::string FormatChoices(const std::vector<uint32_t>& record);
absl::StatusOr<std::vector<uint32_t>> ParseChoices(std::string_view text);

}  // namespace jobcore::inline JOBCORE_ABI::testing

#endif  // JOBCORE_JOB_TESTING_CHOICES_H_
