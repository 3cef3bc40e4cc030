// SPDX-License-Identifier: Apache-2.0
//
// The event loop under controlled threads: wake-ups, bottom halves, the end of a loop.

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "job-common/aio_context.h"
#include "job-common/aio_wait.h"
#include "job-common/coroutine.h"
#include "job-common/io_engine.h"
#include "job-common/iothread.h"
#include "threads/thread_world.h"

namespace jobcore::threads {
namespace {

using std::chrono::microseconds;

struct Loop {
  explicit Loop(Choices& choices)
      : threads(choices, StrategyOf(choices)), poll_max(choices.OneIn(2) ? microseconds(3) : microseconds(0)) {}
  std::unique_ptr<IOThread> NewIOThread() {
    return std::make_unique<IOThread>(
        "io", IOThread::Options{.clock = &threads.clock(), .poller = threads.NewPoller(), .poll_max = poll_max});
  }
  std::shared_ptr<AioContext> NewMain() {
    return AioContext::Create({.clock = &threads.clock(), .poller = threads.NewPoller(), .poll_max = poll_max});
  }

  ControlledThreads threads;
  const Nanoseconds poll_max;
};

// R-01 … R-06: what is posted, scheduled or armed reaches a loop that is about to sleep, with what was written before.
void EverythingPostedReachesASleepingLoop(Choices& choices) {
  Loop loop(choices);
  const auto io = loop.NewIOThread();
  AioContext& context = io->context();
  struct State {
    int items = 0;
    int timers = 0;
    int payload_seen = 0;
  };
  Shared<State> state;
  Atomic<int> payload{0};
  std::unique_ptr<AioTimer> timer;  // home thread
  BottomHalf half(context, "half", [&] {
    const int seen = payload.load(std::memory_order_relaxed);
    state.Update([&](State& s) { s.payload_seen = seen; });
  });
  const auto produce = [&] {
    int data = 1;
    context.Post("item", [&state, &data] {
      Require(data == 1, "a producer's writes come before its item");
      state.Update([](State& s) { ++s.items; });
    });
    payload.fetch_add(1, std::memory_order_relaxed);
    half.Schedule();
    state.Await([](const State& s) { return s.items == 2; });  // `data` is this function's
  };
  Thread other([&] { produce(); });
  context.Post("timer", [&] {
    timer = std::make_unique<AioTimer>(context, "timer", [&] { state.Update([](State& s) { ++s.timers; }); });
    timer->ArmAt(SaturatingAdd(loop.threads.clock().Now(), microseconds(10)));
  });
  produce();
  other.join();
  state.Await([](const State& s) { return s.items == 2 && s.timers == 1 && s.payload_seen == 2; });
  Require(context.turns() < 40, "an idle loop sleeps");
  context.Post("end of the timer", [&] { timer.reset(); });
  RequireOk(io->Stop(), "stop");
}
TEST(Loop, EverythingPostedReachesASleepingLoop) { RunScenario(&EverythingPostedReachesASleepingLoop); }

// a bottom half that is scheduled from two threads, cancelled, and destroyed by its own callback. The
// node and the context live as long as anybody needs them (AddressSanitizer, or glibc's own checks, see it if not).
void ABottomHalfMayEndInItsOwnCallback(Choices& choices) {
  Loop loop(choices);
  const auto io = loop.NewIOThread();
  AioContext& context = io->context();
  Shared<int> ended;
  auto half = std::make_unique<std::unique_ptr<BottomHalf>>();
  Mutex mutex;  // guards the pointer
  bool alive = true;
  int runs = 0;
  const int last = choices.Between(1, 2);
  *half = std::make_unique<BottomHalf>(context, "half", [&] {
    if (++runs < last) return;
    {
      const std::scoped_lock lock(mutex);
      alive = false;
    }
    half->reset();
    ended.Update([](int& n) { ++n; });
  });
  const auto schedule = [&] {
    bool again = true;
    while (again) {
      const std::scoped_lock lock(mutex);
      again = alive;
      if (alive) (*half)->Schedule();
    }
  };
  Thread other(schedule);
  if (choices.OneIn(2)) {
    context.Post("cancel", [&] {
      if (*half != nullptr) (*half)->Cancel();
    });
  }
  schedule();
  other.join();
  ended.Await([](int n) { return n == 1; });
  Require(runs == last, "a bottom half does not run after its end");
  RequireOk(io->Stop(), "stop");
}
TEST(Loop, ABottomHalfMayEndInItsOwnCallback) { RunScenario(&ABottomHalfMayEndInItsOwnCallback); }

// scheduled for the last time while it runs for the last time but one.
void ABottomHalfSeesTheLastChange(Choices& choices) {
  Loop loop(choices);
  const auto io = loop.NewIOThread();
  Atomic<int> payload{0};
  Shared<int> seen;
  auto half = std::make_unique<BottomHalf>(io->context(), "half", [&] {
    const int now = payload.load();
    seen.Update([&](int& s) { s = now; });
  });
  const auto change = [&] {
    for (int i = 0; i < 2; ++i) {
      payload.fetch_add(1);
      half->Schedule();
    }
  };
  Thread other(change);
  change();
  other.join();
  seen.Await([](int s) { return s == 4; });
  RequireOk(io->Stop(), "stop");
}
TEST(Loop, ABottomHalfSeesTheLastChange) { RunScenario(&ABottomHalfSeesTheLastChange); }

// the loop stops while others post. Each item is run or dropped, exactly once; the context lives
// until the last Post has returned, although what it runs drops the I/O thread.
void AnItemPostedToALoopThatStopsIsRunOrDropped(Choices& choices) {
  Loop loop(choices);
  struct Item final : WorkItem {
    Item() : WorkItem("item", [](WorkItem& self, Reason) { static_cast<Item&>(self).ended.fetch_add(1); }) {}
    Atomic<int> ended{0};
  };
  std::vector<Item> items(4);
  auto io = loop.NewIOThread();
  std::shared_ptr<AioContext> context = io->context().shared_from_this();
  Thread poster([&items, context]() mutable {
    context->Post(items[0]);
    context->Post(items[1]);
    context.reset();
  });
  context->Post(items[2]);
  RequireOk(io->Stop(), "stop");
  RequireOk(io->Stop(), "second stop");
  io.reset();
  context->Post(items[3]);
  // Either who posts last drops what comes too late, or the end of the context does.
  const std::shared_ptr<AioContext> keep = choices.OneIn(2) ? context : nullptr;
  context.reset();
  poster.join();
  for (const Item& item : items) Require(item.ended.load() == 1, "an item is run or dropped, once");
}
TEST(Loop, AnItemPostedToALoopThatStopsIsRunOrDropped) {
  RunScenario(&AnItemPostedToALoopThatStopsIsRunOrDropped, 5000);
}

// a home thread, a plain thread and coroutines wait for what an I/O thread
// and a raw thread change, each with a wait of its own.
void EveryWaiterHearsOfTheChange(Choices& choices) {
  Loop loop(choices);
  const auto io = loop.NewIOThread();
  const auto main = loop.NewMain();
  const AioHome home(*main);
  Atomic<int> changes{0};
  Shared<int> coroutines;
  const auto change = [&] {
    // Not sequentially consistent: what orders it is the kick.
    changes.store(changes.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    main->wait_domain().Kick();
  };
  const auto fewer_than = [&changes](int n) { return [&changes, n] { return changes.load() < n; }; };
  io->context().Post("coroutine", [&] {
    struct Waiter {
      static Co<void> Wait(AioContext& main, Atomic<int>& changes, Shared<int>& done) {
        const auto waits = [&changes] { return changes.load() < 2; };
        RequireOk(co_await AioWaitWhile(main, waits, {.name = "coroutine"}), "wait of a coroutine");
        Require(AioContext::Current() != &main, "a coroutine goes on at home");
        done.Update([](int& n) { ++n; });
      }
    };
    Spawn("waiter", Waiter::Wait(*main, changes, coroutines));
    io->context().Post("change", change);
  });
  Thread plain([&] {
    RequireOk(AioWaitWhileUnlocked(*main, fewer_than(1), {.name = "plain"}), "wait of a plain thread");
    change();  // the second change
  });
  RequireOk(AioWaitWhileUnlocked(*main, fewer_than(2), {.name = "main"}), "wait of a home thread");
  Require(main->turns() < 40, "an idle loop sleeps");
  plain.join();
  coroutines.Await([](int n) { return n == 1; });
  RequireOk(io->Stop(), "stop");
}
TEST(Wait, EveryWaiterHearsOfTheChange) { RunScenario(&EveryWaiterHearsOfTheChange); }

// the shortest form of it, many times: one change, one kick, a loop or a thread that waits.
void OneKickIsEnough(Choices& choices) {
  Loop loop(choices);
  const auto main = loop.NewMain();
  const bool plain = choices.OneIn(2);
  Atomic<bool> changed{false};
  const auto change = [&] {
    changed.store(true, std::memory_order_release);
    main->wait_domain().Kick();
  };
  const auto wait = [&] {
    RequireOk(AioWaitWhileUnlocked(*main, [&] { return !changed.load(std::memory_order_acquire); }), "wait");
  };
  if (plain) {
    Thread other(change);
    wait();
    other.join();
  } else {
    const AioHome home(*main);
    Thread other(change);
    wait();
    other.join();
  }
}
TEST(Wait, OneKickIsEnough) { RunScenario(&OneKickIsEnough, 8000); }

// A wait with a deadline ends by the change or by the deadline, and says truly which. (In a loop: a thread that parks
// has no deadline on a clock that is not the system's.)
void ADeadlineTellsTheTruth(Choices& choices) {
  Loop loop(choices);
  const auto main = loop.NewMain();
  const AioHome home(*main);
  const TimePoint deadline = SaturatingAdd(loop.threads.clock().Now(), microseconds(20));
  Atomic<bool> changed{false};
  bool changed_in_time = false;
  Thread other([&] {
    for (uint32_t i = choices.Below(40); i > 0; --i) SpinPoint();  // up to 20 us
    changed.store(true);
    changed_in_time = loop.threads.clock().Now() < deadline;
    main->wait_domain().Kick();
    for (uint32_t i = choices.Below(40); i > 0; --i) SpinPoint();
  });
  bool seen = false;
  const absl::Status status = AioWaitWhileUnlocked(
      *main, [&] { return !(seen = changed.load(std::memory_order_acquire)); }, {.deadline = deadline});
  const TimePoint ended = loop.threads.clock().Now();
  other.join();
  if (status.ok()) {
    Require(seen, "a wait that ends well has seen its condition");
  } else {
    Require(absl::IsDeadlineExceeded(status) && ended >= deadline && !seen, "a deadline is not early");
    Require(!changed_in_time, "what has changed before the deadline has changed in time");
  }
}
TEST(Wait, ADeadlineTellsTheTruth) { RunScenario(&ADeadlineTellsTheTruth, 3000); }

// requests of two loops to a thread pool, which is destroyed as soon as all have been completed.
void AThreadPoolMayEndAfterItsLastCompletion(Choices& choices) {
  Loop loop(choices);
  const auto io = loop.NewIOThread();
  auto engine = IoEngine::ThreadPool(static_cast<int>(choices.Between(1, 2)));
  Shared<int> finished;
  struct Requester {
    static Co<void> Run(IoEngine& pool, Shared<int>& done, int times) {
      for (int i = 0; i < times; ++i) {
        const IoResult result = co_await DataSync(pool, -1);  // a system call that fails at once
        Require(result.error != 0, "a request is answered");
      }
      done.Update([](int& n) { ++n; });
    }
  };
  for (int i = 0; i < 2; ++i) {
    io->context().Post("requester", [&] { Spawn("requester", Requester::Run(*engine, finished, 2)); });
  }
  finished.Await([](int n) { return n == 2; });
  engine.reset();
  RequireOk(io->Stop(), "stop");
}
TEST(Engine, AThreadPoolMayEndAfterItsLastCompletion) { RunScenario(&AThreadPoolMayEndAfterItsLastCompletion); }

// Writes of several coroutines to one file, and to another one, which take turns.
void EveryWriteGetsItsTurn(Choices& choices) {
  Loop loop(choices);
  const auto io = loop.NewIOThread();
  auto engine = IoEngine::ThreadPool(static_cast<int>(choices.Between(1, 2)));
  Shared<int> finished;
  struct Writer {
    static Co<void> Run(IoEngine& pool, int fd, Shared<int>& done) {
      const std::array<std::byte, 1> data = {};
      for (int i = 0; i < 2; ++i) {
        const IoResult result = co_await WriteCached(pool, fd, 0, data);  // a system call that fails at once
        Require(result.error != 0, "a write is answered");
      }
      done.Update([](int& n) { ++n; });
    }
  };
  for (const int fd : {-1, -1, -1, -2}) {
    io->context().Post("writer", [&, fd] { Spawn("writer", Writer::Run(*engine, fd, finished)); });
  }
  finished.Await([](int n) { return n == 4; });
  engine.reset();
  RequireOk(io->Stop(), "stop");
}
TEST(Engine, EveryWriteGetsItsTurn) { RunScenario(&EveryWriteGetsItsTurn); }

}  // namespace
}  // namespace jobcore::threads
