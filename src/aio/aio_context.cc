// SPDX-License-Identifier: Apache-2.0

#include "job-common/aio_context.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/callback_scope.h"
#include "aio/check.h"
#include "aio/cpu_relax.h"
#include "aio/probe.h"
#include "job-common/job_mutex.h"
#include "job-common/sched_point.h"
#include "job-common/sync.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

using internal::Die;

// A busy-poll budget below this is not worth its clock reads.
constexpr Nanoseconds kMinPoll = std::chrono::microseconds(2);
// Pauses between two looks at the clock.
constexpr int kSpins = 32;

}  // namespace

namespace internal {

constinit thread_local ThisThread this_thread;

TimePoint TurnTime() {
  const AioContext* const here = this_thread.context;
  if (here == nullptr) return Clock::System().Now();
  return here->in_turn_ ? here->now() : here->clock().Now();
}

}  // namespace internal

using internal::this_thread;

// --- Creation and destruction ---

std::shared_ptr<AioContext> AioContext::Create(Options options) {
  return std::shared_ptr<AioContext>(new AioContext(std::move(options)));
}

AioContext::AioContext(Options options)
    : name_(std::move(options.name)),
      kind_(options.kind),
      clock_(options.clock != nullptr ? *options.clock : Clock::System()),
      poller_(options.poller != nullptr ? std::move(options.poller) : Poller::Epoll()),
      poll_max_(options.poll_max),
      now_(clock_.Now()),
      poll_ns_(poll_max_) {}

AioContext::~AioContext() {
  if (!timers_.empty()) {
    Die(absl::StrCat("AioContext '", name_, "' destroyed while timer '", std::get<AioTimer*>(*timers_.begin())->name_,
                     "' is armed"));
  }
  if (!handlers_.empty()) {
    Die(absl::StrCat("AioContext '", name_, "' destroyed while handler '", handlers_.begin()->second->name,
                     "' is registered"));
  }
  CloseQueue();
}

constinit WorkItem AioContext::kClosed("closed", nullptr);

// One word says what is queued and that the queue is closed. So each item is dropped either here or by the one who
// posts it: nobody ever runs what others have posted, while he holds who knows what.
void AioContext::CloseQueue() {
  WorkItem* item = queue_.exchange(&kClosed, std::memory_order_seq_cst);
  while (item != nullptr && item != &kClosed) {
    WorkItem* const next = std::exchange(item->next_, nullptr);
    item->function_(*item, WorkItem::Reason::kDrop);
    item = next;
  }
}

bool AioContext::TryAddUser() {
  int users = users_.load(std::memory_order_relaxed);
  while (users != kNoMoreUsers) {
    if (users_.compare_exchange_weak(users, users + 1, std::memory_order_acq_rel)) return true;
  }
  return false;
}

AioContext* AioContext::Current() { return this_thread.context; }

const char* AioContext::CurrentCallback() { return this_thread.callback; }

AioHome::AioHome(AioContext& context) : context_(context.shared_from_this()) {
  if (this_thread.context != nullptr) {
    Die(absl::StrCat("AioHome: this thread is home of '", this_thread.context->name(), "' and cannot be that of '",
                     context.name(), "' too"));
  }
  if (context.has_home_.exchange(true)) {
    Die(absl::StrCat("AioHome: '", context.name(), "' has a home thread already"));
  }
  this_thread.context = &context;
}

AioHome::~AioHome() {
  if (this_thread.callback != nullptr) {
    Die(absl::StrCat("AioHome of '", context_->name(), "' ended inside callback '", this_thread.callback, "'"));
  }
  this_thread.context = nullptr;
  context_->has_home_.store(false);
}

// --- Any thread ---

void AioContext::Post(WorkItem& item) {
  // A guess, instead of a load: it fetches the cache line for reading, and the exchange would have to fetch it again.
  WorkItem* head = nullptr;
  SchedPoint("aio.post.push");
  do {
    if (head == &kClosed) [[unlikely]] {
      internal::Reached("post.closed");
      item.function_(item, WorkItem::Reason::kDrop);
      return;
    }
    item.next_ = head;
  } while (!queue_.compare_exchange_weak(head, &item, std::memory_order_seq_cst, std::memory_order_relaxed));
  // From here on `item` may be gone.
  SchedPoint("aio.post.pushed");
  WakeIfSleeping();
}

