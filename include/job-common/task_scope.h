// SPDX-License-Identifier: Apache-2.0
//
// TaskScope: several coroutines at once in one context, and a way to wait for them. How a job keeps more than
// one request in flight:
//
//   TaskScope tasks;
//   while (more) {
//     tasks.Spawn(CopyOne(chunk));          // runs until its first suspension, then beside us
//     co_await tasks.AtMost(15);            // room for one more
//   }
//   co_await tasks.AtMost(0);               // all finished

#ifndef JOBCORE_JOB_COMMON_TASK_SCOPE_H_
#define JOBCORE_JOB_COMMON_TASK_SCOPE_H_

#include <cstddef>

#include "job-common/coroutine.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI {

// All on one home thread; one waiter at a time. Must be empty when destroyed (aborts otherwise).
class TaskScope {
 public:
  TaskScope() = default;
  ~TaskScope();
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  // An exception that leaves `task` aborts the process: tasks report through what they share.
  void Spawn(Co<void> task);

  size_t size() const { return running_; }

  struct AtMostAwaiter {
    TaskScope& scope;
    size_t limit;
    bool await_ready() const noexcept { return scope.running_ <= limit; }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> self) noexcept {
      scope.limit_ = limit;
      scope.waiter_ = CoHandle::Of(self, "tasks of its own");
    }
    void await_resume() const noexcept {}
  };
  // Awaitable: until at most `limit` tasks are left.
  AtMostAwaiter AtMost(size_t limit) { return {*this, limit}; }

 private:
  struct Task;
  size_t running_ = 0;
  size_t limit_ = 0;
  CoHandle waiter_;  // handle null: nobody waits
};

}  // namespace jobcore::inline JOBCORE_ABI

#endif  // JOBCORE_JOB_COMMON_TASK_SCOPE_H_
