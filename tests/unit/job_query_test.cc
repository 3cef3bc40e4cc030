// SPDX-License-Identifier: Apache-2.0
//
// Looking at jobs, page by page, and reading their events.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using monitor::EventObserver;
using monitor::JobInfo;
using monitor::QueryCursor;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<JobInfo> Page(TestWorld& world, QueryCursor& cursor, size_t max = monitor::kMaxPage) {
  JobLock lock(world.core());
  return monitor::QueryPage(world.core(), cursor, max);
}

TEST(JobQuery, ShowsTheWholeRecord) {
  TestWorld world({.io_threads = 1});
  const JobRef job = world.Start(
      {.id = "j", .context = &world.io(), .auto_finalize = false, .auto_dismiss = false, .unit = ProgressUnit::kSteps},
      {.run = [](JobContext& self) -> Co<absl::Status> {
         self.progress().SetRemaining(100);
         self.progress().Advance(40);
         self.PublishDetails({{"actively-synced", "true"}, {"copy-mode", "background"}});
         self.Ready({.complete = true, .soft_cancel = true});
         co_return co_await self.Yield();
       },
       .type = "mirror"});
  ASSERT_TRUE(world.RunUntilStatus(job, "ready"));
  ASSERT_TRUE(world.Pause(job).ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "standby"));
  ASSERT_TRUE(world.Pause(job, "error").ok());
  const JobInfo info = world.Query(job);
  EXPECT_EQ(info.id, "j");
  EXPECT_EQ(info.number, job->number());
  EXPECT_EQ(info.type, "mirror");
  EXPECT_EQ(info.status, JobStatus::kStandby);
  EXPECT_THAT(info.pause_reasons, ElementsAre("user", "error"));
  EXPECT_FALSE(info.cancelling);
  EXPECT_FALSE(info.auto_finalize);
  EXPECT_FALSE(info.auto_dismiss);
  EXPECT_TRUE(info.capabilities.complete);
  EXPECT_TRUE(info.capabilities.soft_cancel);
  EXPECT_EQ(info.unit, ProgressUnit::kSteps);
  EXPECT_EQ(info.progress.current, 40u);
  EXPECT_EQ(info.progress.total, 100u);
  EXPECT_FALSE(info.outcome.has_value());
  ASSERT_NE(info.details, nullptr);
  EXPECT_EQ(*info.details, (JobDetails{{"actively-synced", "true"}, {"copy-mode", "background"}}));
  EXPECT_EQ(info.last_event, world.LastEvent());
  ASSERT_TRUE(world.Cancel(job).ok());
  EXPECT_TRUE(world.Query(job).cancelling);
}

TEST(JobQuery, AFreshJobHasNeitherOutcomeNorDetails) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j"}, {});
  const JobInfo info = world.Query(job);
  EXPECT_EQ(info.status, JobStatus::kCreated);
  EXPECT_EQ(info.details, nullptr);
  EXPECT_FALSE(info.outcome.has_value());
  EXPECT_EQ(info.progress.current, 0u);
  EXPECT_EQ(info.last_event, 1u);
}

TEST(JobQuery, LastEventIsThatOfTheJobAndNotOfTheCore) {
  TestWorld world;
  const JobRef a = world.Create({.id = "a"}, {});
  const JobRef b = world.Create({.id = "b"}, {});
  EXPECT_EQ(world.Query(a).last_event, 1u);
  EXPECT_EQ(world.Query(b).last_event, 2u);
}

TEST(JobQuery, NewDetailsReplaceOldOnesAndARecordKeepsItsOwn) {
  TestWorld world;
  const JobRef job = world.Start({.id = "j"}, {.run = [](JobContext& self) -> Co<absl::Status> {
                                   self.PublishDetails({{"step", "1"}});
                                   (co_await self.Yield()).IgnoreError();
                                   self.PublishDetails({{"step", "2"}});
                                   co_return co_await self.Yield();
                                 }});
  world.Settle();
  const JobInfo before = world.Query(job);
  Enter(*job);
  world.Settle();
  EXPECT_EQ(*before.details, (JobDetails{{"step", "1"}}));
  EXPECT_EQ(*world.Query(job).details, (JobDetails{{"step", "2"}}));
}

