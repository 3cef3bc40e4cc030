// SPDX-License-Identifier: Apache-2.0

#include "job-common/coroutine.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/callback_scope.h"
#include "aio/check.h"
#include "aio/coroutine_internal.h"
#include "job-common/aio_context.h"
#include "job-common/job_mutex.h"

namespace jobcore::inline JOBCORE_ABI {

namespace {
constexpr char kUnnamed[] = "an unnamed await";
}  // namespace

// `since_` first: whoever reads a new name reads a time that is not older than this.
void CoRoot::NoteRunning() {
  const TimePoint now = internal::TurnTime();
  if (suspended_in_.load(std::memory_order_relaxed) != nullptr) {
    const Nanoseconds suspended = std::max(Nanoseconds::zero(), now - since_.load(std::memory_order_relaxed));
    suspended_time_.store(suspended_time_.load(std::memory_order_relaxed) + suspended.count(),
                          std::memory_order_relaxed);
  }
  since_.store(now, std::memory_order_relaxed);
  suspended_in_.store(nullptr, std::memory_order_release);
}

void CoRoot::Resume(std::coroutine_handle<> handle) {
  if (active_) {
    next_ = handle;
    return;
  }
  // A coroutine counts as a callback even where plain code starts it: it must not run the loop.
  const char* const callback = AioContext::CurrentCallback();
  const char* const name = callback != nullptr ? callback : "coroutine";
  const internal::CallbackScope scope(name);
  NoteRunning();
  active_ = true;
  while (handle) {
    next_ = nullptr;
    handle.resume();  // may run more of the chain than this one, if foreign code resumes it directly
    internal::AssertNoJobMutexHeld("suspended coroutine", name);
    handle = next_;
  }
  active_ = false;
  if (finished_) {
    on_done_(*this);  // last: may destroy *this
  } else if (suspended_in_.load(std::memory_order_relaxed) == nullptr) {
    suspended_in_.store(kUnnamed, std::memory_order_release);
  }
}

void CoRoot::Transfer(std::coroutine_handle<> next) {
  if (next) {
    Resume(next);
    return;
  }
  finished_ = true;
  if (active_) return;  // Resume sees it when the stack is unwound
  // The outermost coroutine was resumed directly by foreign code.
  internal::AssertNoJobMutexHeld("finished coroutine", "resumed directly");
  NoteRunning();
  on_done_(*this);
}

namespace internal {

void TakeOrDie(const char* name, Co<void>& co) {
  try {
    co.Take();
  } catch (const std::exception& e) {
    Die(absl::StrCat("an exception left coroutine '", name, "': ", e.what()));
  } catch (...) {
    Die(absl::StrCat("an exception left coroutine '", name, "'"));
  }
}

}  // namespace internal

namespace {

struct Spawned final : CoRoot, internal::Pooled {
  Spawned(const char* n, Co<void> c) : CoRoot(&Done), name(n), co(std::move(c)) {}

  static void Done(CoRoot& root) {
    const std::unique_ptr<Spawned> self(static_cast<Spawned*>(&root));
    internal::TakeOrDie(self->name, self->co);
  }

  const char* const name;
  Co<void> co;
};

}  // namespace

void Spawn(const char* name, Co<void> co) {
  if (AioContext::Current() == nullptr) {
    internal::Die(absl::StrCat("Spawn '", name, "': this thread is home of no context"));
  }
  const internal::CallbackScope scope(name);
  auto* const spawned = new Spawned(name, std::move(co));  // deletes itself
  spawned->Start(spawned->co);
}

}  // namespace jobcore::inline JOBCORE_ABI