void AioContext::Notify() {
  notified_.store(true, std::memory_order_seq_cst);
  SchedPoint("aio.notify.set");
  WakeIfSleeping();
}

void AioContext::WakeIfSleeping() {
  if (!sleeping_.load(std::memory_order_seq_cst)) return;
  SchedPoint("aio.wake.seen_sleeping");
  // One wake-up per sleep is enough. The exchange may hit a later sleep than the load did: that one then ends
  // early, which is harmless.
  if (!sleeping_.exchange(false, std::memory_order_seq_cst)) return;
  if (poll_max_.count() > 0) woken_at_.store(clock_.Now(), std::memory_order_relaxed);
  poller_->Wake();
}

// --- One turn ---

bool AioContext::HasWork() const {
  return queue_.load(std::memory_order_seq_cst) != nullptr || notified_.load(std::memory_order_seq_cst);
}

void AioContext::CheckHome(const char* function) const {
  if (IsHome()) [[likely]] {
    return;
  }
  Die(absl::StrCat(function, ": context '", name_, "' used from a thread that is not its home (",
                   this_thread.context == nullptr ? "a plain thread"
                                                  : absl::StrCat("the home of '", this_thread.context->name(), "'"),
                   ")"));
}

void AioContext::CheckMayRun(const char* function) const {
  CheckHome(function);
  if (this_thread.callback != nullptr) {
    Die(absl::StrCat(function, ": context '", name_, "' cannot be run from inside callback '", this_thread.callback,
                     "': loops do not nest"));
  }
  if (closed()) Die(absl::StrCat(function, ": context '", name_, "' is closed"));
  internal::AssertNoJobMutexHeld(name_.c_str(), function);
}

Nanoseconds AioContext::TimeToWait(TimePoint deadline) {
  if (HasWork()) return Nanoseconds(0);
  if (!timers_.empty()) deadline = std::min(deadline, std::get<TimePoint>(*timers_.begin()));
  if (deadline == kNoDeadline) return Nanoseconds(-1);
  return std::max(Nanoseconds(0), deadline - clock_.Now());
}

void AioContext::BusyPoll(TimePoint end) {
  do {
    for (int i = 0; i < kSpins && !HasWork(); ++i) internal::CpuRelax();
  } while (!HasWork() && clock_.Now() < end);
}

// The loop has slept. If busy polling could have spared it that, the budget grows to what it takes; otherwise it has
// polled in vain, and the budget is halved. What counts is when the work came, not when the loop got to it: the wake-up
// itself may take longer than poll_max_, and a loop that polls does not need one.
void AioContext::AdaptPolling(TimePoint idle_since) {
  const TimePoint woken = woken_at_.load(std::memory_order_relaxed);
  const Nanoseconds idle = (woken >= idle_since ? woken : clock_.Now()) - idle_since;
  if (idle > poll_max_) {
    poll_ns_ = poll_ns_ / 2 < kMinPoll ? Nanoseconds(0) : poll_ns_ / 2;
  } else {
    poll_ns_ = std::min(poll_max_, std::max(idle * 2, kMinPoll));
  }
}

// Returns the timeout that is still right once producers know that they have to wake us.
Nanoseconds AioContext::AnnounceSleep(Nanoseconds timeout) {
  SchedPoint("aio.sleep.announce");
  sleeping_.store(true, std::memory_order_seq_cst);
  SchedPoint("aio.sleep.announced");
  return HasWork() ? Nanoseconds(0) : timeout;
}

void AioContext::Poll(Nanoseconds timeout) {
  ready_.clear();
  if (timeout.count() != 0 || !handlers_.empty()) {
    SchedPoint("aio.sleep.wait");
    poller_->Wait(timeout, ready_);
  }
}

void AioContext::RunOnce(bool may_block, TimePoint deadline) {
  CheckMayRun("AioContext::RunOnce");
  Nanoseconds timeout = may_block ? TimeToWait(deadline) : Nanoseconds(0);
  const bool polls = timeout.count() != 0 && poll_max_.count() > 0;
  const TimePoint idle_since = polls ? clock_.Now() : TimePoint();
  if (polls && poll_ns_.count() > 0 && handlers_.empty()) {
    BusyPoll(SaturatingAdd(idle_since, timeout.count() < 0 ? poll_ns_ : std::min(timeout, poll_ns_)));
    timeout = TimeToWait(deadline);
  }
  if (timeout.count() == 0) {
    Poll(timeout);
  } else {
    Poll(AnnounceSleep(timeout));
    sleeping_.store(false, std::memory_order_seq_cst);
    if (polls) AdaptPolling(idle_since);
  }
  RunReady();
}