TEST(JobQuery, PagesAreNewestFirst) {
  TestWorld world;
  std::vector<JobRef> jobs;
  for (int i = 0; i < 5; ++i) jobs.push_back(world.Create({.id = "j" + std::to_string(i)}, {}));
  QueryCursor cursor;
  Strings seen;
  for (;;) {
    const std::vector<JobInfo> page = Page(world, cursor, 2);
    for (const JobInfo& info : page) seen.push_back(info.id);
    if (page.size() < 2) break;
  }
  EXPECT_THAT(seen, ElementsAre("j4", "j3", "j2", "j1", "j0"));
  EXPECT_THAT(Page(world, cursor, 2), IsEmpty());
}

TEST(JobQuery, NoPageHasMoreThan64) {
  TestWorld world;
  std::vector<JobRef> jobs;
  for (int i = 0; i < 150; ++i) jobs.push_back(world.Create({.id = "j" + std::to_string(i)}, {}));
  QueryCursor cursor;
  EXPECT_THAT(Page(world, cursor, 1000), SizeIs(64));
  EXPECT_THAT(Page(world, cursor), SizeIs(64));
  EXPECT_THAT(Page(world, cursor), SizeIs(22));
  EXPECT_THAT(monitor::SnapshotJobs(world.core()), SizeIs(150));
}

TEST(JobQuery, ARecordThatIsUsedAgainShowsNothingOfTheJobBefore) {
  TestWorld world;
  const JobRef before = world.Start({.id = "before", .auto_dismiss = false, .speed = 1000},
                                    {.run = [](JobContext& self) -> Co<absl::Status> {
                                       self.progress().SetRemaining(100);
                                       self.PublishDetails({{"step", "1"}});
                                       (void)co_await self.Sleep(std::chrono::seconds(1));
                                       co_return absl::DataLossError("bad block");
                                     },
                                     .type = "a type with a name that takes memory of its own"});
  world.Settle();
  ASSERT_TRUE(world.Pause(before).ok());
  std::vector<JobInfo> page;
  const auto look = [&] {
    QueryCursor cursor;
    JobLock lock(world.core());
    monitor::QueryPage(world.core(), cursor, page);
  };
  look();
  ASSERT_THAT(page, SizeIs(1));
  EXPECT_THAT(page[0].pause_reasons, ElementsAre("user"));
  ASSERT_TRUE(world.Resume(before).ok());
  ASSERT_TRUE(world.RunUntilStatus(before, "concluded"));
  look();
  ASSERT_THAT(page, SizeIs(1));
  EXPECT_THAT(page[0].pause_reasons, IsEmpty());
  EXPECT_TRUE(page[0].outcome.has_value());
  EXPECT_TRUE(page[0].times.concluded.has_value());
  EXPECT_THAT(page[0].times.pauses, SizeIs(1));
  EXPECT_EQ(page[0].speed, 1000);

  ASSERT_TRUE(world.Dismiss(before).ok());
  const JobRef after = world.Create({.id = "after"}, {});
  look();
  ASSERT_THAT(page, SizeIs(1));
  const JobInfo& info = page[0];
  EXPECT_EQ(info.id, "after");
  EXPECT_EQ(info.type, after->type());
  EXPECT_EQ(info.status, JobStatus::kCreated);
  EXPECT_EQ(info.outcome, std::nullopt);
  EXPECT_EQ(info.details, nullptr);
  EXPECT_EQ(info.eta, std::nullopt);
  EXPECT_EQ(info.speed, 0);
  EXPECT_EQ(info.progress.total, 0u);
  EXPECT_FALSE(info.times.started.has_value());
  EXPECT_FALSE(info.times.concluded.has_value());
  EXPECT_THAT(info.times.pauses, IsEmpty());
  EXPECT_EQ(info.times.Running(), Nanoseconds(0));
  EXPECT_EQ(info.times.In(JobStatus::kConcluded), Nanoseconds(0));
}

