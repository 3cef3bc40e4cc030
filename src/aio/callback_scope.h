// SPDX-License-Identifier: Apache-2.0
//
// What the calling thread is doing, for AioContext::CurrentCallback.

#ifndef JOBCORE_AIO_CALLBACK_SCOPE_H_
#define JOBCORE_AIO_CALLBACK_SCOPE_H_

#include "job-common/aio_context.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::internal {

// For a scope, the calling thread is in the callback `name`.
class CallbackScope {
 public:
  explicit CallbackScope(const char* name) : previous_(AioContext::CurrentCallback()) { Set(name); }
  ~CallbackScope() { Set(previous_); }
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;

 private:
  static void Set(const char* name);
  const char* const previous_;
};

}  // namespace jobcore::inline JOBCORE_ABI::internal

#endif  // JOBCORE_AIO_CALLBACK_SCOPE_H_
