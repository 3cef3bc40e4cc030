// SPDX-License-Identifier: Apache-2.0
//
// Small requests, long ones and those in the background have threads of their own, so that none of them waits for
// another kind. And what waits on processors is told apart, too: copying from and to the page cache takes a processor,
// not a disk, and who has just been woken, to begin a client's write or to tell it of its end, would wait until the
// scheduler takes one from those that copy, which is milliseconds. So the background yields, and small requests are
// begun promptly.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "aio/cached_read.h"
#include "aio/check.h"
#include "aio/range_copier.h"
#include "aio/request_queue.h"
#include "aio/thread_scheduling.h"
#include "job-common/io_engine.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

using Op = IoRequest::Op;

// Takes no longer, from the page cache, than it takes to wake a thread or two.
constexpr size_t kShortBytes = size_t{64} * 1024;

bool IsLong(const IoRequest& request) {
  const bool transfers = request.op == Op::kRead || request.op == Op::kWrite || request.op == Op::kCopyData;
  return !transfers || request.size > kShortBytes;
}

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
  if (request.op == Op::kCopyData) return copier.CopyData(request);
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

// Threads that take up requests of one kind.
class Lane {
 public:
  // Each thread begins with `ask`: what it asks of the scheduler.
  Lane(int threads, void (*ask)(), internal::Atomic<size_t>& pending) : pending_(pending) {
    workers_.reserve(threads);
    for (int i = 0; i < threads; ++i) {
      workers_.emplace_back([this, ask] {
        ask();
        Work();
      });
    }
  }
  ~Lane() {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    more_.notify_all();
    for (internal::Thread& worker : workers_) worker.join();
  }

  void Submit(IoRequest& request) {
    const std::scoped_lock lock(mutex_);
    if (queue_.Push(request)) more_.notify_one();
  }

 private:
  void Work() {
    internal::RangeCopier copier;
    std::unique_lock lock(mutex_);
    for (;;) {
      more_.wait(lock, [this] { return !queue_.empty() || stopping_; });
      if (queue_.empty()) return;
      IoRequest& request = queue_.Pop();
      lock.unlock();
      const IoResult result = Perform(request, copier);
      if (internal::RequestQueue::TakesTurns(request)) {
        lock.lock();
        queue_.EndTurn(request);  // nobody has to be woken: this thread comes back
        lock.unlock();
      }
      --pending_;  // before the completion: after it, the engine may be destroyed
      request.Complete(result);
      lock.lock();
    }
  }

  internal::Atomic<size_t>& pending_;  // the engine's
  internal::Mutex mutex_;
  internal::CondVar more_;
  internal::RequestQueue queue_;  // guarded by mutex_
  bool stopping_ = false;         // guarded by mutex_
  std::vector<internal::Thread> workers_;
};

class ThreadPoolEngine final : public IoEngine {
 public:
  explicit ThreadPoolEngine(int threads)
      : short_(AtLeastOne(threads), &internal::AskToRunPromptly, pending_),
        long_(threads, &internal::AskToRunAsUsual, pending_),
        background_(threads, &internal::AskToYield, pending_) {}

  ~ThreadPoolEngine() override {
    if (pending_ != 0) internal::Die("IoEngine: destroyed with requests in flight");
  }

  void Submit(IoRequest& request) override {
    ++pending_;
    LaneOf(request).Submit(request);
  }
  std::optional<IoResult> ReadAtOnce(const IoRequest& request) override { return internal::ReadFromCache(request); }

 private:
  static int AtLeastOne(int threads) {
    if (threads < 1) internal::Die("IoEngine::ThreadPool: needs at least one thread");
    return threads;
  }
  Lane& LaneOf(const IoRequest& request) {
    if (request.urgency == IoUrgency::kBackground) return background_;
    return IsLong(request) ? long_ : short_;
  }

  internal::Atomic<size_t> pending_{0};  // queued or being performed
  Lane short_;
  Lane long_;
  Lane background_;
};

}  // namespace

std::unique_ptr<IoEngine> IoEngine::ThreadPool(int threads) { return std::make_unique<ThreadPoolEngine>(threads); }

}  // namespace jobcore::inline JOBCORE_ABI