TEST(JobQuery, ASnapshotTakesThePlaceOfTheOneBefore) {
  TestWorld world;
  std::vector<JobRef> jobs;
  for (int i = 0; i < 130; ++i) jobs.push_back(world.Create({.id = "j" + std::to_string(i)}, {}));
  std::vector<JobInfo> all;
  monitor::SnapshotJobs(world.core(), all);
  EXPECT_THAT(all, SizeIs(130));
  for (int i = 0; i < 128; ++i) ASSERT_TRUE(AbandonJob(*jobs[static_cast<size_t>(i)]).ok());
  monitor::SnapshotJobs(world.core(), all);
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].id, "j129");
  EXPECT_EQ(all[1].id, "j128");
  for (int i = 128; i < 130; ++i) ASSERT_TRUE(AbandonJob(*jobs[static_cast<size_t>(i)]).ok());
  monitor::SnapshotJobs(world.core(), all);
  EXPECT_THAT(all, IsEmpty());
}

TEST(JobQuery, AJobThatLivesThroughoutAWalkIsSeenExactlyOnceWhateverComesAndGoes) {
  for (size_t page_size : {1u, 2u, 3u, 7u}) {
    TestWorld world;
    std::vector<JobRef> jobs;
    std::set<std::string> stay;
    for (int i = 0; i < 20; ++i) {
      jobs.push_back(world.Start({.id = "j" + std::to_string(i), .auto_dismiss = false}, {}));
      if (i % 3 != 0) stay.insert(jobs.back()->id());
    }
    world.Settle();
    QueryCursor cursor;
    std::map<std::string, int> seen;
    size_t next_to_go = 0;
    int fresh = 0;
    for (;;) {
      const std::vector<JobInfo> page = Page(world, cursor, page_size);
      for (const JobInfo& info : page) ++seen[info.id];
      if (page.size() < page_size) break;
      world.Create({.id = "new" + std::to_string(fresh++)}, {});
      // Dismisses from both ends: what has been seen and what has not.
      for (size_t end : {next_to_go, jobs.size() - 1 - next_to_go})
        if (end % 3 == 0) world.Dismiss(jobs[end]).IgnoreError();
      ++next_to_go;
      if (next_to_go == jobs.size()) next_to_go = 0;
    }
    for (const std::string& id : stay) EXPECT_EQ(seen[id], 1) << id;
    for (const auto& [id, times] : seen) EXPECT_EQ(times, 1) << id;
  }
}

TEST(JobQuery, ASnapshotTakenWhileAnotherThreadCreatesAndDismissesHasEveryLastingJobOnce) {
  TestWorld world;
  std::vector<JobRef> lasting;
  for (int i = 0; i < 100; ++i) lasting.push_back(world.Create({.id = "l" + std::to_string(i)}, {}));
  std::atomic<bool> stop{false};
  std::thread churn([&] {
    for (int i = 0; !stop.load(); ++i) {
      const JobRef job = world.Create({.id = "c" + std::to_string(i)}, {});
      EXPECT_TRUE(AbandonJob(*job).ok());
    }
  });
  for (int i = 0; i < 50; ++i) {
    std::map<std::string, int> seen;
    uint64_t last = UINT64_MAX;
    for (const JobInfo& info : monitor::SnapshotJobs(world.core())) {
      ++seen[info.id];
      EXPECT_LT(info.number, last);
      last = info.number;
    }
    for (const JobRef& job : lasting) EXPECT_EQ(seen[job->id()], 1) << job->id();
    world.main().RunOnce(false);
  }
  stop = true;
  churn.join();
}

