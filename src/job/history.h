// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_SRC_JOB_HISTORY_H_
#define JOBCORE_SRC_JOB_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/strings/string_view.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-monitor/job_history.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// The records of a core, in the order in which the jobs concluded, which is also that of their age. No locking of its
// own: part of a JobCore, under its job_mutex. What it lets go of goes to `garbage`, for after the mutex; at most
// kMaxExpired records in one call.
class JobHistory {
 public:
  using Garbage = std::vector<std::shared_ptr<const void>>;
  static constexpr size_t kMaxExpired = 64;

  JobHistory(size_t count, Nanoseconds age) : count_(count), age_(age) {}

  bool keeps_any() const { return count_ != 0; }
  // The job has concluded after all those before. Only if keeps_any().
  void Add(monitor::JobRecordPtr record, Garbage& garbage);
  // Moves the time on to `now`: nothing that is too old is found any more, from here on.
  void Expire(TimePoint now, Garbage& garbage);

  monitor::JobRecordPtr Find(uint64_t number) const;
  monitor::JobRecordPtr Find(std::string_view id) const;
  std::vector<monitor::JobRecordPtr> Page(monitor::HistoryCursor& cursor, size_t max) const;

 private:
  const monitor::JobRecordPtr& At(uint64_t sequence) const { return records_[sequence - first_]; }
  bool TooOld(const monitor::JobRecord& record) const { return now_ - record.times.concluded->time > age_; }
  monitor::JobRecordPtr Young(uint64_t sequence) const { return TooOld(*At(sequence)) ? nullptr : At(sequence); }
  void DropFirst(Garbage& garbage);

  const size_t count_;
  const Nanoseconds age_;
  TimePoint now_{};
  uint64_t first_ = 1;  // sequence number of the first record
  std::deque<monitor::JobRecordPtr> records_;
  absl::btree_map<uint64_t, uint64_t> by_number_;       // job number -> sequence
  absl::btree_map<absl::string_view, uint64_t> by_id_;  // -> that of the last one; keys live in that record
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_SRC_JOB_HISTORY_H_
