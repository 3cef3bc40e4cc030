// SPDX-License-Identifier: Apache-2.0
//
// One ring and one thread that alone uses it. Home threads queue requests; the ring's thread submits what has come,
// waits, and posts completions to the requests' contexts. Why not otherwise:
//
// * Submission by the home threads, under a mutex. io_uring_enter does buffered I/O on the spot if it can, so a home
//   thread would copy from the page cache with the mutex held, and all others wait for it. And requests belong to the
//   thread that submitted them: when it ends, the kernel cancels what its workers have not begun. An engine outlives
//   its requests, a home thread need not.
// * A ring per context, with an eventfd that its loop watches. A loop with descriptors does not busy-poll, and pays a
//   system call per completion; a context that goes away would have to wait for its ring first.
//
// A request costs a hop between threads each way, as in a thread pool; what comes together is submitted together.
// Nothing here spins: the thread sleeps in io_uring_enter, which looks at the completion queue itself before it sleeps
// (no wake-up is lost between the ring and a descriptor), and is woken for new requests by an eventfd that the ring
// always reads.

#include "aio/uring_engine.h"

#include "job-common/io_engine.h"

#if JOBCORE_HAVE_LIBURING

#include <liburing.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "aio/cached_read.h"
#include "aio/check.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

using internal::UringOptions;
using Op = IoRequest::Op;

absl::Status Refused(const char* call, int error) {
  return absl::Status(absl::ErrnoToStatusCode(error),
                      absl::StrCat("io_uring cannot be used here: ", call, ": ", std::generic_category().message(error),
                                   "; IoEngine::ThreadPool can"));
}

class UringEngine final : public IoEngine {
 public:
  explicit UringEngine(const UringOptions& options) : options_(options) {}
  ~UringEngine() override;

  // Once, before all else. An engine that has failed to open can only be destroyed.
  absl::Status Open();

  void Submit(IoRequest& request) override;
  std::optional<IoResult> ReadAtOnce(const IoRequest& request) override { return internal::ReadFromCache(request); }

 private:
  // A request that the kernel has, or gets with the next io_uring_enter. Slots are named to the kernel by index.
  struct Slot {
    IoRequest* request = nullptr;
    size_t done = 0;  // bytes
  };
  static constexpr uint64_t kWakeToken = std::numeric_limits<uint64_t>::max();  // instead of an index
  static constexpr size_t kMaxTransfer = size_t{1} << 30;                       // a submission has 32 bits for it

  absl::Status CheckOperations();
  void Wake();
  void Help(IoRequest& request);

  // The ring's thread.
  void Run();
  bool TakeQueued();
  void Begin(IoRequest& request);
  void Prepare(size_t index);
  void ArmWake();
  void SubmitAndWait();
  void Reap();
  void OnCompletion(size_t index, int result);
  void Finish(IoRequest& request, IoResult result);
  io_uring_sqe* NextSubmission();

  const UringOptions options_;

  // Any thread. The mutex is a leaf.
  std::mutex mutex_;
  std::deque<IoRequest*> queue_;  // guarded by mutex_
  bool asleep_ = false;           // guarded by mutex_: a new request needs a Wake
  bool stopping_ = false;         // guarded by mutex_
  internal::Mutex helpers_mutex_;
  std::unique_ptr<IoEngine> helpers_;  // guarded by helpers_mutex_ until made
  std::atomic<size_t> pending_{0};     // queued, or in a slot

  // The ring's thread, while it runs. What the kernel writes to is here or belongs to a request, and stays until the
  // completion: the thread ends only when the kernel has nothing any more.
  io_uring ring_ = {};
  bool open_ = false;
  int wake_fd_ = -1;
  uint64_t wake_count_ = 0;  // the kernel reads the eventfd into it
  bool wake_armed_ = false;
  std::vector<Slot> slots_;
  std::vector<size_t> free_slots_;
  std::deque<IoRequest*> taken_;

  std::thread thread_;
};

absl::Status UringEngine::Open() {
  if (const int r = io_uring_queue_init(options_.entries, &ring_, 0); r < 0) return Refused("io_uring_setup", -r);
  open_ = true;
  if (absl::Status s = CheckOperations(); !s.ok()) return s;
  // Blocking: the kernel answers a read of it when there is something to read.
  wake_fd_ = eventfd(0, EFD_CLOEXEC);
  if (wake_fd_ < 0) return Refused("eventfd", errno);
  // One entry is for the eventfd. The completion queue has twice as many, and so never overflows.
  slots_.resize(options_.entries - 1);
  for (size_t i = slots_.size(); i > 0; --i) free_slots_.push_back(i - 1);
  thread_ = std::thread(&UringEngine::Run, this);
  pthread_setname_np(thread_.native_handle(), "jobcore-uring");
  return absl::OkStatus();
}

