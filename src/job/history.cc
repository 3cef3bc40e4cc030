// SPDX-License-Identifier: Apache-2.0

#include "job/history.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "job-common/block_pool.h"
#include "job-monitor/job_history.h"
#include "job/job_ops.h"

namespace jobcore::inline JOBCORE_ABI {
namespace internal {

void JobHistory::Add(monitor::JobRecordPtr record, Garbage& garbage) {
  const uint64_t sequence = first_ + records_.size();
  by_number_.emplace(record->number, sequence);
  const auto [latest, first] = by_id_.insert({record.get(), sequence});
  if (!first) {
    latest->record = record.get();
    latest->sequence = sequence;
  }
  records_.push_back(std::move(record));
  if (records_.size() > count_) DropFirst(garbage);
}

void JobHistory::Expire(TimePoint now, Garbage& garbage) {
  now_ = now;
  for (size_t n = 0; n < kMaxExpired && !records_.empty() && TooOld(*records_.front()); ++n) DropFirst(garbage);
}

void JobHistory::DropFirst(Garbage& garbage) {
  const monitor::JobRecord& record = *records_.front();
  by_number_.erase(record.number);
  if (const auto found = by_id_.find(Absl(record.id)); found->sequence == first_) by_id_.erase(found);
  garbage.push_back(std::move(records_.front()));
  records_.pop_front();
  ++first_;
}

monitor::JobRecordPtr JobHistory::Find(uint64_t number) const {
  const auto found = by_number_.find(number);
  return found == by_number_.end() ? nullptr : Young(found->second);
}

monitor::JobRecordPtr JobHistory::Find(std::string_view id) const {
  const auto found = by_id_.find(Absl(id));
  return found == by_id_.end() ? nullptr : Young(found->sequence);
}

std::vector<monitor::JobRecordPtr> JobHistory::Page(monitor::HistoryCursor& cursor, size_t max) const {
  std::vector<monitor::JobRecordPtr> page;
  cursor.before = std::min(cursor.before, first_ + records_.size());
  while (page.size() < max && cursor.before > first_) {
    const monitor::JobRecordPtr& record = At(cursor.before - 1);
    if (TooOld(*record)) break;  // and so are all before it
    --cursor.before;
    page.push_back(record);
  }
  return page;
}

}  // namespace internal

internal::JobHistory& JobOps::History(JobCore& core) {
  core.history_->Expire(Now(core), core.garbage_);
  core.posts_ |= !core.garbage_.empty();
  return *core.history_;
}

void JobOps::Remember(const Job& job, TimePoint now) {
  internal::JobHistory& history = History(job.core_);
  if (!history.keeps_any()) return;
  const auto record = std::allocate_shared<monitor::JobRecord>(internal::PoolAllocator<monitor::JobRecord>());
  record->id = job.id_;
  record->number = job.number_;
  record->group = job.txn_->number();
  record->type = job.type_;
  record->context = job.context().name();
  record->auto_finalize = job.auto_finalize_;
  record->auto_dismiss = job.auto_dismiss_;
  record->outcome = *job.outcome_;
  record->unit = job.progress_.unit();
  record->progress = job.progress_.Get();
  record->details = job.details_;
  GetTimes(job, now, record->times);
  history.Add(record, job.core_.garbage_);
  job.core_.posts_ |= !job.core_.garbage_.empty();
}

// --- job-monitor/job_history.h ---

namespace monitor {

JobRecordPtr FindRecord(JobCore& core, uint64_t number) {
  core.mutex().AssertHeld("monitor::FindRecord");
  return JobOps::History(core).Find(number);
}

JobRecordPtr FindRecord(JobCore& core, std::string_view id) {
  core.mutex().AssertHeld("monitor::FindRecord");
  return JobOps::History(core).Find(id);
}

std::vector<JobRecordPtr> HistoryPage(JobCore& core, HistoryCursor& cursor, size_t max) {
  core.mutex().AssertHeld("monitor::HistoryPage");
  return JobOps::History(core).Page(cursor, std::min(max, kMaxPage));
}

}  // namespace monitor
}  // namespace jobcore::inline JOBCORE_ABI
