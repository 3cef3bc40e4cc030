// SPDX-License-Identifier: Apache-2.0
//
// Progress of a job: one writer, any number of readers, no lock.

#ifndef JOBCORE_JOB_COMMON_PROGRESS_H_
#define JOBCORE_JOB_COMMON_PROGRESS_H_

#include <atomic>
#include <cstdint>
#include <string_view>

#include "job-common/fwd.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {

enum class ProgressUnit : uint8_t { kBytes, kItems, kSteps };
std::string_view ProgressUnitName(ProgressUnit unit);  // "bytes", "items", "steps"

struct ProgressSnapshot {
  uint64_t current = 0;      // saturates at 2^63 - 1, as does total
  uint64_t total = 0;        // >= current, always
  bool total_known = false;  // false: total is only what is known so far
};

// Writers: the job's driver, in the job's context (in the main context during the finalisation hooks).
// Readers: any thread; in every snapshot current <= total, and current never goes back.
class Progress {
 public:
  explicit Progress(ProgressUnit unit) : unit_(unit) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  ProgressUnit unit() const { return unit_; }

  // `n` more units are done. Raises the total if it was too small.
  void Advance(uint64_t n) {
    const uint64_t current = Add(current_.load(std::memory_order_relaxed), n);
    const uint64_t total = total_.load(std::memory_order_relaxed);
    if (current > (total & kMaxTotal)) SetTotal(current, (total & kKnown) != 0);
    current_.store(current, std::memory_order_release);
  }
  // From here, `n` units are left. `known`: that is the whole of it.
  void SetRemaining(uint64_t n, bool known = true) {
    SetTotal(Add(current_.load(std::memory_order_relaxed), n), known);
  }
  // `n` units more than thought are left.
  void IncreaseRemaining(uint64_t n) {
    const uint64_t total = total_.load(std::memory_order_relaxed);
    SetTotal(Add(total & kMaxTotal, n), (total & kKnown) != 0);
  }

  ProgressSnapshot Get() const {
    // current first: every total written after it was at least as large when it was written.
    const uint64_t current = current_.load(std::memory_order_acquire);
    const uint64_t total = total_.load(std::memory_order_acquire);
    return {current, total & kMaxTotal, (total & kKnown) != 0};
  }

 private:
  static constexpr uint64_t kKnown = uint64_t{1} << 63;
  static constexpr uint64_t kMaxTotal = kKnown - 1;

  // Saturates; `a` <= kMaxTotal.
  static constexpr uint64_t Add(uint64_t a, uint64_t b) { return b > kMaxTotal - a ? kMaxTotal : a + b; }
  void SetTotal(uint64_t total, bool known) { total_.store(total | (known ? kKnown : 0), std::memory_order_release); }

  internal::Atomic<uint64_t> current_{0};
  internal::Atomic<uint64_t> total_{0};  // the highest bit: known
  const ProgressUnit unit_;
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_PROGRESS_H_
