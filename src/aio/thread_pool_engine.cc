// SPDX-License-Identifier: Apache-2.0

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "aio/check.h"
#include "aio/range_copier.h"
#include "job-common/io_engine.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

using Op = IoRequest::Op;

// One attempt at what is left of `request`. As the system calls: -1 and errno.
ssize_t Transfer(const IoRequest& request, size_t done) {
  const size_t size = request.size - done;
  const auto offset = static_cast<off_t>(request.offset + done);
  if (request.op == Op::kRead) return pread(request.fd, request.buffer.data() + done, size, offset);
  return pwrite(request.fd, request.buffer.data() + done, size, offset);
}

IoResult SyncRange(const IoRequest& request, unsigned flags) {
  if (request.size == 0) return {};  // to the kernel, 0 bytes are all up to the end
  const auto offset = static_cast<off_t>(request.offset);
  const auto size = static_cast<off_t>(request.size);
  while (sync_file_range(request.fd, offset, size, flags) != 0) {
    if (errno != EINTR) return {.error = errno};
  }
  return {};
}

IoResult Evict(const IoRequest& request) {
  constexpr unsigned kWriteAndWait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  const IoResult written = SyncRange(request, kWriteAndWait);
  if (written.error != 0 || request.size == 0) return written;
  return {.error = posix_fadvise(request.fd, static_cast<off_t>(request.offset), static_cast<off_t>(request.size),
                                 POSIX_FADV_DONTNEED)};
}

IoResult Fallocate(const IoRequest& request, int how) {
  while (fallocate(request.fd, how, static_cast<off_t>(request.offset), static_cast<off_t>(request.size)) != 0) {
    if (errno != EINTR) return {.error = errno};
  }
  return {};
}

IoResult Perform(const IoRequest& request, internal::RangeCopier& copier) {
  if (request.op == Op::kDataSync) return {.error = fdatasync(request.fd) == 0 ? 0 : errno};
  if (request.op == Op::kFileSync) return {.error = fsync(request.fd) == 0 ? 0 : errno};
  if (request.op == Op::kCopyRange) return copier.Copy(request);
  if (request.op == Op::kWriteback) return SyncRange(request, SYNC_FILE_RANGE_WRITE);
  if (request.op == Op::kEvict) return Evict(request);
  if (request.op == Op::kPunchHole) return Fallocate(request, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
  if (request.op == Op::kZeroRange) return Fallocate(request, FALLOC_FL_ZERO_RANGE);
  if (request.op == Op::kAllocate) return Fallocate(request, 0);
  IoResult result;
  while (result.bytes < request.size) {
    const ssize_t n = Transfer(request, result.bytes);
    if (n > 0) {
      result.bytes += static_cast<size_t>(n);
    } else if (n == 0) {
      break;
    } else if (errno != EINTR) {
      result.error = errno;
      break;
    }
  }
  return result;
}

class ThreadPoolEngine final : public IoEngine {
 public:
  explicit ThreadPoolEngine(int threads) {
    if (threads < 1) internal::Die("IoEngine::ThreadPool: needs at least one thread");
    workers_.reserve(threads);
    for (int i = 0; i < threads; ++i) workers_.emplace_back([this] { Work(); });
  }

  ~ThreadPoolEngine() override {
    if (pending_ != 0) internal::Die("IoEngine: destroyed with requests in flight");
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    more_.notify_all();
    for (internal::Thread& worker : workers_) worker.join();
  }

  void Submit(IoRequest& request) override {
    ++pending_;
    const std::scoped_lock lock(mutex_);
    queue_.push_back(&request);
    more_.notify_one();
  }

 private:
  void Work() {
    internal::RangeCopier copier;
    std::unique_lock lock(mutex_);
    for (;;) {
      more_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      IoRequest& request = *queue_.front();
      queue_.pop_front();
      lock.unlock();
      const IoResult result = Perform(request, copier);
      --pending_;  // before the completion: after it, the engine may be destroyed
      request.Complete(result);
      lock.lock();
    }
  }

  internal::Mutex mutex_;
  internal::CondVar more_;
  std::deque<IoRequest*> queue_;         // guarded by mutex_
  bool stopping_ = false;                // guarded by mutex_
  internal::Atomic<size_t> pending_{0};  // queued or being performed
  std::vector<internal::Thread> workers_;
};

}  // namespace

std::unique_ptr<IoEngine> IoEngine::ThreadPool(int threads) { return std::make_unique<ThreadPoolEngine>(threads); }

}  // namespace jobcore::inline JOBCORE_ABI
