// SPDX-License-Identifier: Apache-2.0

#include "job-common/aio_wait.h"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/callback_scope.h"
#include "aio/check.h"
#include "aio/coroutine_internal.h"
#include "aio/probe.h"

namespace jobcore::inline JOBCORE_ABI {
namespace {

absl::string_view View(std::string_view s) { return {s.data(), s.size()}; }

absl::Status Expired(const WaitOptions& options) {
  return absl::DeadlineExceededError(absl::StrCat("wait '", View(options.name), "' did not end by its deadline"));
}

absl::Status Refused(std::string_view name, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat("wait '", View(name), "' refused: ", why));
}

class Registration {
 public:
  Registration(WaitDomain& domain, WaitDomain::Waiter& waiter) : domain_(domain), waiter_(waiter) {
    domain_.Add(waiter_);
  }
  ~Registration() { domain_.Remove(waiter_); }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  WaitDomain& domain_;
  WaitDomain::Waiter& waiter_;
};

// What is left until the deadline, by the clock of `ctx`. Asked for *before* the condition is evaluated: what
// counts is whether the condition holds at the deadline or later.
Nanoseconds TimeLeft(AioContext& ctx, const WaitOptions& options) {
  if (options.deadline == kNoDeadline) return Nanoseconds::max();
  return options.deadline - ctx.clock().Now();
}

// The deadline of a loop that sleeps for at most `left`; it may have another clock.
TimePoint LoopDeadline(AioContext& loop, Nanoseconds left) {
  return left == Nanoseconds::max() ? kNoDeadline : SaturatingAdd(loop.clock().Now(), left);
}

// What all kinds of waits say of themselves. A wait without a name is one in dumps, too.
WaitDescription Describe(WaitDescription::Kind kind, const WaitOptions& options, TimePoint since) {
  return {.kind = kind,
          .name = options.name.empty() ? std::string_view("unnamed wait") : options.name,
          .since = since,
          .deadline = options.deadline,
          .watched = options.watched};
}

// --- A home thread waits by running its loop ---

class LoopWaiter final : public WaitDomain::Waiter {
 public:
  // In `domain_of`'s domain.
  LoopWaiter(AioContext& loop, AioContext& domain_of, const WaitDescription& description)
      : Waiter(description, /*by_turn=*/&loop == &domain_of), loop_(loop) {}
  void OnKick() override { loop_.Notify(); }

 private:
  AioContext& loop_;
};

absl::Status WaitInLoop(AioContext& loop, AioContext& ctx, absl::FunctionRef<bool()> condition,
                        const WaitOptions& options) JOBCORE_EXCLUDES(job_mutex) {
  WaitDescription description = Describe(WaitDescription::Kind::kLoop, options, ctx.clock().Now());
  description.home = &loop;
  description.thread = internal::ThisThreadId();
  LoopWaiter waiter(loop, ctx, description);
  LoopWaiter own_waiter(loop, loop, {});  // the same wait: listed once
  const Registration registration(ctx.wait_domain(), waiter);
  std::optional<Registration> own_registration;
  if (&loop != &ctx) own_registration.emplace(loop.wait_domain(), own_waiter);

  for (;;) {
    const Nanoseconds left = TimeLeft(ctx, options);
    if (!condition()) return absl::OkStatus();
    if (left.count() <= 0) return Expired(options);
    loop.RunOnce(true, LoopDeadline(loop, left));
  }
}

// --- A plain thread parks ---

class ParkedWaiter final : public WaitDomain::Waiter {
 public:
  explicit ParkedWaiter(const WaitDescription& description) : Waiter(description) {}

  void OnKick() override {
    const std::scoped_lock lock(mutex_);
    kicked_ = true;
    kick_.notify_one();
  }

  // Until the next kick, or one since the last Park; `deadline` is on the system clock.
  void Park(TimePoint deadline) {
    std::unique_lock lock(mutex_);
    const auto kicked = [this] { return kicked_; };
    if (deadline == kNoDeadline) {
      kick_.wait(lock, kicked);
    } else {
      kick_.wait_until(lock, deadline, kicked);
    }
    kicked_ = false;
  }

 private:
  internal::Mutex mutex_;
  internal::CondVar kick_;
  bool kicked_ = false;
};

absl::Status WaitParked(AioContext& ctx, absl::FunctionRef<bool()> condition, const WaitOptions& options) {
  WaitDescription description = Describe(WaitDescription::Kind::kParked, options, ctx.clock().Now());
  description.thread = internal::ThisThreadId();
  ParkedWaiter waiter(description);
  const Registration registration(ctx.wait_domain(), waiter);
  const bool real_time = &ctx.clock() == &Clock::System();
  for (;;) {
    const Nanoseconds left = TimeLeft(ctx, options);
    if (!condition()) return absl::OkStatus();
    if (left.count() <= 0) return Expired(options);
    waiter.Park(real_time ? options.deadline : kNoDeadline);
  }
}

// --- A coroutine suspends ---

// On the heap because it may be in the queue of its home context, put there by a kick, when the coroutine
// goes on or is destroyed.
class CoWaiter final : public WaitDomain::Waiter, private WorkItem {
 public:
  struct Release {
    void operator()(CoWaiter* waiter) const { waiter->Abandon(); }
  };
  using Ptr = std::unique_ptr<CoWaiter, Release>;