TEST(JobEvents, APageHasAtMostWhatWasAskedForAndTheCursorGoesOn) {
  TestWorld world;
  std::vector<JobRef> jobs;
  for (int i = 0; i < 100; ++i) jobs.push_back(world.Create({.id = "j" + std::to_string(i)}, {}));
  EventCursor cursor;
  const auto read = [&](size_t max) {
    JobLock lock(world.core());
    return world.core().ReadEvents(cursor, max);
  };
  EXPECT_EQ(read(10).events.size(), 10u);
  EXPECT_EQ(cursor.next, 11u);
  EXPECT_EQ(read(1000).events.size(), 64u);
  const EventPage rest = read(64);
  ASSERT_EQ(rest.events.size(), 26u);
  EXPECT_EQ(rest.events.back().sequence, world.LastEvent());
  EXPECT_EQ(rest.events.back().job_id, "j99");
  EXPECT_EQ(rest.lost, 0u);
  EXPECT_TRUE(read(64).events.empty());
}

TEST(JobEvents, WhoFallsBehindLearnsHowManyAreLost) {
  TestWorld world({.event_capacity = 8});
  std::vector<JobRef> jobs;
  for (int i = 0; i < 20; ++i) jobs.push_back(world.Create({.id = "j" + std::to_string(i)}, {}));
  EventCursor cursor;
  JobLock lock(world.core());
  const EventPage page = world.core().ReadEvents(cursor);
  EXPECT_EQ(page.lost, 12u);
  ASSERT_EQ(page.events.size(), 8u);
  EXPECT_EQ(page.events.front().sequence, 13u);
  EXPECT_EQ(page.events.front().job_id, "j12");
  EXPECT_EQ(world.core().ReadEvents(cursor).lost, 0u);  // told once
}

TEST(JobEvents, ARingOfOneStillCounts) {
  TestWorld world({.event_capacity = 1});
  const JobRef job = world.Start({.id = "j"}, {});
  ASSERT_TRUE(world.RunUntilNull(job));
  EventCursor cursor;
  JobLock lock(world.core());
  const EventPage page = world.core().ReadEvents(cursor);
  EXPECT_EQ(page.lost, 5u);
  ASSERT_EQ(page.events.size(), 1u);
  EXPECT_EQ(page.events[0].status, JobStatus::kNull);
}

TEST(JobEvents, CarryTheTimeOfTheMainContext) {
  TestWorld world({.virtual_time = true});
  const TimePoint start = world.clock().Now();
  const JobRef job = world.Start({.id = "j"}, {.run = [](JobContext& self) -> Co<absl::Status> {
                                   co_return co_await self.Sleep(std::chrono::seconds(5));
                                 }});
  world.Settle();
  world.clock().Advance(std::chrono::seconds(5));
  ASSERT_TRUE(world.RunUntilNull(job));
  EventCursor cursor;
  JobLock lock(world.core());
  const std::vector<JobEvent> events = world.core().ReadEvents(cursor).events;
  EXPECT_EQ(events.front().time, start);
  EXPECT_EQ(events.back().time, start + std::chrono::seconds(5));
  for (size_t i = 1; i < events.size(); ++i) EXPECT_GE(events[i].time, events[i - 1].time);
}

// An observer that writes down what it is told.
struct Watcher {
  EventObserver::Callback Callback() {
    return [this](const EventPage& page) {
      EXPECT_EQ(internal::HeldJobMutex(), nullptr);
      ++calls;
      lost += page.lost;
      for (const JobEvent& e : page.events) seen.push_back(e);
    };
  }
  Strings Text() const {
    Strings result;
    for (const JobEvent& e : seen) result.push_back(e.job_id + " " + std::string(JobStatusName(e.status)));
    return result;
  }
  int calls = 0;
  uint64_t lost = 0;
  std::vector<JobEvent> seen;
};