Nanoseconds AioContext::Prepare() {
  CheckMayRun("AioContext::Prepare");
  const Nanoseconds timeout = TimeToWait(kNoDeadline);
  return timeout.count() == 0 ? timeout : AnnounceSleep(timeout);
}

void AioContext::Dispatch() {
  CheckMayRun("AioContext::Dispatch");
  sleeping_.store(false, std::memory_order_seq_cst);
  ready_.clear();
  poller_->Wait(Nanoseconds(0), ready_);  // always: it also makes fd() unreadable again
  RunReady();
}

void AioContext::Close() {
  RunOnce(false);
  CloseQueue();
}

void AioContext::RunReady() {
  // Before everything that it may stand for. An exchange, not a store: it also makes visible what the
  // notifier wrote before.
  if (notified_.load(std::memory_order_relaxed)) {
    notified_.exchange(false, std::memory_order_seq_cst);
  }
  SchedPoint("aio.turn.acknowledged");
  now_.store(clock_.Now(), std::memory_order_relaxed);
  turns_.store(turns_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  in_turn_ = true;
  RunQueue();
  RunFdHandlers();
  RunTimers();
  in_turn_ = false;
}

template <typename F>
void AioContext::RunCallback(const char* name, F&& callback) noexcept {
  {
    const internal::CallbackScope scope(name);
    callback();
  }
  internal::AssertNoJobMutexHeld(name_.c_str(), name);
}

void AioContext::RunQueue() {
  if (queue_.load(std::memory_order_relaxed) == nullptr) return;
  WorkItem* newest = queue_.exchange(nullptr, std::memory_order_seq_cst);
  WorkItem* oldest = nullptr;
  while (newest != nullptr) {
    WorkItem* const next = std::exchange(newest->next_, oldest);
    oldest = newest;
    newest = next;
  }
  while (oldest != nullptr) {
    WorkItem& item = *oldest;
    oldest = item.next_;  // before the call: the item may be posted again, or destroyed, by its function
    RunCallback(item.name_, [&item] { item.function_(item, WorkItem::Reason::kRun); });
  }
}

void AioContext::RunFdHandlers() {
  for (const Poller::Ready& ready : ready_) {
    const auto it = handlers_.find(ready.token);
    if (it == handlers_.end()) continue;  // destroyed by an earlier callback of this turn
    const std::shared_ptr<FdEntry> entry = it->second;
    RunCallback(entry->name, [&] { entry->callback(ready.events); });
  }
}

void AioContext::RunTimers() {
  if (timers_.empty()) return;
  // Timers armed by the callbacks below wait for the next turn, even if they are due: the turn must end.
  const uint64_t first_new = next_timer_;
  TimerKey last(TimePoint::min(), 0, nullptr);
  for (;;) {
    auto it = timers_.upper_bound(last);  // anew after each callback, which may have changed the set
    const auto due = [&] { return it != timers_.end() && std::get<TimePoint>(*it) <= now(); };
    while (due() && std::get<uint64_t>(*it) >= first_new) ++it;
    if (!due()) return;

    last = *it;
    AioTimer& timer = *std::get<AioTimer*>(last);
    timers_.erase(it);
    timer.sequence_ = 0;
    // The callback may destroy its own timer, so it must not live in it meanwhile.
    absl::AnyInvocable<void()> callback = std::move(timer.callback_);
    bool destroyed = false;
    timer.destroyed_ = &destroyed;
    RunCallback(timer.name_, callback);
    if (destroyed) continue;
    timer.destroyed_ = nullptr;
    timer.callback_ = std::move(callback);
  }
}

// --- BottomHalf ---

// One cache line (64 bytes): it goes from the scheduler's processor to the loop's each time.
struct alignas(64) BottomHalf::Node final : WorkItem {
  enum : unsigned {
    kQueued = 1,     // in the queue of the context
    kScheduled = 2,  // is to run when it gets there
    kDeleted = 4,    // the BottomHalf is gone
  };

  Node(const char* name, absl::AnyInvocable<void()> f) : WorkItem(name, &Invoke), callback(std::move(f)) {}

  static void Invoke(WorkItem& item, Reason reason) {
    Node& node = static_cast<Node&>(item);
    // Before the callback, so that what is scheduled from now on runs again.
    const unsigned before = node.bits.fetch_and(~(kQueued | kScheduled));
    if ((before & kDeleted) != 0) {
      internal::Reached("bottom_half.destroyed_in_queue");
      delete &node;
    } else if ((before & kScheduled) != 0 && reason == Reason::kRun) {
      node.running = true;
      node.callback();
      node.running = false;
      node.DeleteIfUnused();
    }
  }

  // If the BottomHalf is gone, and neither the queue nor a running callback needs the node.
  void DeleteIfUnused() {
    if (!running && (bits.load() & (kQueued | kDeleted)) == kDeleted) delete this;
  }

  internal::Atomic<unsigned> bits{0};
  bool running = false;  // home thread only
  absl::AnyInvocable<void()> callback;
};

BottomHalf::BottomHalf(AioContext& context, const char* name, absl::AnyInvocable<void()> callback)
    : context_(context.shared_from_this()), node_(new Node(name, std::move(callback))) {}

BottomHalf::~BottomHalf() {
  if (!context_->closed()) context_->CheckHome("~BottomHalf");
  node_->bits.fetch_and(~Node::kScheduled);
  node_->bits.fetch_or(Node::kDeleted);
  node_->DeleteIfUnused();
}

void BottomHalf::Schedule() {
  Node& node = *node_;
  const unsigned before = node.bits.fetch_or(Node::kQueued | Node::kScheduled);
  SchedPoint("aio.bh.scheduled");
  if ((before & Node::kQueued) != 0) return;  // it may run, and *this be gone, already
  // Once it is queued it may run, and its callback may destroy *this and with it the last reference but ours
  // to the context.
  const std::shared_ptr<AioContext> context = context_;
  context->Post(node);
}

void BottomHalf::Cancel() {
  context_->CheckHome("BottomHalf::Cancel");
  node_->bits.fetch_and(~Node::kScheduled);
}

// --- AioTimer ---

AioTimer::AioTimer(AioContext& context, const char* name, absl::AnyInvocable<void()> callback)
    : context_(context), name_(name), callback_(std::move(callback)) {}

AioTimer::~AioTimer() {
  Disarm();
  if (destroyed_ != nullptr) *destroyed_ = true;
}

void AioTimer::ArmAt(TimePoint deadline) {
  context_.CheckHome("AioTimer::ArmAt");
  Disarm();
  deadline_ = deadline;
  sequence_ = context_.next_timer_++;
  context_.timers_.emplace(deadline_, sequence_, this);
}

void AioTimer::Disarm() {
  if (sequence_ == 0) return;
  context_.CheckHome("AioTimer::Disarm");
  context_.timers_.erase(AioContext::TimerKey(deadline_, sequence_, this));
  sequence_ = 0;
}

// --- FdHandler ---

absl::StatusOr<std::unique_ptr<FdHandler>> FdHandler::Create(AioContext& context, const char* name, int fd,
                                                             FdEvents interest,
                                                             absl::AnyInvocable<void(FdEvents)> callback) {
  context.CheckHome("FdHandler::Create");
  const uint64_t token = context.next_token_++;
  absl::Status status = context.poller_->Add(fd, interest, token);
  if (!status.ok()) return status;
  context.handlers_.emplace(token,
                            std::make_shared<AioContext::FdEntry>(AioContext::FdEntry{name, std::move(callback)}));
  return std::unique_ptr<FdHandler>(new FdHandler(context, fd, token));
}

FdHandler::~FdHandler() {
  context_.CheckHome("~FdHandler");
  context_.poller_->Remove(fd_);
  context_.handlers_.erase(token_);
}

absl::Status FdHandler::SetInterest(FdEvents interest) {
  context_.CheckHome("FdHandler::SetInterest");
  return context_.poller_->Modify(fd_, interest, token_);
}

}  // namespace jobcore::inline JOBCORE_ABI
