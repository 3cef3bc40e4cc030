// SPDX-License-Identifier: Apache-2.0
// EXPECT: no matching member function for call to 'await_suspend'
#include <coroutine>
#include <utility>

#include "job-common/coroutine.h"

namespace jobcore {

struct ForeignTask {
  struct promise_type {
    ForeignTask get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};

ForeignTask Foreign(Co<void> work) {
#ifdef SHOULD_FAIL
  co_await std::move(work);
#else
  co_await std::suspend_never();
#endif
}

Co<void> Ours(Co<void> work) { co_await std::move(work); }

}  // namespace jobcore
