// SPDX-License-Identifier: Apache-2.0

#ifndef JOBCORE_AIO_COROUTINE_INTERNAL_H_
#define JOBCORE_AIO_COROUTINE_INTERNAL_H_

#include <concepts>
#include <coroutine>

#include "job-common/coroutine.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// Takes the result of a finished coroutine; aborts, naming it, if an exception left it.
void TakeOrDie(const char* name, Co<void>& co);

// co_await ThisRoot(): the root of the chain that the awaiting coroutine is part of. Does not suspend.
class ThisRoot {
 public:
  bool await_ready() const noexcept { return false; }
  template <std::derived_from<CoPromiseBase> Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
    root_ = self.promise().root;
    return false;
  }
  CoRoot* await_resume() const noexcept { return root_; }

 private:
  CoRoot* root_ = nullptr;
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_COROUTINE_INTERNAL_H_
