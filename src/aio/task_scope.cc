// SPDX-License-Identifier: Apache-2.0

#include "job-common/task_scope.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "aio/coroutine_internal.h"

namespace jobcore::inline JOBCORE_ABI {

struct TaskScope::Task final : CoRoot, internal::Pooled {
  Task(TaskScope& s, Co<void> c) : CoRoot(&Done), scope(s), co(std::move(c)) {}

  static void Done(CoRoot& root) {
    std::unique_ptr<Task> self(static_cast<Task*>(&root));
    internal::TakeOrDie("task", self->co);
    TaskScope& scope = self->scope;
    self.reset();  // what the task holds goes before somebody sees it finished
    --scope.running_;
    if (scope.waiter_.handle && scope.running_ <= scope.limit_) {
      std::exchange(scope.waiter_, CoHandle()).Resume();  // last: may destroy the scope
    }
  }

  TaskScope& scope;
  Co<void> co;
};

TaskScope::~TaskScope() {
  if (running_ != 0) {
    internal::Die(absl::StrCat("TaskScope: destroyed with ", running_, " unfinished task(s)"));
  }
}

void TaskScope::Spawn(Co<void> task) {
  auto* const self = new Task(*this, std::move(task));  // deletes itself
  ++running_;
  self->Start(self->co);
}

}  // namespace jobcore::inline JOBCORE_ABI
