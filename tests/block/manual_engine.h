// SPDX-License-Identifier: Apache-2.0
//
// ManualEngine: an IoEngine that performs requests when the test says so, and fails them as it says.
//
// StartWriteback and Evict are only held and counted if the test asks for it: most tests are about the data.

#ifndef JOBCORE_TESTS_BLOCK_MANUAL_ENGINE_H_
#define JOBCORE_TESTS_BLOCK_MANUAL_ENGINE_H_

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

#include "job-common/io_engine.h"

namespace jobcore_test {

class ManualEngine final : public jobcore::IoEngine {
 public:
  // An errno to fail the request with, or 0. Called on any thread, one call at a time.
  using Fault = std::function<int(const jobcore::IoRequest&)>;

  explicit ManualEngine(Fault fault = {}) : fault_(std::move(fault)) {}

  void Submit(jobcore::IoRequest& request) override {
    std::unique_lock lock(mutex_);
    using Op = jobcore::IoRequest::Op;
    const bool counts = (request.op != Op::kWriteback && request.op != Op::kEvict) || counts_writeback_;
    if (counts) ++submitted_;
    if (held_ && counts) {
      queue_.push_back(&request);
      queued_.notify_all();
      return;
    }
    Perform(request, lock);
  }

  // From now on copies transfer `bytes` at most, and then report `error` or, if that is 0, the end of the file.
  void CutCopies(size_t bytes, int error) {
    const std::scoped_lock lock(mutex_);
    most_copied_ = bytes;
    cut_error_ = error;
  }

  void HoldWritebackToo() {
    const std::scoped_lock lock(mutex_);
    counts_writeback_ = true;
  }

  // From now on requests wait for Release.
  void Hold() {
    const std::scoped_lock lock(mutex_);
    held_ = true;
  }
  // Performs what waits now, or the oldest `count` of it; not what comes meanwhile.
  void Step(size_t count = SIZE_MAX) {
    std::unique_lock lock(mutex_);
    for (count = std::min(count, queue_.size()); count > 0; --count) {
      jobcore::IoRequest& request = *queue_.front();
      queue_.pop_front();
      Perform(request, lock);
    }
  }
  // Performs what waits, and at once what comes.
  void Release() {
    {
      const std::scoped_lock lock(mutex_);
      held_ = false;
    }
    Step();
  }

  // Blocks until `count` requests wait.
  void AwaitQueued(size_t count) {
    std::unique_lock lock(mutex_);
    queued_.wait(lock, [&] { return queue_.size() >= count; });
  }
  size_t queued() const {
    const std::scoped_lock lock(mutex_);
    return queue_.size();
  }
  size_t submitted() const {
    const std::scoped_lock lock(mutex_);
    return submitted_;
  }

 private:
  void Perform(jobcore::IoRequest& request, std::unique_lock<std::mutex>& lock) {
    using Op = jobcore::IoRequest::Op;
    jobcore::IoResult result;
    if (fault_) result.error = fault_(request);
    const size_t most_copied = most_copied_;
    const int cut_error = cut_error_;
    lock.unlock();
    if (result.error == 0) {
      const auto offset = static_cast<off_t>(request.offset);
      ssize_t n = 0;
      switch (request.op) {
        case Op::kRead:
          n = pread(request.fd, request.buffer.data(), request.buffer.size(), offset);
          break;
        case Op::kWrite:
          n = pwrite(request.fd, request.buffer.data(), request.buffer.size(), offset);
          break;
        case Op::kDataSync:
          n = fdatasync(request.fd);
          break;
        case Op::kFileSync:
          n = fsync(request.fd);
          break;
        case Op::kWriteback:
          n = sync_file_range(request.fd, offset, static_cast<off_t>(request.size), SYNC_FILE_RANGE_WRITE);
          break;
        case Op::kEvict:
          n = sync_file_range(request.fd, offset, static_cast<off_t>(request.size),
                              SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
          posix_fadvise(request.fd, offset, static_cast<off_t>(request.size), POSIX_FADV_DONTNEED);
          break;
        case Op::kPunchHole:
        case Op::kZeroRange:
          n = -1;
          errno = EOPNOTSUPP;
          break;
        case Op::kAllocate:
          n = fallocate(request.fd, 0, offset, static_cast<off_t>(request.size));
          break;
        case Op::kCopyRange:
        case Op::kCopyData: {
          auto from = offset;
          auto to = static_cast<off_t>(request.to_offset);
          n = copy_file_range(request.fd, &from, request.to_fd, &to, std::min(request.size, most_copied), 0);
          if (request.size > most_copied) result.error = cut_error;
          break;
        }
      }
      if (n < 0) {
        result.error = errno;
      } else {
        result.bytes = static_cast<size_t>(n);
      }
    }
    request.Complete(result);
    lock.lock();
  }

  mutable std::mutex mutex_;
  std::condition_variable queued_;
  const Fault fault_;
  std::deque<jobcore::IoRequest*> queue_;  // guarded by mutex_
  bool held_ = false;                      // guarded by mutex_
  bool counts_writeback_ = false;          // guarded by mutex_
  size_t submitted_ = 0;                   // guarded by mutex_
  size_t most_copied_ = SIZE_MAX;          // guarded by mutex_
  int cut_error_ = 0;                      // guarded by mutex_
};

}  // namespace jobcore_test

#endif  // JOBCORE_TESTS_BLOCK_MANUAL_ENGINE_H_
