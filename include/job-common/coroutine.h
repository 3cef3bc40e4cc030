// SPDX-License-Identifier: Apache-2.0
//
// Co<T>: the coroutine type of the library. Lazy (runs when awaited), single owner, stackless.
//
//   Co<absl::Status> Twice(AioContext& ctx) {
//     co_await Once(ctx);                          // runs it, continues here when it has finished
//     co_return absl::OkStatus();
//   }
//   Spawn("twice", TwiceAndReport(ctx));           // starts a Co<void> of its own, now, on this home thread
//
// g++-12 destroys a closure or braced object written *inside* a co_await expression twice if it owns something:
// give such an argument a name first. (Where our own functions take one, they refuse the unnamed form.) It also lays
// out the frame of a coroutine in two ways if a co_await is the condition of an `if`: await first, then test the
// result.
//
// A Co runs on the home thread on which it was started, whoever wakes it. Exceptions travel to the awaiter.
// A default-constructed Co<T> is finished and yields T{}: hooks that do nothing cost nothing.
//
// Stack depth is bounded: instead of transferring from frame to frame (which g++-12 compiles into recursion
// without optimisation and under sanitizers), frames are resumed one after the other by a loop, CoRoot.

#ifndef JOBCORE_JOB_COMMON_COROUTINE_H_
#define JOBCORE_JOB_COMMON_COROUTINE_H_

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "job-common/block_pool.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

// The resumption loop of one chain of coroutines that await each other, of which at most one runs. Home
// thread only. Must outlive the chain.
class CoRoot {
 public:
  // Called when the outermost coroutine has finished, on the thread that resumed it last. May destroy the
  // root and the coroutine.
  using DoneFunction = void (*)(CoRoot& root);

  explicit CoRoot(DoneFunction on_done) : on_done_(on_done) {}
  // Tells which kind of root this is, to those who derive from it.
  bool ends_with(DoneFunction on_done) const { return on_done_ == on_done; }
  CoRoot(const CoRoot&) = delete;
  CoRoot& operator=(const CoRoot&) = delete;

  // Runs `handle`, and whatever it passes control to, until all are suspended. Aborts if a job mutex is held
  // where a coroutine suspends. Called from inside the chain: continues with `handle` when the caller suspends.
  void Resume(std::coroutine_handle<> handle);

  // Takes a not yet started `co` as the outermost coroutine and runs it. The caller keeps owning it.
  template <typename T>
  void Start(Co<T>& co);

  // Passes control from a coroutine of this chain, which suspends, to `next`; null: the outermost has
  // finished. For awaiters.
  void Transfer(std::coroutine_handle<> next);

  // --- What the chain is suspended in: any thread that knows the root to be alive ---

  // Lives forever. Null: it runs, or has not been started, or has finished.
  const char* suspended_in() const { return suspended_in_.load(std::memory_order_acquire); }
  // Since when it is suspended, or runs, by the clock and to the turn of its loop; value-initialised: not started.
  // Read suspended_in() first: then this is never an older suspension's.
  TimePoint since() const { return since_.load(std::memory_order_relaxed); }
  // How long it has been suspended, not counting the present suspension. Whole turns of its loop: what the chain
  // runs between two suspensions counts as suspended if it began in the turn that the suspension did.
  Nanoseconds suspended_time() const { return Nanoseconds(suspended_time_.load(std::memory_order_relaxed)); }

  // For awaiters that are about to suspend for good: names what they wait for. `name` lives forever.
  void SuspendIn(const char* name) {
    if (!active_) [[unlikely]]
      NoteRunning();  // foreign code has resumed the chain directly
    suspended_in_.store(name, std::memory_order_release);
  }

 private:
  void NoteRunning();

  const DoneFunction on_done_;
  std::coroutine_handle<> next_;
  bool active_ = false;
  bool finished_ = false;
  // Written by the home thread.
  std::atomic<const char*> suspended_in_{nullptr};
  std::atomic<TimePoint> since_{TimePoint()};
  std::atomic<int64_t> suspended_time_{0};  // nanoseconds
};

namespace internal {

// Its operator new is that of the frames.
struct CoPromiseBase : Pooled {
  CoRoot* root = nullptr;                // set when first awaited or started
  std::coroutine_handle<> continuation;  // null: outermost
  std::exception_ptr exception;

  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> self) noexcept {
      CoPromiseBase& promise = self.promise();
      promise.root->Transfer(promise.continuation);  // may destroy this frame
    }
    void await_resume() noexcept {}
  };

  std::suspend_always initial_suspend() noexcept { return {}; }
  FinalAwaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { exception = std::current_exception(); }
};

