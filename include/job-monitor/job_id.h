// SPDX-License-Identifier: Apache-2.0
//
// JobId: names one asynchronous job of a gate, for ever. An abort that was meant for job 7 can never hit job 8, and a
// result can be asked for after any number of restarts.

#ifndef JOBCORE_JOB_MONITOR_JOB_ID_H_
#define JOBCORE_JOB_MONITOR_JOB_ID_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "job-common/fwd.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI::gate {

struct JobId {
  uint64_t instance = 0;  // of the process: larger after each restart
  uint64_t number = 0;    // within it, from 1; 0: of no job

  // Ids that are given later are larger.
  constexpr auto operator<=>(const JobId&) const = default;
  constexpr explicit operator bool() const { return number != 0; }
};

// 32 hexadecimal digits, which sort as the ids do.
std::string ToString(const JobId& id);
std::optional<JobId> ParseJobId(std::string_view text);

// Gives them out, to all gates of a process. Any thread.
class JobIds {
 public:
  // `instance` must never come back: the epoch of the journal, or the time of the start if there is none.
  explicit JobIds(uint64_t instance) : instance_(instance) {}
  JobId Next() { return {instance_, last_.fetch_add(1, std::memory_order_relaxed) + 1}; }

 private:
  const uint64_t instance_;
  internal::Atomic<uint64_t> last_{0};
};

}  // namespace jobcore::inline JOBCORE_ABI::gate

#endif  // JOBCORE_JOB_MONITOR_JOB_ID_H_
