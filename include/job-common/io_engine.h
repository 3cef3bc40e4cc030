// SPDX-License-Identifier: Apache-2.0
//
// IoEngine: asynchronous file I/O for coroutines. One of the seams: a thread pool in production, a simulated
// disk in tests.
//
//   IoResult r = co_await Read(engine, fd, offset, buffer);
//   if (r.error != 0) ...

#ifndef JOBCORE_JOB_COMMON_IO_ENGINE_H_
#define JOBCORE_JOB_COMMON_IO_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

struct IoResult {
  size_t bytes = 0;  // transferred; fewer than asked for means end of file
  int error = 0;     // errno, or 0
};

// One operation in flight. Owned by the awaiting coroutine's frame; the engine has it from Submit to Complete.
class IoRequest : private WorkItem {
 public:
  enum class Op { kRead, kWrite, kDataSync };
  // What dumps show a coroutine to be suspended in.
  static constexpr const char* OpName(Op op) {
    return op == Op::kRead ? "I/O read" : op == Op::kWrite ? "I/O write" : "I/O data sync";
  }

  IoRequest(IoEngine& engine, Op op, int fd, uint64_t offset, std::span<std::byte> buffer)
      : WorkItem("I/O completion", &Resume), op(op), fd(fd), offset(offset), buffer(buffer), engine_(engine) {}

  const Op op;
  const int fd;
  const uint64_t offset;              // bytes
  const std::span<std::byte> buffer;  // kWrite only reads it

  // The engine, any thread, once per Submit: resumes the coroutine in its own context. The request is gone
  // when this returns.
  void Complete(IoResult result);

  // For co_await, on a home thread.
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> self) {
    waiter_ = CoHandle::Of(self, OpName(op));
    Start();
  }
  IoResult await_resume() const noexcept { return result_; }

 private:
  static void Resume(WorkItem& item, Reason reason);
  void Start();

  IoEngine& engine_;
  CoHandle waiter_;
  std::shared_ptr<AioContext> context_;
  IoResult result_;
};

class IoEngine {
 public:
  virtual ~IoEngine() = default;  // no request may be in flight

  // Any thread. Reads and writes are repeated until the whole buffer is done, the end of the file, or an error.
  virtual void Submit(IoRequest& request) = 0;

  // `threads` >= 1 worker threads; requests queue without bound.
  static std::unique_ptr<IoEngine> ThreadPool(int threads);
};

// Awaitables. `fd` and the buffer must stay valid until the await is over; nothing cancels one.
inline IoRequest Read(IoEngine& engine, int fd, uint64_t offset, std::span<std::byte> buffer) {
  return IoRequest(engine, IoRequest::Op::kRead, fd, offset, buffer);
}
inline IoRequest Write(IoEngine& engine, int fd, uint64_t offset, std::span<const std::byte> buffer) {
  return IoRequest(engine, IoRequest::Op::kWrite, fd, offset, {const_cast<std::byte*>(buffer.data()), buffer.size()});
}
// fdatasync.
inline IoRequest DataSync(IoEngine& engine, int fd) { return IoRequest(engine, IoRequest::Op::kDataSync, fd, 0, {}); }

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_IO_ENGINE_H_
