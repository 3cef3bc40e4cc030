// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_SRC_JOB_JOB_ACCOUNT_H_
#define JOBCORE_SRC_JOB_JOB_ACCOUNT_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/job_status.h"
#include "job-common/job_times.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Why a job is to pause, and for how long each reason has been in force. Guarded by job_mutex.
class PauseReasons {
 public:
  bool empty() const {
    return std::none_of(records_.begin(), records_.end(), [](const Record& record) { return record.given != 0; });
  }
  bool contains(std::string_view reason) const { return Find(reason) != records_.size(); }
  // In the order given. Into `reasons`, whose memory is used again.
  void CopyTo(std::vector<std::string>& reasons) const {
    size_t count = 0;
    for (const Record* next = FirstGivenAfter(0); next != nullptr; next = FirstGivenAfter(next->given)) {
      if (reasons.size() == count) reasons.emplace_back();
      if (reasons[count] != next->reason) reasons[count] = next->reason;
      ++count;
    }
    reasons.resize(count);
  }
  void CopyTimesTo(TimePoint now, std::vector<PauseTime>& times) const {
    times.resize(std::min(records_.size(), kOthers + 1));
    for (size_t i = 0; i < times.size(); ++i) {
      if (times[i].reason != records_[i].reason) times[i].reason = records_[i].reason;
      times[i].time = records_[i].time + (records_[i].given != 0 ? now.time_since_epoch() : Nanoseconds(0));
    }
  }

  // One that is not given.
  void Add(std::string_view reason, TimePoint now) {
    const auto kept = records_.begin() + static_cast<ptrdiff_t>(std::min(records_.size(), kOthers));
    const auto known = std::find_if(records_.begin(), kept, [reason](const Record& record) {
      return record.given == 0 && record.reason == reason;
    });
    const bool is_new = known == kept;
    if (is_new && records_.size() == kOthers) records_.push_back({.reason = std::string(JobTimes::kOtherPauses)});
    if (is_new) records_.push_back({.reason = std::string(reason)});
    if (is_new && records_.size() > kOthers && records_[kOthers].given++ == 0) Begin(records_[kOthers], now);
    Record& record = is_new ? records_.back() : *known;
    record.given = ++last_given_;
    Begin(record, now);
  }
  // One that is given.
  void Remove(std::string_view reason, TimePoint now) {
    const size_t i = Find(reason);
    End(records_[i], now);
    records_[i].given = 0;
    if (i < kOthers) return;
    records_.erase(records_.begin() + static_cast<ptrdiff_t>(i));
    if (--records_[kOthers].given == 0) End(records_[kOthers], now);
  }
  void Clear(TimePoint now) {
    if (records_.size() > kOthers) records_.resize(kOthers + 1);
    for (Record& record : records_) {
      if (record.given != 0) End(record, now);
      record.given = 0;
    }
  }

 private:
  struct Record {
    std::string reason;
    Nanoseconds time{};  // while it is in force: less the moment at which that began
    uint32_t given = 0;  // 0: not now; else growing in the order in which they were given
  };
  // The records before this one are never removed, so that a reason finds its own again. This one stands for all that
  // came when these were full, and has been given as often as there are such now; those are behind it.
  static constexpr size_t kOthers = JobTimes::kMaxPauseReasons;

  static void Begin(Record& record, TimePoint now) { record.time -= now.time_since_epoch(); }
  static void End(Record& record, TimePoint now) { record.time += now.time_since_epoch(); }
  // Null: none.
  const Record* FirstGivenAfter(uint32_t given) const {
    const Record* first = nullptr;
    for (size_t i = 0; i < records_.size(); ++i) {
      const Record& record = records_[i];
      if (i != kOthers && record.given > given && (first == nullptr || record.given < first->given)) first = &record;
    }
    return first;
  }
  // Of one that is given; or how many there are.
  size_t Find(std::string_view reason) const {
    size_t i = 0;
    while (i < records_.size() && (i == kOthers || records_[i].given == 0 || records_[i].reason != reason)) ++i;
    return i;
  }

  absl::InlinedVector<Record, 1> records_;
  uint32_t last_given_ = 0;
};

// What a job accounts that has been paused, or was ready. Guarded by job_mutex.
struct JobAccount {
  static constexpr bool Keeps(JobStatus status) {
    return status >= JobStatus::kPaused && status <= JobStatus::kStandby;
  }
  Nanoseconds& TimeIn(JobStatus status) {
    return in_status[static_cast<size_t>(status) - static_cast<size_t>(JobStatus::kPaused)];
  }

  PauseReasons reasons;
  std::array<Nanoseconds, 3> in_status{};  // kPaused, kReady, kStandby: the time in those that it has left
};
static_assert(JobAccount::Keeps(JobStatus::kReady) && !JobAccount::Keeps(JobStatus::kRunning) &&
              !JobAccount::Keeps(JobStatus::kWaiting));

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_SRC_JOB_JOB_ACCOUNT_H_
