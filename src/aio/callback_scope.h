// SPDX-License-Identifier: Apache-2.0
//
// What the calling thread is doing, for AioContext::CurrentCallback and for dumps.

#ifndef JOBCORE_AIO_CALLBACK_SCOPE_H_
#define JOBCORE_AIO_CALLBACK_SCOPE_H_

#include <unistd.h>

#include <atomic>

#include "job-common/aio_context.h"
#include "job-common/clock.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

struct ThisThread {
  AioContext* context = nullptr;   // whose home it is
  const char* callback = nullptr;  // that it is in
  int id = 0;                      // the kernel's; 0: not asked for yet
};
extern constinit thread_local ThisThread this_thread;

// The kernel's id of the calling thread: a system call the first time only.
inline int ThisThreadId() {
  if (this_thread.id == 0) this_thread.id = gettid();
  return this_thread.id;
}

// For a scope, the calling thread is in the callback `name`; the loop that it is home of shows that to others.
class CallbackScope {
 public:
  explicit CallbackScope(const char* name) : previous_(this_thread.callback) {
    if (name != previous_) Set(name);
  }
  ~CallbackScope() {
    if (this_thread.callback != previous_) Set(previous_);
  }
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;

 private:
  static void Set(const char* name) {
    this_thread.callback = name;
    if (this_thread.context != nullptr) this_thread.context->callback_.store(name, std::memory_order_relaxed);
  }
  const char* const previous_;
};

// The time as the calling thread's loop knows it: of its present turn, read anew outside of one.
TimePoint TurnTime();

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_CALLBACK_SCOPE_H_
