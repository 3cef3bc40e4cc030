// SPDX-License-Identifier: Apache-2.0
//
// IoEngine: asynchronous file I/O for coroutines. One of the seams: io_uring or a thread pool in production, a
// simulated disk in tests.
//
//   IoResult r = co_await Read(engine, fd, offset, buffer);
//   if (r.error != 0) ...

#ifndef JOBCORE_JOB_COMMON_IO_ENGINE_H_
#define JOBCORE_JOB_COMMON_IO_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "job-common/aio_context.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

struct IoResult {
  size_t bytes = 0;  // transferred; fewer than asked for means end of file
  int error = 0;     // errno, or 0; what `bytes` counts was transferred before it
};

enum class IoUrgency : unsigned char {
  kForeground,  // somebody may be waiting for it
  kBackground,  // part of something long: may be done more slowly than what comes later
};

// One operation in flight. Owned by the awaiting coroutine's frame; the engine has it from Submit to Complete.
class IoRequest : private WorkItem {
 public:
  enum class Op {
    kRead,
    kWrite,
    kDataSync,
    kFileSync,
    kCopyRange,
    kCopyData,
    kWriteback,
    kEvict,
    kPunchHole,
    kZeroRange,
    kAllocate
  };
  // What dumps show a coroutine to be suspended in.
  static constexpr const char* OpName(Op op) {
    constexpr const char* kNames[] = {"I/O read",       "I/O write",      "I/O data sync", "I/O file sync",
                                      "I/O copy",       "I/O data copy",  "I/O writeback", "I/O eviction",
                                      "I/O punch hole", "I/O zero range", "I/O allocate"};
    return kNames[static_cast<int>(op)];
  }

  IoRequest(IoEngine& engine, Op op, int fd, uint64_t offset, std::span<std::byte> buffer, IoUrgency urgency,
            bool cached = false)
      : WorkItem("I/O completion", &Resume),
        op(op),
        fd(fd),
        offset(offset),
        buffer(buffer),
        size(buffer.size()),
        urgency(urgency),
        cached(cached),
        engine_(engine) {}
  // Without a buffer
  IoRequest(IoEngine& engine, Op op, int fd, uint64_t offset, size_t bytes, IoUrgency urgency)
      : WorkItem("I/O completion", &Resume),
        op(op),
        fd(fd),
        offset(offset),
        size(bytes),
        urgency(urgency),
        engine_(engine) {}
  // kCopyRange, kCopyData
  IoRequest(IoEngine& engine, Op op, int from_fd, uint64_t from_offset, int to_fd, uint64_t to_offset, size_t bytes,
            IoUrgency urgency)
      : WorkItem("I/O completion", &Resume),
        op(op),
        fd(from_fd),
        offset(from_offset),
        size(bytes),
        urgency(urgency),
        to_fd(to_fd),
        to_offset(to_offset),
        engine_(engine) {}

  const Op op;
  const int fd;
  const uint64_t offset;                   // bytes
  const std::span<std::byte> buffer = {};  // kWrite only reads it
  const size_t size;                       // bytes to transfer; the buffer's, if there is one
  const IoUrgency urgency;
  const bool cached = false;  // kRead, kWrite: goes through the page cache, see ReadCached, WriteCached
  const int to_fd = -1;       // of copies: where to
  const uint64_t to_offset = 0;

  // The engine's, from Submit to Complete.
  IoRequest* next = nullptr;

  // The engine, any thread, once per Submit: resumes the coroutine in its own context. The request is gone
  // when this returns.
  void Complete(IoResult result);

  // For co_await, on a home thread.
  bool await_ready();
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

  // Any thread. Reads, writes and copies are repeated until all bytes are done, the end of the file, or an error.
  virtual void Submit(IoRequest& request) = 0;

  // Home threads, before Submit, for `cached` reads: what has come of it, if that is known on the spot. Then nobody is
  // suspended, and there is no Submit.
  virtual std::optional<IoResult> ReadAtOnce(const IoRequest&) { return std::nullopt; }

  // `threads` >= 1 worker threads each for reads, writes and data copies of up to 64 KiB, for what may take longer, and
  // for what is in the background: none of these kinds waits for another, and the background's threads leave the
  // processors to others. Requests queue without bound. Works everywhere.
  static std::unique_ptr<IoEngine> ThreadPool(int threads);

  // io_uring: one thread keeps as many requests in the kernel as its ring has room for; further ones queue without
  // bound. What io_uring cannot do, such as CopyRange, is done by `helpers` >= 1 threads, started at first use.
  //   Unimplemented      the library was built without liburing, or the kernel is too old (before 5.6)
  //   PermissionDenied   io_uring is forbidden here, as in many containers
  //   other              as io_uring_setup(2) fails
  static absl::StatusOr<std::unique_ptr<IoEngine>> Uring(int helpers);

