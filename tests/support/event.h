// SPDX-License-Identifier: Apache-2.0
//
// The smallest things that a coroutine can wait for.

#ifndef JOBCORE_TESTS_SUPPORT_EVENT_H_
#define JOBCORE_TESTS_SUPPORT_EVENT_H_

#include <coroutine>
#include <utility>

#include "job-common/coroutine.h"

namespace jobcore::support {

// One waiter, one thread. Set() ends one wait, the present or the next one.
class Event {
 public:
  void Set() {
    if (waiter_.handle) {
      std::exchange(waiter_, CoHandle()).Resume();
    } else {
      set_ = true;
    }
  }
  bool awaited() const { return waiter_.handle != nullptr; }

  struct Awaiter {
    Event& event;
    bool await_ready() { return std::exchange(event.set_, false); }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> self) {
      event.waiter_ = CoHandle::Of(self);
    }
    void await_resume() {}
  };
  Awaiter operator co_await() { return {*this}; }

 private:
  bool set_ = false;
  CoHandle waiter_;
};

// What somebody else's library may do: remembers the bare handle and resumes it directly.
class ForeignEvent {
 public:
  void Set() { std::exchange(waiter_, nullptr).resume(); }
  bool awaited() const { return waiter_ != nullptr; }

  bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<> self) { waiter_ = self; }
  void await_resume() {}

 private:
  std::coroutine_handle<> waiter_;
};

// Foreign, and resumes while it is still suspending.
struct ForeignInline {
  bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<> self) { self.resume(); }
  void await_resume() {}
};

}  // namespace jobcore::support

#endif  // JOBCORE_TESTS_SUPPORT_EVENT_H_
