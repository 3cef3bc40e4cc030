// SPDX-License-Identifier: Apache-2.0

#include "job-common/io_engine.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "aio/check.h"

namespace jobcore::inline JOBCORE_ABI {

void IoRequest::Start() {
  AioContext* const home = AioContext::Current();
  if (home == nullptr) internal::Die("IoRequest: awaited on a thread that is home of no context");
  context_ = home->shared_from_this();
  engine_.Submit(*this);
}

void IoRequest::Complete(IoResult result) {
  result_ = result;
  // Out of *this, which may be gone as soon as it is posted. And a request that stays in the queue of
  // a context that will not run any more must not keep it alive.
  const std::shared_ptr<AioContext> context = std::move(context_);
  context->Post(*this);
}

void IoRequest::Resume(WorkItem& item, Reason reason) {
  const CoHandle waiter = static_cast<IoRequest&>(item).waiter_;
  if (reason == Reason::kRun) waiter.Resume();  // dropped: the coroutine stays suspended, its owner's
}

namespace {

class ThreadPool final : public IoEngine {
 public:
  explicit ThreadPool(int threads) {
    if (threads < 1) internal::Die("IoEngine::ThreadPool: needs at least one thread");
    workers_.reserve(threads);
    for (int i = 0; i < threads; ++i) workers_.emplace_back([this] { Work(); });
  }

  ~ThreadPool() override {
    if (pending_ != 0) internal::Die("IoEngine: destroyed with requests in flight");
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
    }
    more_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void Submit(IoRequest& request) override {
    ++pending_;
    const std::scoped_lock lock(mutex_);
    queue_.push_back(&request);
    more_.notify_one();
  }

 private:
  void Work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      more_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      IoRequest& request = *queue_.front();
      queue_.pop_front();
      lock.unlock();
      const IoResult result = Perform(request);
      --pending_;  // before the completion: after it, the engine may be destroyed
      request.Complete(result);
      lock.lock();
    }
  }

  static IoResult Perform(const IoRequest& request) {
    if (request.op == IoRequest::Op::kDataSync) {
      return {.error = fdatasync(request.fd) == 0 ? 0 : errno};
    }
    IoResult result;
    while (result.bytes < request.buffer.size()) {
      std::byte* const data = request.buffer.data() + result.bytes;
      const size_t size = request.buffer.size() - result.bytes;
      const auto offset = static_cast<off_t>(request.offset + result.bytes);
      const ssize_t n = request.op == IoRequest::Op::kRead ? pread(request.fd, data, size, offset)
                                                           : pwrite(request.fd, data, size, offset);
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

  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<IoRequest*> queue_;    // guarded by mutex_
  bool stopping_ = false;           // guarded by mutex_
  std::atomic<size_t> pending_{0};  // queued or being performed
  std::vector<std::thread> workers_;
};

}  // namespace

std::unique_ptr<IoEngine> IoEngine::ThreadPool(int threads) { return std::make_unique<class ThreadPool>(threads); }

}  // namespace jobcore::inline JOBCORE_ABI
