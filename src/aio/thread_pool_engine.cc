// SPDX-License-Identifier: Apache-2.0
//
// Requests are taken up in the order in which they came, but long ones keep at most `threads` workers busy, and there
// is one more: so a client's small write waits neither for a job's large ones nor for a flush. And while there are
// short ones, the long ones have half of the workers: what they copy from and to the page cache takes a processor each,
// and who has just been woken waits for one for as long as the scheduler lets the others go on, milliseconds.

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "aio/cached_read.h"
#include "aio/check.h"
#include "aio/range_copier.h"
#include "job-common/io_engine.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

using Op = IoRequest::Op;

// Takes no longer, from the page cache, than it takes to wake a thread or two.
constexpr size_t kShortBytes = size_t{64} * 1024;
// So many long ones begin with half of the workers after a short one has come. A number, because no clock is needed for
// that: some 20 ms of copying.
constexpr int kConsiderate = 64;

bool IsLong(const IoRequest& request) {
  const bool transfers = request.op == Op::kRead || request.op == Op::kWrite;
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
  explicit ThreadPoolEngine(int threads) : most_long_(threads) {
    if (threads < 1) internal::Die("IoEngine::ThreadPool: needs at least one thread");
    workers_.reserve(threads + 1);
    for (int i = 0; i < threads + 1; ++i) workers_.emplace_back([this] { Work(); });
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
    if (internal::ReadFromCache(request)) return;
    ++pending_;
    const std::scoped_lock lock(mutex_);
    const bool is_long = IsLong(request);
    if (!is_long) considerate_ = kConsiderate;
    (is_long ? long_ : short_).push_back({.request = &request, .number = next_number_++});
    more_.notify_one();
  }

 private:
  struct Queued {
    IoRequest* request;
    uint64_t number;
  };

  // Whose first request is the next one, with the mutex held. Null: there is none that may begin now.
  std::deque<Queued>* NextQueue() {
    const int most = considerate_ > 0 ? (most_long_ + 1) / 2 : most_long_;
    const bool may_be_long = !long_.empty() && running_long_ < most;
    if (short_.empty()) return may_be_long ? &long_ : nullptr;
    return may_be_long && long_.front().number < short_.front().number ? &long_ : &short_;
  }

  void Work() {
    internal::RangeCopier copier;
    std::unique_lock lock(mutex_);
    for (;;) {
      std::deque<Queued>* queue = nullptr;
      more_.wait(lock, [&] { return (queue = NextQueue()) != nullptr || stopping_; });
      if (queue == nullptr) return;
      IoRequest& request = *queue->front().request;
      const bool is_long = queue == &long_;
      queue->pop_front();
      if (is_long) {
        ++running_long_;
        if (considerate_ > 0) --considerate_;
      }
      if (NextQueue() != nullptr) more_.notify_one();  // it may have been refused before
      lock.unlock();
      const IoResult result = Perform(request, copier);
      --pending_;  // before the completion: after it, the engine may be destroyed
      request.Complete(result);
      lock.lock();
      if (is_long) --running_long_;
    }
  }

  const int most_long_;
  internal::Mutex mutex_;
  internal::CondVar more_;
  std::deque<Queued> short_;             // guarded by mutex_
  std::deque<Queued> long_;              // guarded by mutex_
  uint64_t next_number_ = 0;             // guarded by mutex_
  int running_long_ = 0;                 // guarded by mutex_
  int considerate_ = 0;                  // guarded by mutex_: so many long ones are yet to begin with less
  bool stopping_ = false;                // guarded by mutex_
  internal::Atomic<size_t> pending_{0};  // queued or being performed
  std::vector<internal::Thread> workers_;
};

}  // namespace

std::unique_ptr<IoEngine> IoEngine::ThreadPool(int threads) { return std::make_unique<ThreadPoolEngine>(threads); }

}  // namespace jobcore::inline JOBCORE_ABI
