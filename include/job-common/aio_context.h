// SPDX-License-Identifier: Apache-2.0
//
// AioContext: an event loop with one home thread. It runs work posted from any thread (bottom halves and
// coroutine wake-ups, in the order posted), timers, and file descriptor handlers.
//
// Threads:  everything marked "home" may be called on the home thread only, and aborts elsewhere; the rest
//           is safe from any thread, lock-free, and legal under job_mutex.
// Nesting:  a loop is never run from inside one of its callbacks. Code in a callback that has to wait is a
//           coroutine (coroutine.h); plain code outside of the loop uses AioWaitWhileUnlocked (aio_wait.h).
// Failure:  callbacks must not throw: an exception that leaves one ends the process.
// Lifetime: contexts are shared. Whoever posts must keep the context alive until Post has returned; work in
//           the queue does not keep it alive, and is dropped unrun with the last reference.

#ifndef JOBCORE_JOB_COMMON_AIO_CONTEXT_H_
#define JOBCORE_JOB_COMMON_AIO_CONTEXT_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "job-common/block_pool.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"
#include "job-common/poller.h"
#include "job-common/sync.h"
#include "job-common/wait_domain.h"

namespace jobcore::inline JOBCORE_ABI {

namespace internal {
class CallbackScope;
TimePoint TurnTime();
}  // namespace internal

// Something to be run once by a loop: the intrusive form of a one-shot bottom half, for owners that must not
// allocate. An item is in at most one queue; it may be posted again from the moment its function is entered.
class WorkItem {
 public:
  enum class Reason {
    kRun,   // on the home thread, from the loop
    kDrop,  // the context went away first: release what the item holds, do not run it
  };
  using Function = void (*)(WorkItem& item, Reason reason);

  // `name` lives forever; it names the item in diagnostics.
  constexpr WorkItem(const char* name, Function function) : function_(function), name_(name) {}
  WorkItem(const WorkItem&) = delete;
  WorkItem& operator=(const WorkItem&) = delete;

  const char* name() const { return name_; }

 private:
  friend class AioContext;
  WorkItem* next_ = nullptr;
  Function function_;
  const char* name_;
};

class AioContext : public std::enable_shared_from_this<AioContext> {
 public:
  enum class Kind {
    kMain,      // run by its owner's thread: RunOnce, a wait, or a foreign loop
    kIOThread,  // run by an IOThread
  };
  struct Options {
    std::string name = "main";
    Kind kind = Kind::kMain;
    Clock* clock = nullptr;            // null: Clock::System(). Must outlive the context.
    std::unique_ptr<Poller> poller{};  // null: Poller::Epoll()
    // Busy-polls for up to this long before it blocks; a wake-up ends it at once. The budget shrinks while
    // polling is in vain and grows back when work comes soon after the loop blocked. Zero: blocks at once.
    // No polling while there are FdHandlers, which it would starve.
    Nanoseconds poll_max{0};
  };

  static std::shared_ptr<AioContext> Create(Options options);
  ~AioContext();  // drops queued work; aborts if a timer is armed or a handler registered
  AioContext(const AioContext&) = delete;
  AioContext& operator=(const AioContext&) = delete;

  // The context whose home is the calling thread; null on a plain thread.
  static AioContext* Current();
  // The name of the callback that the calling thread is in, or null if it is in none.
  static const char* CurrentCallback();

  const std::string& name() const { return name_; }
  Kind kind() const { return kind_; }
  Clock& clock() const { return clock_; }
  bool IsHome() const { return Current() == this; }

  // --- Any thread ---

  // Runs `item` in the loop, after everything this thread has posted here before. Wakes the loop if it
  // sleeps (the only system call on this path). Once the context is closed: drops `item`, here and now.
  void Post(WorkItem& item);
  // Same for a callable, which is allocated; it runs once, or is destroyed unrun with the context.
  template <typename F>
  void Post(const char* name, F function);
  // Makes the loop take a turn.
  void Notify();
  // Waiters for conditions that this context's owner changes. Kick it after each such change.
  WaitDomain& wait_domain() { return wait_domain_; }

  // --- Home thread ---

  // One turn: waits for something to do if `may_block` (until `deadline` at most), then runs what was posted
  // before the turn, ready handlers and due timers. Never from inside a callback.
  void RunOnce(bool may_block, TimePoint deadline = kNoDeadline) JOBCORE_EXCLUDES(job_mutex);

