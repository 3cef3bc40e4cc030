// SPDX-License-Identifier: Apache-2.0
//
// PieceMap: which pieces of a node a job's target lacks. The job, and the clients of the source (through a filter),
// share it, and take turns at each piece.

#ifndef JOBCORE_BLOCK_PIECE_MAP_H_
#define JOBCORE_BLOCK_PIECE_MAP_H_

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "job-common/fwd.h"
#include "job-common/job.h"
#include "job-common/sync.h"
#include "job-driver/block/dirty_bitmap.h"
#include "job-driver/block/range_lock.h"
#include "job-driver/job_context.h"

namespace jobcore::inline JOBCORE_ABI::block {

// Any thread.
class PieceMap {
 public:
  using Range = DirtyBitmap::Range;
  // A part that nobody else has, for as long as it lives.
  struct Piece {
    uint64_t offset = 0;
    uint64_t length = 0;
    RangeLock::Hold hold = {};
  };

  PieceMap(uint64_t size, uint64_t granularity) : missing_(size, granularity) {}

  // --- The job ---
  // `job` is woken when there may be something for it to do, from now on until Close.
  void SetJob(Job& job) {
    const std::lock_guard lock(mutex_);
    if (!closed_) job_ = &job;  // it may have come to its end already
  }
  // From now on clients are on their own.
  void Close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    job_ = nullptr;
  }
  bool closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  void Wake() {
    const std::lock_guard lock(mutex_);
    WakeLocked();
  }

  // --- What is missing ---
  uint64_t missing_bytes() const {
    const std::lock_guard lock(mutex_);
    return missing_.dirty_bytes();
  }
  DirtyBitmap Missing() const {
    const std::lock_guard lock(mutex_);
    return missing_;
  }
  // Every piece that the range touches is missing.
  void Add(uint64_t offset, uint64_t length) {
    const std::lock_guard lock(mutex_);
    missing_.Set(offset, length);
  }
  void AddAndWake(uint64_t offset, uint64_t length) {
    const std::lock_guard lock(mutex_);
    missing_.Set(offset, length);
    WakeLocked();
  }
  // The pieces that lie in the range as a whole are not.
  void Remove(uint64_t offset, uint64_t length) {
    const std::lock_guard lock(mutex_);
    missing_.ClearWhole(offset, length);
  }
  // How much Take would give at most.
  uint64_t Peek(uint64_t from, uint64_t max) const {
    const std::lock_guard lock(mutex_);
    const std::optional<Range> next = missing_.Next(from, max);
    return next.has_value() ? next->length : 0;
  }
  // The first that are missing in the range, which begins and ends at a piece's border: as far as that goes, because
  // whoever asks may have its turn there only.
  std::optional<Range> FirstIn(uint64_t offset, uint64_t end) const {
    const std::lock_guard lock(mutex_);
    if (offset >= end) return std::nullopt;
    std::optional<Range> next = missing_.Next(offset, end - offset);
    if (!next.has_value() || next->offset >= end) return std::nullopt;
    next->length = std::min(next->length, end - next->offset);
    return next;
  }

  // --- Taking turns ---
  // The next missing pieces at or behind `from` that nobody has, of at most `max` bytes: still missing, or not any
  // more.
  std::optional<Piece> Take(uint64_t from, uint64_t max, bool still_missing) {
    const std::lock_guard lock(mutex_);
    while (const std::optional<Range> next = missing_.Next(from, max)) {
      // If not the whole run, then its first piece: clients who write all the time must not keep the job from all of
      // it.
      for (const uint64_t length : {next->length, std::min(next->length, missing_.granularity())}) {
        if (RangeLock::Hold hold = turns_.TryAcquire(next->offset, length)) {
          if (!still_missing) missing_.Clear(next->offset, length);
          return Piece{.offset = next->offset, .length = length, .hold = std::move(hold)};
        }
      }
      from = next->offset + missing_.granularity();
    }
    return std::nullopt;
  }
  // Awaitable: the pieces that the range touches, a Hold. Not to be asked for by somebody who has others.
  RangeLock::Acquiring Acquire(uint64_t offset, uint64_t length) {
    const uint64_t begin = RoundDown(offset);
    return turns_.Acquire(begin, RoundUp(offset + length) - begin);
  }
  RangeLock::Acquiring AcquireAll() { return turns_.Acquire(0, RoundUp(missing_.size())); }

  uint64_t RoundDown(uint64_t offset) const { return offset & ~(missing_.granularity() - 1); }
  uint64_t RoundUp(uint64_t offset) const { return RoundDown(offset + missing_.granularity() - 1); }

 private:
  void WakeLocked() {
    if (job_ != nullptr) Enter(*job_);
  }

  RangeLock turns_;  // never waited for with the mutex held

  mutable internal::Mutex mutex_;  // guards the rest
  DirtyBitmap missing_;
  Job* job_ = nullptr;  // null: none yet, or closed
  bool closed_ = false;
};

}  // namespace jobcore::inline JOBCORE_ABI::block

#endif  // JOBCORE_BLOCK_PIECE_MAP_H_