TEST(JobEventObserver, HasTheEventsBroughtInOrder) {
  TestWorld world;
  Watcher watcher;
  EventObserver observer(world.core(), world.main(), watcher.Callback());
  const JobRef job = world.Start({.id = "j"}, {});
  EXPECT_EQ(watcher.calls, 0);  // from the loop only
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_THAT(watcher.Text(), ElementsAre("j created", "j running", "j waiting", "j pending", "j concluded", "j null"));
  for (size_t i = 0; i < watcher.seen.size(); ++i) EXPECT_EQ(watcher.seen[i].sequence, i + 1);
}

TEST(JobEventObserver, IsCalledOncePerBatch) {
  TestWorld world;
  Watcher watcher;
  EventObserver observer(world.core(), world.main(), watcher.Callback());
  std::vector<JobRef> jobs;
  for (int i = 0; i < 10; ++i) jobs.push_back(world.Create({.id = "j" + std::to_string(i)}, {}));
  world.Settle();
  EXPECT_EQ(watcher.seen.size(), 10u);
  EXPECT_EQ(watcher.calls, 1);
  world.Settle();
  EXPECT_EQ(watcher.calls, 1);  // never with nothing
}

TEST(JobEventObserver, ByDefaultSeesOnlyWhatComes) {
  TestWorld world;
  const JobRef before = world.Create({.id = "before"}, {});
  Watcher from_now;
  Watcher from_start;
  EventObserver a(world.core(), world.main(), from_now.Callback());
  EventObserver b(world.core(), world.main(), from_start.Callback(), EventCursor{});
  const JobRef after = world.Create({.id = "after"}, {});
  world.Settle();
  EXPECT_THAT(from_now.Text(), ElementsAre("after created"));
  EXPECT_THAT(from_start.Text(), ElementsAre("before created", "after created"));
}

TEST(JobEventObserver, FromAnOldCursorItGetsTheOldEventsWithoutWaitingForANewOne) {
  TestWorld world;
  const JobRef job = world.Create({.id = "j"}, {});
  Watcher watcher;
  EventObserver observer(world.core(), world.main(), watcher.Callback(), EventCursor{});
  world.Settle();
  EXPECT_THAT(watcher.Text(), ElementsAre("j created"));
}

TEST(JobEventObserver, IsToldHowManyItHasLost) {
  TestWorld world({.event_capacity = 4});
  Watcher watcher;
  EventObserver observer(world.core(), world.main(), watcher.Callback());
  std::vector<JobRef> jobs;
  for (int i = 0; i < 10; ++i) jobs.push_back(world.Create({.id = "j" + std::to_string(i)}, {}));
  world.Settle();
  EXPECT_EQ(watcher.lost, 6u);
  EXPECT_EQ(watcher.seen.size(), 4u);
  EXPECT_EQ(watcher.seen.front().job_id, "j6");
}

TEST(JobEventObserver, LivesInTheContextOfItsChoice) {
  TestWorld world({.io_threads = 1});
  std::atomic<int> seen{0};
  EventObserver observer(world.core(), world.io(), [&](const EventPage& page) {
    EXPECT_TRUE(world.io().IsHome());
    seen += static_cast<int>(page.events.size());
  });
  const JobRef job = world.Start({.id = "j"}, {});
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_TRUE(world.RunUntil([&] { return seen.load() == 6; }, "six events"));
}

TEST(JobEventObserver, MayBeClosedFromItsOwnCallback) {
  TestWorld world;
  int calls = 0;
  std::optional<EventObserver> observer;
  observer.emplace(world.core(), world.main(), [&](const EventPage&) {
    ++calls;
    observer->Close();
  });
  const JobRef a = world.Create({.id = "a"}, {});
  world.Settle();
  const JobRef b = world.Create({.id = "b"}, {});
  world.Settle();
  EXPECT_EQ(calls, 1);
}