  // The time as of this turn of the loop.
  TimePoint now() const { return now_.load(std::memory_order_relaxed); }

  // For a foreign loop: watch fd() for reading for at most Prepare() (negative: no limit), then Dispatch().
  // Between the two, posts make fd() readable.
  int fd() const { return poller_->fd(); }
  Nanoseconds Prepare() JOBCORE_EXCLUDES(job_mutex);
  void Dispatch() JOBCORE_EXCLUDES(job_mutex);

  // --- Who uses this context (any thread) ---

  // Users are things that need the loop to go on (jobs and exports that live here). An IOThread refuses to end with any.
  // False: the context has been stopped, or is about to be.
  [[nodiscard]] bool TryAddUser();
  void RemoveUser() { users_.fetch_sub(1, std::memory_order_release); }
  int users() const { return std::max(0, users_.load(std::memory_order_acquire)); }
  // True once the loop will not run again; what is posted from then on is dropped unrun.
  bool closed() const { return queue_.load(std::memory_order_acquire) == &kClosed; }
  bool has_home() const { return has_home_.load(std::memory_order_acquire); }
  // Something has been posted that the loop has not taken up yet.
  bool HasWork() const;

  // --- What it is doing, for diagnostics: any thread, each value by itself ---

  // How many turns it has begun, and when it began the last one (by clock()).
  uint64_t turns() const { return turns_.load(std::memory_order_relaxed); }
  TimePoint last_polled() const { return now_.load(std::memory_order_relaxed); }
  // It sleeps in its poller, or in a foreign loop, and the next post will wake it.
  bool sleeping() const { return sleeping_.load(std::memory_order_relaxed); }
  // The name of the callback that its home thread is in; null: in none. Lives forever.
  const char* callback() const { return callback_.load(std::memory_order_relaxed); }

 private:
  friend class AioHome;
  friend class AioTimer;
  friend class BottomHalf;
  friend class FdHandler;
  friend class IOThread;
  friend class internal::CallbackScope;
  friend TimePoint internal::TurnTime();

  struct FdEntry {
    const char* name;
    absl::AnyInvocable<void(FdEvents)> callback;
  };
  static constexpr int kNoMoreUsers = -1;
  static WorkItem kClosed;                                      // a mark, never run
  using TimerKey = std::tuple<TimePoint, uint64_t, AioTimer*>;  // deadline, then order of arming

  explicit AioContext(Options options);
  void CloseQueue();
  void WakeIfSleeping();
  void CheckHome(const char* function) const;
  // Home, not inside a callback, not closed, no job mutex held.
  void CheckMayRun(const char* function) const;
  Nanoseconds TimeToWait(TimePoint deadline);
  void BusyPoll(TimePoint end);
  void AdaptPolling(TimePoint idle_since);
  Nanoseconds AnnounceSleep(Nanoseconds timeout);
  void Poll(Nanoseconds timeout);
  void RunReady() JOBCORE_EXCLUDES(job_mutex);
  void RunQueue();
  void RunFdHandlers();
  void RunTimers();
  template <typename F>
  void RunCallback(const char* name, F&& callback) noexcept;
  void Close() JOBCORE_EXCLUDES(job_mutex);  // runs what is queued, then drops what still comes

  // Constant after creation.
  const std::string name_;
  const Kind kind_;
  Clock& clock_;
  const std::unique_ptr<Poller> poller_;
  const Nanoseconds poll_max_;

  // Lock-free. A producer pushes onto queue_ (or sets notified_), then reads sleeping_; the loop sets
  // sleeping_, then reads queue_ and notified_: seq_cst on all of them. All that a producer touches is in one cache
  // line (64 bytes), the head of the wait domain included: it comes over from the other processor once.
  alignas(64) internal::Atomic<WorkItem*> queue_{nullptr};  // newest first; &kClosed: nothing is pushed any more
  internal::Atomic<bool> notified_{false};
  internal::Atomic<bool> sleeping_{false};
  internal::Atomic<bool> has_home_{false};
  internal::Atomic<int> users_{0};  // kNoMoreUsers: closed to them
  // When the last sleep was ended, as far as somebody did that; written if the loop polls at all, for AdaptPolling.
  std::atomic<TimePoint> woken_at_{TimePoint()};
  WaitDomain wait_domain_{*this};  // has its own protection

