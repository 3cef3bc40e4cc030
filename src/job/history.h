// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_SRC_JOB_HISTORY_H_
#define JOBCORE_SRC_JOB_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/hash/hash.h"
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
  static constexpr size_t kMaxExpired = 64;
  using Garbage = absl::InlinedVector<std::shared_ptr<const void>, kMaxExpired>;

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
  // The record of the job that concluded last among those with its id.
  struct Latest {
    mutable const monitor::JobRecord* record;  // whose id is the key: the same before and after an exchange
    mutable uint64_t sequence;
  };
  static absl::string_view IdOf(const Latest& latest) { return {latest.record->id.data(), latest.record->id.size()}; }
  static absl::string_view IdOf(absl::string_view id) { return id; }
  struct LatestHash {
    using is_transparent = void;
    size_t operator()(const auto& key) const { return absl::Hash<absl::string_view>()(IdOf(key)); }
  };
  struct LatestEq {
    using is_transparent = void;
    bool operator()(const auto& a, const auto& b) const { return IdOf(a) == IdOf(b); }
  };

  const monitor::JobRecordPtr& At(uint64_t sequence) const { return records_[sequence - first_]; }
  bool TooOld(const monitor::JobRecord& record) const { return now_ - record.times.concluded->time > age_; }
  monitor::JobRecordPtr Young(uint64_t sequence) const { return TooOld(*At(sequence)) ? nullptr : At(sequence); }
  void DropFirst(Garbage& garbage);

  const size_t count_;
  const Nanoseconds age_;
  TimePoint now_{};
  uint64_t first_ = 1;  // sequence number of the first record
  std::deque<monitor::JobRecordPtr> records_;
  absl::flat_hash_map<uint64_t, uint64_t> by_number_;  // job number -> sequence
  absl::flat_hash_set<Latest, LatestHash, LatestEq> by_id_;
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_SRC_JOB_HISTORY_H_