template <typename T>
struct CoPromise : CoPromiseBase {
  std::optional<T> value;
  Co<T> get_return_object() noexcept;
  template <typename U>
    requires std::constructible_from<T, U&&>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T Take() {
    if (exception) std::rethrow_exception(std::exchange(exception, nullptr));
    return std::move(*value);
  }
};

template <>
struct CoPromise<void> : CoPromiseBase {
  Co<void> get_return_object() noexcept;
  void return_void() noexcept {}
  void Take() {
    if (exception) std::rethrow_exception(std::exchange(exception, nullptr));
  }
};

}  // namespace internal

template <typename T>
class [[nodiscard]] Co {
 public:
  using promise_type = internal::CoPromise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Co() noexcept = default;  // already finished
  Co(Co&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Co& operator=(Co&& other) noexcept {
    if (this != &other) {
      Reset();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Co() { Reset(); }

  // Destroys the frame, which must be suspended (not started, finished, or abandoned by its owner).
  void Reset() {
    if (handle_) std::exchange(handle_, nullptr).destroy();
  }

  // True for a Co without a frame: it needs no running.
  bool trivial() const { return !handle_; }
  bool done() const { return !handle_ || handle_.done(); }
  // The result of a finished Co; rethrows what it threw.
  T Take() {
    if (handle_) return handle_.promise().Take();
    return T();
  }

  // Runs this Co as the next link of `root`'s chain and then continues with `continuation`: what an awaiter
  // does, for awaiters written by hand.
  void StartWithin(CoRoot& root, std::coroutine_handle<> continuation) {
    handle_.promise().root = &root;
    handle_.promise().continuation = continuation;
    root.Transfer(handle_);
  }

  struct Awaiter {
    Co co;
    bool await_ready() noexcept { return co.trivial(); }
    template <std::derived_from<internal::CoPromiseBase> Promise>
    void await_suspend(std::coroutine_handle<Promise> caller) noexcept {
      co.StartWithin(*caller.promise().root, caller);
    }
    T await_resume() { return co.Take(); }
  };
  Awaiter operator co_await() && noexcept { return Awaiter{std::move(*this)}; }

 private:
  friend class CoRoot;
  friend promise_type;
  explicit Co(Handle handle) noexcept : handle_(handle) {}
  Handle handle_;
};

namespace internal {
template <typename T>
Co<T> CoPromise<T>::get_return_object() noexcept {
  return Co<T>(std::coroutine_handle<CoPromise<T>>::from_promise(*this));
}
inline Co<void> CoPromise<void>::get_return_object() noexcept {
  return Co<void>(std::coroutine_handle<CoPromise<void>>::from_promise(*this));
}
}  // namespace internal

template <typename T>
void CoRoot::Start(Co<T>& co) {
  if (co.trivial()) {
    on_done_(*this);
    return;
  }
  co.handle_.promise().root = this;
  Resume(co.handle_);
}

// A suspended coroutine as an awaiter remembers it: resumes through the chain's loop. Coroutines of foreign
// types, which have none, are resumed directly.
struct CoHandle {
  std::coroutine_handle<> handle;
  CoRoot* root = nullptr;

  // `name`, which lives forever, is what dumps show the coroutine to be suspended in; for awaiters that always
  // suspend. Those that may decide not to name themselves later, by SuspendIn.
  template <typename Promise>
  static CoHandle Of(std::coroutine_handle<Promise> handle, const char* name = nullptr) {
    if constexpr (std::derived_from<Promise, internal::CoPromiseBase>) {
      CoRoot* const root = handle.promise().root;
      if (name != nullptr) root->SuspendIn(name);
      return {handle, root};
    } else {
      return {handle, nullptr};
    }
  }
  void SuspendIn(const char* name) const {
    if (root != nullptr) root->SuspendIn(name);
  }
  // Home thread of the coroutine. Runs it now, on the caller's stack: chains of wake-ups that can get long go
  // through AioContext::Post instead.
  void Resume() const {
    if (root != nullptr) {
      root->Resume(handle);
    } else {
      handle.resume();
    }
  }
};

// Starts `co` on the calling home thread and runs it until it first suspends; it frees itself at its end.
// An exception that leaves it aborts the process. `name` lives forever.
void Spawn(const char* name, Co<void> co);

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_COROUTINE_H_
