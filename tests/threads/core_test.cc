// SPDX-License-Identifier: Apache-2.0
//
// The core as a whole under controlled threads: its mutex, observers, queries, references, and its end.

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "job-common/job_event.h"
#include "job-monitor/event_observer.h"
#include "job-monitor/job_history.h"
#include "job-monitor/job_query.h"
#include "job-monitor/job_wait.h"
#include "threads/thread_world.h"

namespace jobcore::threads {
namespace {

// The fair path of the mutex: four threads, of which some line up at the gate. Nobody is lost there, and nobody is
// inside with another one.
void TheMutexLetsInOneAtATime(Choices& choices) {
  const ControlledThreads threads(choices, StrategyOf(choices));
  JobMutex mutex;
  int inside = 0;
  int turns = 0;
  const auto work = [&] {
    for (int i = 0; i < 3; ++i) {
      mutex.Lock();
      Require(++inside == 1, "one thread at a time holds the mutex");
      ++turns;
      SchedPoint("critical section");
      --inside;
      mutex.Unlock();
    }
  };
  std::vector<Thread> others;
  for (int i = 0; i < 3; ++i) others.emplace_back(work);
  work();
  for (Thread& other : others) other.join();
  Require(turns == 12, "each thread has had its turns");
}
TEST(Core, TheMutexLetsInOneAtATime) { RunScenario(&TheMutexLetsInOneAtATime, 2000); }

// An observer is closed while events are being delivered to it in another thread: no call begins afterwards, and none
// goes on. Until then it misses nothing, and hears of nothing twice.
void AnObserverIsClosedWhileItIsCalled(Choices& choices) {
  World world(choices);
  struct Seen {
    Atomic<bool> closed{false};
    uint64_t last = 0;
    int calls = 0;
  };
  auto seen = std::make_unique<Seen>();
  std::optional<monitor::EventObserver> observer;
  observer.emplace(world.core(), world.io(), [s = seen.get()](const EventPage& page) {
    ++s->calls;
    Require(!s->closed.load(), "a closed observer is not called");
    for (const JobEvent& event : page.events) {
      Require(event.sequence == s->last + 1 && page.lost == 0, "an observer is told of each event, in order");
      s->last = event.sequence;
    }
    SchedPoint("observer");
    Require(!s->closed.load(), "a closed observer is not being called");
  });
  const bool all = choices.OneIn(2);
  {
    const JobRef job = world.Start({.id = "a"}, {.run = [](JobContext& j) { return Steps(j, 1); }});
    Thread other([&] {
      if (world.Pause(job).ok()) (void)world.Resume(job);
    });
    if (all) (void)world.AwaitEnd(job);
    observer->Close();
    seen->closed.store(true);
    other.join();
    (void)world.AwaitEnd(job);
  }
  observer.reset();
  world.EndCore();
  seen.reset();
}
TEST(Core, AnObserverIsClosedWhileItIsCalled) { RunScenario(&AnObserverIsClosedWhileItIsCalled); }

// Nothing is missed, however the deliveries and the events interleave.
void AnObserverHearsOfTheLastEvent(Choices& choices) {
  World world(choices);
  Shared<uint64_t> last;
  const auto observer = std::make_unique<monitor::EventObserver>(world.core(), world.io(), [&](const EventPage& page) {
    const uint64_t newest = page.events.back().sequence;
    last.Update([&](uint64_t& l) {
      Require(l < newest, "events come in order");
      l = newest;
    });
  });
  const JobRef job = world.Start({.id = "a", .auto_dismiss = false});
  Thread other([&] {
    if (world.Pause(job).ok()) (void)world.Resume(job);
  });
  (void)world.AwaitEnd(job);
  other.join();
  uint64_t newest = 0;
  {
    JobLock lock(world.core());
    newest = world.core().last_event();
  }
  last.Await([&](uint64_t l) { return l == newest; });
  observer->Close();
}
TEST(Core, AnObserverHearsOfTheLastEvent) { RunScenario(&AnObserverHearsOfTheLastEvent); }

// jobs in all states, in two I/O threads, with a canceller and a dismisser at work, and the core
// ends.
void TheCoreEndsWithJobsInAllStates(Choices& choices) {
  World world(choices, {.io_threads = 2});
  Atomic<bool> never{false};
  {
    const JobRef created = world.Create({.id = "created", .context = &world.io(0)});
    const JobRef yields = world.Start({.id = "yields", .context = &world.io(0)},
                                      {.run = [&](JobContext& j) { return YieldUntil(j, never); }});
    const JobRef steps = world.Start({.id = "steps", .context = &world.io(1), .auto_dismiss = false},
                                     {.run = [](JobContext& j) { return Steps(j, 2); },
                                      .commit = [&]() -> Co<absl::Status> {
                                        if (world.choices().OneIn(2)) monitor::CancelAll(world.core());
                                        co_return absl::OkStatus();
                                      }});
    const JobRef pending = world.Start({.id = "pending", .auto_finalize = false});
    Thread other([&] {
      (void)world.Pause(yields);
      (void)world.Move(yields, world.io(1));
      (void)world.Dismiss(steps);
      if (world.choices().OneIn(2)) monitor::CancelAll(world.core());
    });
    if (choices.OneIn(2)) (void)world.AwaitEnd(steps);
    if (choices.OneIn(2)) monitor::CancelAll(world.core());
    other.join();
  }
  world.EndCore();
}
TEST(Core, TheCoreEndsWithJobsInAllStates) { RunScenario(&TheCoreEndsWithJobsInAllStates, 2000); }

// the last references to a job are dropped in three threads, while the core ends right after.
void ReferencesAreDroppedAnywhere(Choices& choices) {
  World world(choices);
  {
    JobRef job = world.Start({.id = "a", .context = &world.io()}, {.run = [](JobContext& j) { return Steps(j, 1); }});
    Thread other([ref = job]() mutable {
      const JobRef copy = ref;
      ref = JobRef();
    });
    Thread third([ref = job]() mutable { const JobRef taken = std::move(ref); });
    if (choices.OneIn(2)) (void)world.AwaitEnd(job);
    job = JobRef();
    other.join();
    third.join();
  }
  world.EndCore();
}
TEST(Core, ReferencesAreDroppedAnywhere) { RunScenario(&ReferencesAreDroppedAnywhere); }

// queries, page by page, against jobs that come and go: one that lives throughout is seen exactly once, and a
// record is one of a moment.
void QueriesSeeWhatLives(Choices& choices) {
  World world(choices);
  Atomic<bool> finish{false};
  {
    const JobRef first = world.Start({.id = "first", .context = &world.io(), .auto_dismiss = false},
                                     {.run = [&](JobContext& j) { return YieldUntil(j, finish); }});
    Thread other([&] {
      for (int i = 0; i < 2; ++i) {
        const JobRef job = world.Create({.id = "other" + std::to_string(i)});
        (void)world.Pause(first);
        (void)world.Cancel(job);
        (void)world.Resume(first);
      }
    });
    for (int i = 0; i < 2; ++i) {
      int seen = 0;
      monitor::QueryCursor cursor;
      for (std::vector<monitor::JobInfo> page;;) {
        {
          JobLock lock(world.core());
          page = monitor::QueryPage(world.core(), cursor, 1);
        }
        if (page.empty()) break;
        if (page[0].id != "first") continue;
        ++seen;
        Require(!IsPaused(page[0].status) || page[0].pause_reasons.size() == 1, "a record is one of a moment");
      }
      Require(seen == 1, "a job that lives throughout is seen once");
    }
    finish.store(true);
    Enter(*first);
    other.join();
    (void)world.AwaitEnd(first);
    {
      JobLock lock(world.core());
      const monitor::JobRecordPtr record = monitor::FindRecord(world.core(), "first");
      Require(record != nullptr && record->outcome.succeeded(), "a concluded job has its record");
    }
    RequireOk(world.Dismiss(first), "dismiss");
  }
}
TEST(Core, QueriesSeeWhatLives) { RunScenario(&QueriesSeeWhatLives); }

}  // namespace
}  // namespace jobcore::threads
