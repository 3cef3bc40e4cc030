// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_TESTING_CHOICES_MIRROR_H_
#define JOBCORE_TESTING_CHOICES_MIRROR_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "job-common/fwd.h"
#include "job-testing/choices.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// The decisions of the run at hand, in memory shared with the campaign: they survive the process that made them.
struct ChoicesMirror {
  void Watch(testing::Choices& choices) {
    size = 0;
    choices.mirror_ = this;
  }
  void Append(uint32_t value) {
    const size_t at = size.load(std::memory_order_relaxed);
    if (at == values.size()) return;
    values[at] = value;
    size.store(at + 1, std::memory_order_release);
  }
  std::vector<uint32_t> Read() const { return {values.begin(), values.begin() + size.load(std::memory_order_acquire)}; }

  std::atomic<size_t> size{0};
  std::array<uint32_t, 1 << 22> values;
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_TESTING_CHOICES_MIRROR_H_