TEST(JobEventObserver, MayBeDestroyedFromItsOwnCallback) {
  TestWorld world;
  int calls = 0;
  std::optional<EventObserver> observer;
  observer.emplace(world.core(), world.main(), [&](const EventPage&) {
    ++calls;
    observer.reset();
  });
  const JobRef a = world.Create({.id = "a"}, {});
  world.Settle();
  const JobRef b = world.Create({.id = "b"}, {});
  world.Settle();
  EXPECT_EQ(calls, 1);
}

TEST(JobEventObserver, MayActOnJobsInItsCallback) {
  TestWorld world;
  EventObserver observer(world.core(), world.main(), [&](const EventPage& page) {
    for (const JobEvent& e : page.events) {
      if (e.status != JobStatus::kPending) continue;
      JobLock lock(world.core());
      Job* job = monitor::Find(world.core(), e.job_id);
      ASSERT_NE(job, nullptr);
      EXPECT_TRUE(monitor::Finalize(*job).ok());
    }
  });
  const JobRef job = world.Start({.id = "j", .auto_finalize = false}, {});
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(JobEventObserver, NoCallBeginsAfterClose) {
  TestWorld world({.io_threads = 1});
  for (int round = 0; round < 200; ++round) {
    std::atomic<bool> closed{false};
    EventObserver observer(world.core(), world.io(), [&](const EventPage&) { EXPECT_FALSE(closed.load()); });
    const JobRef job = world.Create({.id = "j"}, {});
    EXPECT_TRUE(AbandonJob(*job).ok());
    observer.Close();
    closed = true;
    const JobRef later = world.Create({.id = "j"}, {});
    EXPECT_TRUE(AbandonJob(*later).ok());
    world.main().RunOnce(false);
  }
  world.Settle();
}

TEST(JobEventObserver, CloseAsyncWaitsForACallInProgress) {
  TestWorld world({.io_threads = 1});
  std::atomic<bool> in_call{false};
  std::atomic<bool> go_on{false};
  std::atomic<bool> finished{false};
  EventObserver observer(world.core(), world.io(), [&](const EventPage&) {
    in_call = true;
    while (!go_on) std::this_thread::yield();
    finished = true;
  });
  const JobRef job = world.Create({.id = "j"}, {});
  ASSERT_TRUE(world.RunUntil([&] { return in_call.load(); }, "the call"));
  bool closed = false;
  const auto close = [&]() -> Co<void> {
    co_await observer.CloseAsync();
    EXPECT_TRUE(finished.load());
    closed = true;
  };
  world.main().Post("close", [&] { Spawn("close", close()); });
  for (int i = 0; i < 50; ++i) world.main().RunOnce(false);
  EXPECT_FALSE(closed);
  go_on = true;
  EXPECT_TRUE(world.RunUntil([&] { return closed; }, "CloseAsync"));
}

TEST(JobEventObserver, TwoObserversEachHaveTheirOwnCursor) {
  TestWorld world({.io_threads = 1});
  Watcher slow;
  std::atomic<int> fast{0};
  EventObserver a(world.core(), world.main(), slow.Callback());
  EventObserver b(world.core(), world.io(),
                  [&](const EventPage& page) { fast += static_cast<int>(page.events.size()); });
  const JobRef job = world.Create({.id = "j"}, {});
  ASSERT_TRUE(world.RunUntil([&] { return fast.load() == 1; }, "the fast one"));
  EXPECT_TRUE(world.RunUntil([&] { return slow.seen.size() == 1; }, "the slow one"));
}

TEST(JobEventText, IsForPeople) {
  JobEvent event;
  event.job_id = "j";
  event.status = JobStatus::kAborting;
  event.outcome = JobOutcome::Failed(absl::DataLossError("gone"));
  EXPECT_THAT(ToString(event), testing::HasSubstr("aborting"));
  EXPECT_THAT(ToString(event), testing::HasSubstr("gone"));
}

}  // namespace
}  // namespace jobcore