  CoWaiter(AioContext& home, AioContext& ctx, absl::AnyInvocable<bool()>& condition, const WaitOptions& options,
           const CoRoot* chain)
      : Waiter(DescribeCoroutine(home, ctx, options, chain)),
        WorkItem("AioWaitWhile", &Run),
        home_(home.shared_from_this()),
        ctx_(ctx),
        condition_(condition),
        options_(options) {
    if (options_.deadline != kNoDeadline) {
      timer_.emplace(home, "AioWaitWhile deadline", [this] { Resume(); });
    }
    ctx_.wait_domain().Add(*this);
  }

  // Kicker's thread. Not after Remove, so the last reference to this is gone when the post is done.
  void OnKick() override {
    if (!posted_.exchange(true)) home_->Post(*this);
  }

  // True if the wait is over: then result() is set.
  bool Finished() {
    const Nanoseconds left = TimeLeft(ctx_, options_);
    if (!condition_()) return true;
    if (left.count() <= 0) {
      result_ = Expired(options_);
      return true;
    }
    // Armed again at each turn because ctx_ may have another clock than our home.
    if (timer_) timer_->ArmAt(LoopDeadline(*home_, left));
    return false;
  }

  // Separate, because g++-12 copies what is awaited.
  struct Awaiter {
    CoWaiter& waiter;
    bool await_ready() { return waiter.Finished(); }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> self) {
      waiter.coroutine_ = CoHandle::Of(self, "AioWaitWhile");
    }
    absl::Status await_resume() { return std::move(waiter.result_); }
  };

 private:
  ~CoWaiter() = default;  // see Abandon

  static WaitDescription DescribeCoroutine(AioContext& home, AioContext& ctx, const WaitOptions& options,
                                           const CoRoot* chain) {
    const bool same_clock = &home.clock() == &ctx.clock();
    WaitDescription description =
        Describe(WaitDescription::Kind::kCoroutine, options, same_clock ? internal::TurnTime() : ctx.clock().Now());
    description.home = &home;
    description.chain = chain;
    description.callback = AioContext::CurrentCallback();
    return description;
  }

  // In the home loop.
  static void Run(WorkItem& item, Reason reason) {
    CoWaiter& self = static_cast<CoWaiter&>(item);
    // Before the condition is read: a kick from now on posts again.
    self.posted_.exchange(false);
    if (self.abandoned_) {
      internal::Reached("wait.over_before_its_kick");
      delete &self;
    } else if (reason == Reason::kRun) {
      self.Resume();
    }
  }

  void Resume() {
    if (Finished()) CoHandle(coroutine_).Resume();  // last: the coroutine abandons *this
  }

  void Abandon() {
    timer_.reset();
    ctx_.wait_domain().Remove(*this);  // from here on nobody posts
    if (posted_) {
      abandoned_ = true;
      home_.reset();  // the queue that we are in must not keep its own context alive
    } else {
      delete this;
    }
  }

  std::shared_ptr<AioContext> home_;
  AioContext& ctx_;
  absl::AnyInvocable<bool()>& condition_;  // in the frame of the coroutine
  const WaitOptions options_;
  std::optional<AioTimer> timer_;
  CoHandle coroutine_;
  absl::Status result_;
  bool abandoned_ = false;                // home thread only
  internal::Atomic<bool> posted_{false};  // in the queue of home_
};

}  // namespace

absl::Status CheckMayWait(AioContext& ctx, std::string_view name) {
  if (internal::HeldJobMutex() != nullptr) [[unlikely]] {
    internal::AssertNoJobMutexHeld("AioWaitWhileUnlocked", std::string(name).c_str());
  }
  if (const char* const callback = AioContext::CurrentCallback()) {
    return Refused(name, absl::StrCat("called from inside callback '", callback,
                                      "', and loops do not nest: in a coroutine, co_await AioWaitWhile, "
                                      "AwaitJob or CloseAsync instead"));
  }
  const AioContext* const loop = AioContext::Current();
  const bool runs_loop = loop != nullptr && (loop == &ctx || loop->kind() == AioContext::Kind::kMain);
  const bool parks = loop == nullptr && ctx.kind() == AioContext::Kind::kMain;
  if (runs_loop || parks) return absl::OkStatus();
  return Refused(name,
                 absl::StrCat(loop == nullptr ? "a plain thread"
                                              : absl::StrCat("the home thread of I/O context '", loop->name(), "'"),
                              " cannot block for context '", ctx.name(),
                              "': wait for the main context (the core) in a plain thread, or "
                              "co_await AioWaitWhile in a coroutine"));
}

absl::Status AioWaitWhileUnlocked(AioContext& ctx, absl::FunctionRef<bool()> condition, WaitOptions options) {
  if (absl::Status refusal = CheckMayWait(ctx, options.name); !refusal.ok()) return refusal;
  AioContext* const loop = AioContext::Current();
  return loop != nullptr ? WaitInLoop(*loop, ctx, condition, options) : WaitParked(ctx, condition, options);
}

Co<absl::Status> internal::WaitWhile(AioContext& ctx, absl::AnyInvocable<bool()> condition, WaitOptions options) {
  AioContext* const home = AioContext::Current();
  if (home == nullptr) {
    co_return Refused(options.name, "this thread is home of no context: use AioWaitWhileUnlocked");
  }
  if (!condition()) co_return absl::OkStatus();
  const CoRoot* const chain = co_await ThisRoot();
  const CoWaiter::Ptr waiter(new CoWaiter(*home, ctx, condition, options, chain));
  co_return co_await CoWaiter::Awaiter{*waiter};
}

}  // namespace jobcore::inline JOBCORE_ABI