absl::Status UringEngine::CheckOperations() {
  const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> probe(io_uring_get_probe_ring(&ring_),
                                                                         io_uring_free_probe);
  if (probe == nullptr) return Refused("io_uring_register (probe)", ENOSYS);
  for (const int operation : {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC}) {
    if (!io_uring_opcode_supported(probe.get(), operation)) return Refused("read, write and fsync", ENOSYS);
  }
  return absl::OkStatus();
}

UringEngine::~UringEngine() {
  if (pending_ != 0) internal::Die("IoEngine: destroyed with requests in flight");
  if (thread_.joinable()) {
    {
      const std::scoped_lock lock(mutex_);
      stopping_ = true;
      Wake();
    }
    thread_.join();
  }
  if (open_) io_uring_queue_exit(&ring_);
  if (wake_fd_ >= 0) close(wake_fd_);
}

void UringEngine::Submit(IoRequest& request) {
  // io_uring has no copy; the others it would give to a thread, too. That includes writes through the page cache, where
  // it first finds out that they may have to wait.
  if ((request.op == Op::kWrite && request.cached) || request.op == Op::kCopyRange || request.op == Op::kCopyData ||
      request.op == Op::kWriteback || request.op == Op::kEvict || request.op == Op::kPunchHole ||
      request.op == Op::kZeroRange || request.op == Op::kAllocate) {
    Help(request);
    return;
  }
  ++pending_;
  const std::scoped_lock lock(mutex_);
  queue_.push_back(&request);
  if (asleep_) {
    asleep_ = false;
    Wake();  // with the mutex held: the engine may be gone as soon as the request has completed
  }
}

void UringEngine::Wake() {
  constexpr uint64_t kOne = 1;
  while (write(wake_fd_, &kOne, sizeof(kOne)) < 0) {
    if (errno != EINTR) internal::Die("IoEngine: cannot write to an eventfd");
  }
}

void UringEngine::Help(IoRequest& request) {
  IoEngine* helpers = nullptr;
  {
    const std::scoped_lock lock(helpers_mutex_);  // not that which requests of others need
    if (helpers_ == nullptr) helpers_ = ThreadPool(options_.helpers);
    helpers = helpers_.get();
  }
  helpers->Submit(request);
}

void UringEngine::Run() {
  while (TakeQueued()) {
    for (; !taken_.empty(); taken_.pop_front()) Begin(*taken_.front());
    SubmitAndWait();
    Reap();
  }
}

// As much of the queue as there are slots. False: stop.
bool UringEngine::TakeQueued() {
  const std::scoped_lock lock(mutex_);
  if (stopping_) {
    // Nothing is pending. The eventfd has been written to, so that its read ends.
    if (!wake_armed_) return false;
  } else {
    ArmWake();
  }
  while (!queue_.empty() && taken_.size() < free_slots_.size()) {
    taken_.push_back(queue_.front());
    queue_.pop_front();
  }
  // What is left waits for a slot, and so for a completion, which ends the sleep as well.
  asleep_ = queue_.empty();
  return true;
}

void UringEngine::Begin(IoRequest& request) {
  const bool transfers = request.op == Op::kRead || request.op == Op::kWrite;
  if (transfers && request.size == 0) {
    Finish(request, {});
    return;
  }
  // Beyond that, numbers mean something else to io_uring: -1 is the file position.
  if (transfers && request.offset > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - request.size) {
    Finish(request, {.error = EINVAL});
    return;
  }
  const size_t index = free_slots_.back();
  free_slots_.pop_back();
  slots_[index] = {.request = &request};
  Prepare(index);
}

