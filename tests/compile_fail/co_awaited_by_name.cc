// SPDX-License-Identifier: Apache-2.0
// A Co is used up by awaiting it: std::move says so.
// EXPECT: no member named 'await_ready' in '.*Co<void>'
#include <utility>

#include "job-common/coroutine.h"

namespace jobcore {

Co<void> Outer(Co<void> inner) {
#ifdef SHOULD_FAIL
  co_await inner;
#else
  co_await std::move(inner);
#endif
}

}  // namespace jobcore
