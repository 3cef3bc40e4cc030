// SPDX-License-Identifier: Apache-2.0

#include "job-common/task_scope.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <stdexcept>

#include "job-common/coroutine.h"
#include "support/event.h"
#include "support/virtual_time.h"

namespace jobcore {
namespace {

using support::Event;
using support::VirtualLoop;

Co<void> WaitFor(Event& event, int& finished) {
  co_await event;
  ++finished;
}

TEST(TaskScope, SpawnRunsATaskUntilItFirstSuspends) {
  VirtualLoop loop;
  TaskScope tasks;
  Event event;
  int finished = 0;
  tasks.Spawn(WaitFor(event, finished));
  EXPECT_TRUE(event.awaited());
  EXPECT_EQ(tasks.size(), 1u);
  event.Set();
  EXPECT_EQ(finished, 1);
  EXPECT_EQ(tasks.size(), 0u);
  tasks.Spawn(Co<void>());  // a task that is finished already
  EXPECT_EQ(tasks.size(), 0u);
}

TEST(TaskScope, AtMostWaitsUntilTheLimitIsReachedAndNoLonger) {
  VirtualLoop loop;
  TaskScope tasks;
  std::deque<Event> events(4);
  int finished = 0;
  for (Event& event : events) tasks.Spawn(WaitFor(event, finished));
  int passed = 0;
  Spawn("waiter", [](TaskScope& t, int& p) -> Co<void> {
    co_await t.AtMost(4);
    p = 1;
    co_await t.AtMost(2);
    p = 2;
    co_await t.AtMost(0);
    p = 3;
  }(tasks, passed));
  EXPECT_EQ(passed, 1);
  events[2].Set();
  EXPECT_EQ(passed, 1);
  events[0].Set();
  EXPECT_EQ(passed, 2);
  events[1].Set();
  EXPECT_EQ(passed, 2);
  events[3].Set();
  EXPECT_EQ(passed, 3);
}

TEST(TaskScope, KeepsABoundedNumberOfTasksInFlight) {
  constexpr int kTasks = 1000;
  VirtualLoop loop;
  int running = 0, peak = 0, finished = 0;
  bool done = false;
  struct Run {
    static Co<void> Task(AioContext& context, int& running, int& peak, int& finished) {
      peak = std::max(peak, ++running);
      Event event;
      context.Post("work", [&event] { event.Set(); });
      co_await event;
      --running;
      ++finished;
    }
    static Co<void> All(AioContext& context, int& running, int& peak, int& finished, bool& done) {
      TaskScope tasks;
      for (int i = 0; i < kTasks; ++i) {
        tasks.Spawn(Task(context, running, peak, finished));
        co_await tasks.AtMost(15);
      }
      co_await tasks.AtMost(0);
      done = true;
    }
  };
  Spawn("all", Run::All(loop, running, peak, finished, done));
  for (int i = 0; i < 10 * kTasks && !done; ++i) loop.context().RunOnce(false);
  EXPECT_TRUE(done);
  EXPECT_EQ(finished, kTasks);
  EXPECT_EQ(peak, 16);
}

TEST(TaskScope, AMillionTasksThatNeverSuspendDoNotGrowTheStack) {
  VirtualLoop loop;
  int count = 0;
  bool done = false;
  Spawn("all", [](int& c, bool& d) -> Co<void> {
    TaskScope tasks;
    for (int i = 0; i < 1'000'000; ++i) {
      tasks.Spawn([](int& n) -> Co<void> {
        ++n;
        co_return;
      }(c));
      co_await tasks.AtMost(0);
    }
    d = true;
  }(count, done));
  EXPECT_TRUE(done);
  EXPECT_EQ(count, 1'000'000);
}

TEST(TaskScope, TheLastTaskMayEndTheScope) {
  VirtualLoop loop;
  Event event;
  int finished = 0;
  Spawn("owner", [](Event& e, int& f) -> Co<void> {
    auto tasks = std::make_unique<TaskScope>();
    tasks->Spawn(WaitFor(e, f));
    co_await tasks->AtMost(0);
    tasks.reset();
    ++f;
  }(event, finished));
  event.Set();
  EXPECT_EQ(finished, 2);
}

class TaskScopeDeathTest : public ::testing::Test {
 protected:
  TaskScopeDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(TaskScopeDeathTest, DestroyingAScopeWithTasksDies) {
  EXPECT_DEATH(
      {
        VirtualLoop loop;
        Event event;
        int finished = 0;
        TaskScope tasks;
        tasks.Spawn(WaitFor(event, finished));
      },
      "TaskScope: destroyed with 1 unfinished task");
}

TEST_F(TaskScopeDeathTest, AnExceptionThatLeavesATaskDies) {
  EXPECT_DEATH(
      {
        VirtualLoop loop;
        TaskScope tasks;
        tasks.Spawn([]() -> Co<void> {
          throw std::runtime_error("oh no");
          co_return;
        }());
      },
      "an exception left coroutine 'task': oh no");
}

}  // namespace
}  // namespace jobcore
