// SPDX-License-Identifier: Apache-2.0
//
// Waiting for a condition.
//
//   plain code:  AioWaitWhileUnlocked(ctx, [&] { return !finished; }, {.name = "copy of disk0"});
//   coroutines:  co_await AioWaitWhile(ctx, [&] { return !finished; }, {.name = "copy of disk0"});
//
// `ctx` says whose changes the condition depends on: those who change it call ctx.wait_domain().Kick()
// afterwards. Conditions on jobs: pass the core (job_core.h), which does that by itself.
//
// The condition is evaluated many times, between arbitrary callbacks, with no lock held. It must have no side
// effects, and what it reads must be safe to read from the waiting thread. When the wait returns, anything
// else may have changed.

#ifndef JOBCORE_JOB_COMMON_AIO_WAIT_H_
#define JOBCORE_JOB_COMMON_AIO_WAIT_H_

#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/coroutine.h"
#include "job-common/fwd.h"
#include "job-common/job_mutex.h"

namespace jobcore::inline JOBCORE_ABI {

struct WaitOptions {
  std::string_view name = "unnamed wait";  // appears in errors and dumps; outlives the wait
  // On ctx.clock(). A thread that parks is woken by its deadline on the system clock only; on other clocks it
  // finds out at the next kick.
  TimePoint deadline = kNoDeadline;
  // False: it may last as long as it likes, no watchdog (job-monitor/watchdog.h) is to report it.
  bool watched = true;
};

// Blocks the calling thread while `condition` holds.
//
//   home thread of `ctx`                  runs its loop meanwhile
//   home thread of another main context   runs its own loop meanwhile
//   plain thread, `ctx` a main context    parks
//   anything else                         refused: FailedPrecondition, and the message names what to do instead.
//                                         That is: inside a callback or coroutine (loops never nest), a plain
//                                         or I/O thread waiting for somebody else's I/O thread
//
// Cannot be called with job_mutex held (compile error under -Wthread-safety, abort otherwise).
// Returns OK once the condition no longer holds, DeadlineExceeded if it still does at the deadline.
absl::Status AioWaitWhileUnlocked(AioContext& ctx, absl::FunctionRef<bool()> condition, WaitOptions options = {})
    JOBCORE_EXCLUDES(job_mutex);

// OK if the calling thread may wait for `ctx` here; otherwise the refusal that AioWaitWhileUnlocked would
// return. For functions that act before they wait.
absl::Status CheckMayWait(AioContext& ctx, std::string_view name) JOBCORE_EXCLUDES(job_mutex);

namespace internal {
Co<absl::Status> WaitWhile(AioContext& ctx, absl::AnyInvocable<bool()> condition, WaitOptions options);
}

// The same for coroutines: suspends the caller, whose loop goes on. Start it on a home thread; any `ctx`.
// A condition that owns what it captures must be a named variable: g++-12 destroys a closure that is written
// inside of a co_await expression twice.
template <typename Condition>
Co<absl::Status> AioWaitWhile(AioContext& ctx, Condition&& condition, WaitOptions options = {}) {
  static_assert(std::is_lvalue_reference_v<Condition> || std::is_trivially_destructible_v<Condition>,
                "name the condition first: auto condition = [owner] {...}; co_await AioWaitWhile(ctx, condition);");
  return internal::WaitWhile(ctx, absl::AnyInvocable<bool()>(std::forward<Condition>(condition)), options);
}

}  // namespace jobcore::inline JOBCORE_ABI

// The reference's spelling. Waits while `cond`; its value is the Status of the wait.
#define AIO_WAIT_WHILE_UNLOCKED(ctx, cond) \
  ::jobcore::AioWaitWhileUnlocked((ctx), [&] { return static_cast<bool>(cond); }, {.name = #cond})

#endif  // JOBCORE_JOB_COMMON_AIO_WAIT_H_