  // Uring(threads), or ThreadPool(threads) where that fails.
  static std::unique_ptr<IoEngine> Best(int threads);
};

// Awaitables. Descriptors and the buffer must stay valid until the await is over; nothing cancels one.
inline IoRequest Read(IoEngine& engine, int fd, uint64_t offset, std::span<std::byte> buffer,
                      IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kRead, fd, offset, buffer, urgency);
}
// The same of a file that is read through the page cache: what is short and in there may be copied on the spot, and
// the coroutine goes on without having been suspended.
inline IoRequest ReadCached(IoEngine& engine, int fd, uint64_t offset, std::span<std::byte> buffer,
                            IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kRead, fd, offset, buffer, urgency, /*cached=*/true);
}
inline IoRequest Write(IoEngine& engine, int fd, uint64_t offset, std::span<const std::byte> buffer,
                       IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kWrite, fd, offset, {const_cast<std::byte*>(buffer.data()), buffer.size()},
                   urgency);
}
// The same of a file that is written to through the page cache, where the kernel lets writes to one file wait for each
// other: an engine need not have more than one thread do that.
inline IoRequest WriteCached(IoEngine& engine, int fd, uint64_t offset, std::span<const std::byte> buffer,
                             IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kWrite, fd, offset, {const_cast<std::byte*>(buffer.data()), buffer.size()},
                   urgency, /*cached=*/true);
}
// fdatasync.
inline IoRequest DataSync(IoEngine& engine, int fd, IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kDataSync, fd, 0, 0, urgency);
}
// fsync; of a directory, too.
inline IoRequest FileSync(IoEngine& engine, int fd, IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kFileSync, fd, 0, 0, urgency);
}
// Copies within the engine. Where a file system or its server can do it by itself, or let files share extents, that is
// copy_file_range; otherwise the threads read and write. Not possible between all files: EINVAL, EOPNOTSUPP and others
// come as they are, and do not say which file is at fault; the caller reads and writes instead. The ranges must not
// overlap.
inline IoRequest CopyRange(IoEngine& engine, int from_fd, uint64_t from_offset, int to_fd, uint64_t to_offset,
                           size_t bytes, IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kCopyRange, from_fd, from_offset, to_fd, to_offset, bytes, urgency);
}
// The same, but the target gets data and room of its own, wherever the files are: of two images that go on being
// written to, none has to be separated from the other at each write then.
inline IoRequest CopyData(IoEngine& engine, int from_fd, uint64_t from_offset, int to_fd, uint64_t to_offset,
                          size_t bytes, IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kCopyData, from_fd, from_offset, to_fd, to_offset, bytes, urgency);
}
// sync_file_range: the kernel begins to write to the medium what is dirty in the range, so that a DataSync has less to
// do; takes long while the medium's queue is full. Completion says neither that it has been written nor that it can
// be: only a DataSync does. EINVAL, ENOSYS and others mean that it is not possible here.
inline IoRequest StartWriteback(IoEngine& engine, int fd, uint64_t offset, size_t bytes,
                                IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kWriteback, fd, offset, bytes, urgency);
}
// sync_file_range and posix_fadvise: waits until the medium has what is dirty in the range, and takes the range out of
// the page cache, so that its memory serves for what is written next. It does not replace a DataSync, either: of the
// file's metadata and the medium's own cache it knows nothing. The kernel tells an error of writing once to each open
// file description: one that came here does not come from a DataSync through the same one any more.
inline IoRequest Evict(IoEngine& engine, int fd, uint64_t offset, size_t bytes,
                       IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kEvict, fd, offset, bytes, urgency);
}
// The range reads as zeros afterwards: as a hole, if it is within the file; or with its room kept, and the file
// extended to its end. EOPNOTSUPP: the file system cannot; then somebody has to write zeros.
inline IoRequest PunchHole(IoEngine& engine, int fd, uint64_t offset, size_t bytes,
                           IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kPunchHole, fd, offset, bytes, urgency);
}
inline IoRequest ZeroRange(IoEngine& engine, int fd, uint64_t offset, size_t bytes,
                           IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kZeroRange, fd, offset, bytes, urgency);
}
// The file has room for the range afterwards, and is extended to its end; what is in it already stays. EOPNOTSUPP: the
// file system cannot promise that.
inline IoRequest Allocate(IoEngine& engine, int fd, uint64_t offset, size_t bytes,
                          IoUrgency urgency = IoUrgency::kForeground) {
  return IoRequest(engine, IoRequest::Op::kAllocate, fd, offset, bytes, urgency);
}

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_IO_ENGINE_H_