  // Written by the home thread only, in every turn: in another line, so that producers keep theirs.
  alignas(64) std::atomic<TimePoint> now_;
  std::atomic<uint64_t> turns_{0};
  std::atomic<const char*> callback_{nullptr};

  // Home thread only.
  bool in_turn_ = false;  // now_ is the time
  Nanoseconds poll_ns_;   // the budget at present, at most poll_max_
  uint64_t next_token_ = 1;
  uint64_t next_timer_ = 1;
  absl::btree_set<TimerKey> timers_;
  absl::flat_hash_map<uint64_t, std::shared_ptr<FdEntry>> handlers_;  // shared with a call in progress
  std::vector<Poller::Ready> ready_;
};

// Makes the calling thread the home of `context` for a scope, and keeps it alive. A thread is home of at most
// one context, and a context has at most one home: aborts otherwise.
class AioHome {
 public:
  explicit AioHome(AioContext& context);
  ~AioHome();
  AioHome(const AioHome&) = delete;
  AioHome& operator=(const AioHome&) = delete;

 private:
  const std::shared_ptr<AioContext> context_;
};

// A reusable bottom half: however often it is scheduled before it runs, it runs once; scheduled while it
// runs, it runs again. Schedule from any thread; destroy it on the home thread (or once the context is
// closed), from any callback, its own too.
class BottomHalf {
 public:
  // `name` lives forever.
  BottomHalf(AioContext& context, const char* name, absl::AnyInvocable<void()> callback);
  ~BottomHalf();
  BottomHalf(const BottomHalf&) = delete;
  BottomHalf& operator=(const BottomHalf&) = delete;

  void Schedule();
  // Home thread: it does not run unless scheduled again.
  void Cancel();

 private:
  struct Node;
  const std::shared_ptr<AioContext> context_;
  Node* const node_;  // outlives this object while it is queued
};

// Calls back on the home thread once `deadline` is reached, never before; disarmed from then on. Timers run in
// the order of their deadlines. All home thread; may be armed and destroyed from any callback, its own too.
class AioTimer {
 public:
  // `name` lives forever.
  AioTimer(AioContext& context, const char* name, absl::AnyInvocable<void()> callback);
  ~AioTimer();  // disarms
  AioTimer(const AioTimer&) = delete;
  AioTimer& operator=(const AioTimer&) = delete;

  void ArmAt(TimePoint deadline);  // instead of an earlier setting
  void Disarm();
  bool armed() const { return sequence_ != 0; }
  TimePoint deadline() const { return deadline_; }

 private:
  friend class AioContext;
  AioContext& context_;
  const char* const name_;
  absl::AnyInvocable<void()> callback_;
  TimePoint deadline_{};
  uint64_t sequence_ = 0;      // 0: not armed
  bool* destroyed_ = nullptr;  // during the callback: set by the destructor
};

// Calls back on the home thread while `fd` is ready (level-triggered). All home thread; may be destroyed from
// any callback, its own too. `fd` stays the caller's and must be open until this is destroyed.
class FdHandler {
 public:
  // `name` lives forever. Fails as epoll_ctl does.
  static absl::StatusOr<std::unique_ptr<FdHandler>> Create(AioContext& context, const char* name, int fd,
                                                           FdEvents interest,
                                                           absl::AnyInvocable<void(FdEvents)> callback);
  ~FdHandler();
  FdHandler(const FdHandler&) = delete;
  FdHandler& operator=(const FdHandler&) = delete;

  absl::Status SetInterest(FdEvents interest);

 private:
  FdHandler(AioContext& context, int fd, uint64_t token) : context_(context), fd_(fd), token_(token) {}
  AioContext& context_;
  const int fd_;
  const uint64_t token_;
};

template <typename F>
void AioContext::Post(const char* name, F function) {
  struct Item final : WorkItem, internal::Pooled {
    Item(const char* n, F f) : WorkItem(n, &Invoke), function(std::move(f)) {}
    static void Invoke(WorkItem& self, Reason reason) JOBCORE_EXCLUDES(job_mutex) {
      std::unique_ptr<Item> item(static_cast<Item*>(&self));
      if (reason == Reason::kRun) item->function();
    }
    F function;
  };
  Post(*new Item(name, std::move(function)));
}

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_AIO_CONTEXT_H_