// Gives the kernel what is left to do for a slot.
void UringEngine::Prepare(size_t index) {
  const Slot& slot = slots_[index];
  const IoRequest& request = *slot.request;
  io_uring_sqe* const sqe = NextSubmission();
  std::byte* const data = request.buffer.data() + slot.done;
  const size_t left = request.size - slot.done;
  const auto size = static_cast<unsigned>(std::min(left, kMaxTransfer));
  switch (request.op) {
    case Op::kRead:
      io_uring_prep_read(sqe, request.fd, data, size, request.offset + slot.done);
      break;
    case Op::kWrite:
      io_uring_prep_write(sqe, request.fd, data, size, request.offset + slot.done);
      break;
    case Op::kDataSync:
      io_uring_prep_fsync(sqe, request.fd, IORING_FSYNC_DATASYNC);
      break;
    case Op::kFileSync:
      io_uring_prep_fsync(sqe, request.fd, 0);
      break;
    case Op::kCopyRange:
    case Op::kCopyData:
    case Op::kWriteback:
    case Op::kEvict:
    case Op::kPunchHole:
    case Op::kZeroRange:
    case Op::kAllocate:
      internal::Die("IoEngine: a helper's request in the ring");
  }
  if (left >= options_.async_bytes) io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
  io_uring_sqe_set_data64(sqe, index);
}

void UringEngine::ArmWake() {
  if (wake_armed_) return;
  wake_armed_ = true;
  io_uring_sqe* const sqe = NextSubmission();
  io_uring_prep_read(sqe, wake_fd_, &wake_count_, sizeof(wake_count_), 0);
  io_uring_sqe_set_data64(sqe, kWakeToken);
}

// There is always one: each slot, and the eventfd, has at most one.
io_uring_sqe* UringEngine::NextSubmission() {
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) internal::Die("IoEngine: submission queue overrun");
  return sqe;
}

void UringEngine::SubmitAndWait() {
  const int r = io_uring_submit_and_wait(&ring_, 1);
  if (r >= 0 || r == -EINTR) return;
  if (r != -EAGAIN && r != -EBUSY && r != -ENOMEM) {
    internal::Die(absl::StrCat("IoEngine: io_uring_enter: ", std::generic_category().message(-r)));
  }
  // The kernel is short of memory. What was not submitted stays in the submission queue until the next turn.
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void UringEngine::Reap() {
  for (io_uring_cqe* cqe = nullptr; io_uring_peek_cqe(&ring_, &cqe) == 0;) {
    const uint64_t token = io_uring_cqe_get_data64(cqe);
    const int result = cqe->res;
    io_uring_cqe_seen(&ring_, cqe);
    if (token == kWakeToken) {
      wake_armed_ = false;
    } else {
      OnCompletion(token, result);
    }
  }
}

void UringEngine::OnCompletion(size_t index, int result) {
  Slot& slot = slots_[index];
  IoRequest& request = *slot.request;
  if (result > 0) slot.done += static_cast<size_t>(result);
  // The end of the file shows as a read of 0 bytes only: a short one may have other causes.
  if (result == -EINTR || (result > 0 && slot.done < request.size)) {
    Prepare(index);
    return;
  }
  const IoResult done{.bytes = slot.done, .error = result < 0 ? -result : 0};
  slot = {};
  free_slots_.push_back(index);
  if (done.error == EAGAIN || done.error == ECANCELED) {
    // EAGAIN: from files that were opened with O_NONBLOCK, on file systems that do not know how to. ECANCELED: we never
    // ask for that, but a kernel that cannot start a worker, as while a signal is pending, ends requests so.
    // No use in asking again: the helpers repeat it all; reads and writes at given offsets can be repeated.
    --pending_;
    Help(request);
    return;
  }
  Finish(request, done);
}

void UringEngine::Finish(IoRequest& request, IoResult result) {
  --pending_;  // before the completion: after it, the engine may be destroyed
  request.Complete(result);
}

}  // namespace

namespace internal {

absl::StatusOr<std::unique_ptr<IoEngine>> MakeUringEngine(const UringOptions& options) {
  if (options.helpers < 1) Die("IoEngine::Uring: needs at least one helper thread");
  auto engine = std::make_unique<UringEngine>(options);
  if (absl::Status s = engine->Open(); !s.ok()) return s;
  return engine;
}

}  // namespace internal
}  // namespace jobcore::inline JOBCORE_ABI

#else  // JOBCORE_HAVE_LIBURING

namespace jobcore::inline JOBCORE_ABI::internal {

absl::StatusOr<std::unique_ptr<IoEngine>> MakeUringEngine(const UringOptions&) {
  return absl::UnimplementedError(
      "io_uring cannot be used: jobcore was built without liburing; IoEngine::ThreadPool can");
}

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_HAVE_LIBURING

namespace jobcore::inline JOBCORE_ABI {

absl::StatusOr<std::unique_ptr<IoEngine>> IoEngine::Uring(int helpers) {
  return internal::MakeUringEngine({.helpers = helpers});
}

}  // namespace jobcore::inline JOBCORE_ABI
