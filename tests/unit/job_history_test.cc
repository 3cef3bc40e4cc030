// SPDX-License-Identifier: Apache-2.0
//
// Concluded jobs, after they are gone.

#include "job-monitor/job_history.h"

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job/history.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using internal::JobHistory;
using monitor::HistoryCursor;
using monitor::JobRecord;
using monitor::JobRecordPtr;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

template <typename Key>  // an id or a number
JobRecordPtr Find(TestWorld& world, Key key) {
  JobLock lock(world.core());
  return monitor::FindRecord(world.core(), key);
}

std::vector<JobRecordPtr> Page(TestWorld& world, HistoryCursor& cursor, size_t max = monitor::kMaxPage) {
  JobLock lock(world.core());
  return monitor::HistoryPage(world.core(), cursor, max);
}

Strings Ids(const std::vector<JobRecordPtr>& records) {
  Strings ids;
  for (const JobRecordPtr& record : records) ids.push_back(record->id);
  return ids;
}

Strings All(TestWorld& world) {
  HistoryCursor cursor;
  return Ids(Page(world, cursor));
}

class History : public ::testing::Test {
 protected:
  // Runs a job to its end, dismissal included, and returns its number.
  uint64_t Run(std::string id, absl::Status result = absl::OkStatus()) {
    const JobRef job = world.Start({.id = std::move(id)}, Returning(std::move(result)));
    EXPECT_TRUE(world.RunUntilNull(job));
    return job->number();
  }
  void Pass(Nanoseconds time) { world.clock().Advance(time); }

  TestWorld world{{.virtual_time = true, .history_count = 5, .history_age = hours(1)}};
};

TEST_F(History, ARecordShowsHowTheJobEnded) {
  const TimePoint start = world.clock().Now();
  const JobRef job = world.Create({.id = "j", .auto_finalize = false, .unit = ProgressUnit::kSteps},
                                  {.run = [](JobContext& self) -> Co<absl::Status> {
                                     self.progress().SetRemaining(100);
                                     self.progress().Advance(40);
                                     self.PublishDetails({{"copy-mode", "background"}});
                                     co_return co_await self.Sleep(seconds(2));
                                   },
                                   .type = "mirror"});
  Pass(seconds(1));
  ASSERT_TRUE(StartJob(*job).ok());
  world.Settle();
  ASSERT_TRUE(world.Pause(job, "error").ok());
  world.Settle();
  Pass(seconds(10));
  world.Settle();
  ASSERT_TRUE(world.Resume(job, "error").ok());
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  EXPECT_EQ(Find(world, "j"), nullptr);
  Pass(seconds(4));
  ASSERT_TRUE(world.Finalize(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));

  const JobRecordPtr record = Find(world, "j");
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->id, "j");
  EXPECT_EQ(record->number, job->number());
  EXPECT_EQ(record->group, job->number());
  EXPECT_EQ(record->type, "mirror");
  EXPECT_FALSE(record->auto_finalize);
  EXPECT_TRUE(record->auto_dismiss);
  EXPECT_EQ(record->outcome, JobOutcome::Succeeded());
  EXPECT_EQ(record->unit, ProgressUnit::kSteps);
  EXPECT_EQ(record->progress.current, 40u);
  EXPECT_EQ(record->progress.total, 100u);
  EXPECT_TRUE(record->progress.total_known);
  ASSERT_NE(record->details, nullptr);
  EXPECT_EQ(*record->details, (JobDetails{{"copy-mode", "background"}}));
  EXPECT_EQ(record->times.created.time, start);
  EXPECT_EQ(record->times.started->time, start + seconds(1));
  EXPECT_EQ(record->times.concluded->time, start + seconds(15));
  EXPECT_EQ(record->times.concluded->wall - record->times.created.wall, seconds(15));
  EXPECT_EQ(record->times.In(JobStatus::kPaused), seconds(10));
  EXPECT_EQ(record->times.In(JobStatus::kPending), seconds(4));
  EXPECT_EQ(record->times.In(JobStatus::kConcluded), seconds(0));
  ASSERT_THAT(record->times.pauses, SizeIs(1));
  EXPECT_EQ(record->times.pauses[0].reason, "error");
  EXPECT_EQ(record->times.pauses[0].time, seconds(10));
}

TEST_F(History, AConcludedJobIsInItBeforeAndAfterItsDismissal) {
  const JobRef job = world.Start({.id = "j", .auto_dismiss = false}, {});
  EXPECT_EQ(Find(world, "j"), nullptr);
  ASSERT_TRUE(world.RunUntilStatus(job, "concluded"));
  const JobRecordPtr before = Find(world, "j");
  ASSERT_NE(before, nullptr);
  Pass(seconds(3));
  ASSERT_TRUE(world.Dismiss(job).ok());
  EXPECT_EQ(Find(world, "j"), before);
  EXPECT_EQ(before->times.In(JobStatus::kConcluded), seconds(0));
}

TEST_F(History, AFailureKeepsItsCodeAndItsMessage) {
  Run("j", absl::ResourceExhaustedError("No space left on 'disk0'"));
  const JobRecordPtr record = Find(world, "j");
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->outcome.kind, JobOutcome::Kind::kFailed);
  EXPECT_EQ(record->outcome.code, absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(record->outcome.message, "No space left on 'disk0'");
}

TEST_F(History, AFailureAtTheLastStepIsWhatTheRecordSays) {
  const JobRef job =
      world.Start({.id = "j"}, {.commit = []() -> Co<absl::Status> { co_return absl::DataLossError("no"); }});
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(Find(world, "j")->outcome.code, absl::StatusCode::kDataLoss);
}

TEST_F(History, AJobThatWasCancelledBeforeItsStartIsInIt) {
  const JobRef job = world.Create({.id = "j"}, {});
  Pass(seconds(3));
  ASSERT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  const JobRecordPtr record = Find(world, job->number());
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->outcome.kind, JobOutcome::Kind::kCancelled);
  EXPECT_FALSE(record->times.started.has_value());
  EXPECT_EQ(record->times.In(JobStatus::kCreated), seconds(3));
}

TEST_F(History, AbandonedAndInternalJobsAreNot) {
  const JobRef abandoned = world.Create({.id = "j"}, {});
  ASSERT_TRUE(AbandonJob(*abandoned).ok());
  const JobRef internal = world.Start({.internal = true}, {});
  ASSERT_TRUE(world.RunUntilNull(internal));
  EXPECT_EQ(Find(world, abandoned->number()), nullptr);
  EXPECT_EQ(Find(world, internal->number()), nullptr);
  EXPECT_EQ(Find(world, ""), nullptr);
  EXPECT_THAT(All(world), IsEmpty());
}

TEST_F(History, MembersOfAGroupHaveARecordEachWithTheGroupsNumber) {
  JobTxnBuilder group(world.core());
  const JobRef a = world.Create({.id = "a", .group = &group}, {});
  const JobRef b = world.Create({.id = "b", .group = &group}, Returning(absl::DataLossError("b is broken")));
  const JobRef c = world.Create({.id = "c", .group = &group}, {});  // never started
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(StartJob(*a).ok());
  ASSERT_TRUE(StartJob(*b).ok());
  ASSERT_TRUE(world.RunUntilNull(a));
  EXPECT_EQ(Find(world, "a")->outcome.kind, JobOutcome::Kind::kCancelled);
  EXPECT_EQ(Find(world, "b")->outcome.message, "b is broken");
  EXPECT_EQ(Find(world, "c")->outcome.kind, JobOutcome::Kind::kCancelled);
  EXPECT_EQ(Find(world, "a")->group, Find(world, "b")->group);
  EXPECT_EQ(Find(world, "a")->group, Find(world, "c")->group);
  EXPECT_NE(Find(world, "a")->group, a->number());
}

TEST_F(History, AnIdFindsTheJobThatUsedItLastANumberEachOfThem) {
  const uint64_t first = Run("j");
  const uint64_t second = Run("j", absl::DataLossError("second"));
  Run("other");
  EXPECT_EQ(Find(world, "j")->number, second);
  EXPECT_EQ(Find(world, first)->outcome, JobOutcome::Succeeded());
  EXPECT_EQ(Find(world, second)->outcome.message, "second");
  const JobRef living = world.Create({.id = "j"}, {});
  EXPECT_EQ(Find(world, "j")->number, second);
  EXPECT_EQ(Find(world, living->number()), nullptr);
  EXPECT_EQ(Find(world, "nobody"), nullptr);
  EXPECT_EQ(Find(world, uint64_t{4711}), nullptr);
}

TEST_F(History, AnIdIsFoundAsLongAsTheLastOfItsJobsIsKept) {
  Run("j");
  const uint64_t second = Run("j");
  for (int i = 0; i < 4; ++i) {  // the first has to go
    Run("k");
    ASSERT_NE(Find(world, "j"), nullptr) << i;
    EXPECT_EQ(Find(world, "j")->number, second);
  }
  Run("k");
  EXPECT_EQ(Find(world, "j"), nullptr);
}

TEST_F(History, TheOnesThatConcludedLastComeFirst) {
  const JobRef a = world.Create({.id = "a"}, {});
  const JobRef b = world.Create({.id = "b"}, {});
  const JobRef c = world.Create({.id = "c"}, {});
  for (const JobRef& job : {b, c, a}) {
    ASSERT_TRUE(StartJob(*job).ok());
    ASSERT_TRUE(world.RunUntilNull(job));
  }
  EXPECT_THAT(All(world), ElementsAre("a", "c", "b"));
}

TEST_F(History, KeepsNoMoreThanItsCountAndTheFirstGoFirst) {
  const uint64_t first = Run("j0");
  for (int i = 1; i < 8; ++i) Run("j" + std::to_string(i));
  EXPECT_THAT(All(world), ElementsAre("j7", "j6", "j5", "j4", "j3"));
  EXPECT_EQ(Find(world, first), nullptr);
  EXPECT_EQ(Find(world, "j2"), nullptr);
  EXPECT_NE(Find(world, "j3"), nullptr);
}

TEST_F(History, KeepsNothingLongerThanItsAge) {
  const uint64_t a = Run("a");
  Pass(minutes(30));
  Run("b");
  Pass(minutes(30));
  EXPECT_THAT(All(world), ElementsAre("b", "a"));  // to the last nanosecond
  Pass(Nanoseconds(1));
  EXPECT_EQ(Find(world, "a"), nullptr);
  EXPECT_EQ(Find(world, a), nullptr);
  EXPECT_THAT(All(world), ElementsAre("b"));
  Pass(hours(1));
  EXPECT_THAT(All(world), IsEmpty());
}

TEST_F(History, WhoHoldsARecordKeepsIt) {
  Run("a", absl::DataLossError("lost"));
  const JobRecordPtr record = Find(world, "a");
  Pass(hours(2));
  Run("b");
  EXPECT_EQ(Find(world, "a"), nullptr);
  EXPECT_EQ(record.use_count(), 1);
  EXPECT_EQ(record->outcome.message, "lost");
}

TEST_F(History, ANewRecordMakesOldOnesGoEvenIfNobodyLooks) {
  Run("a");
  std::weak_ptr<const JobRecord> a = Find(world, "a");
  Pass(hours(2));
  Run("b");
  EXPECT_TRUE(a.expired());
}

TEST(HistoryOff, WithACountOfZeroThereIsNone) {
  TestWorld world({.history_count = 0});
  const JobRef job = world.Start({.id = "j"}, {});
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(Find(world, "j"), nullptr);
  EXPECT_THAT(All(world), IsEmpty());
}

TEST(HistoryDefaults, AreAThousandRecordsAndAnHour) {
  const JobCore::Options options;
  EXPECT_EQ(options.history_count, 1024u);
  EXPECT_EQ(options.history_age, hours(1));
}

// --- Pages ---

TEST(HistoryPages, NoPageHasMoreThan64AndAShortOneIsTheLast) {
  TestWorld world({.virtual_time = true});
  for (int i = 0; i < 150; ++i) world.Start({.id = "j" + std::to_string(i)}, {});
  world.Settle();
  HistoryCursor cursor;
  EXPECT_THAT(Page(world, cursor, 1000), SizeIs(64));
  EXPECT_THAT(Page(world, cursor), SizeIs(64));
  EXPECT_THAT(Page(world, cursor), SizeIs(22));
  EXPECT_THAT(Page(world, cursor), IsEmpty());
}

TEST(HistoryPages, ARecordThatIsKeptThroughoutAWalkIsSeenExactlyOnceWhateverComesAndGoes) {
  for (size_t page_size : {1u, 2u, 3u, 7u}) {
    TestWorld world({.virtual_time = true, .history_count = 20});
    const auto run = [&](const std::string& id) { world.Start({.id = id}, {}); };
    for (int i = 0; i < 20; ++i) run("j" + std::to_string(i));
    world.Settle();
    HistoryCursor cursor;
    std::map<std::string, int> seen;
    int fresh = 0;
    for (;;) {
      const std::vector<JobRecordPtr> page = Page(world, cursor, page_size);
      for (const JobRecordPtr& record : page) ++seen[record->id];
      if (page.size() < page_size) break;
      run("new" + std::to_string(fresh++));  // and the oldest is gone
      world.Settle();
    }
    for (int i = fresh; i < 20; ++i) EXPECT_EQ(seen["j" + std::to_string(i)], 1) << i;
    for (const auto& [id, times] : seen) EXPECT_LE(times, 1) << id;
    EXPECT_EQ(seen.count("new0"), 0u);
  }
}

// --- The container ---

struct Container {
  explicit Container(size_t count, Nanoseconds age) : history(count, age) {}
  void Add(uint64_t number, TimePoint concluded, std::string id = "j") {
    auto record = std::make_shared<JobRecord>();
    record->number = number;
    record->id = std::move(id);
    record->times.concluded = Instant{.time = concluded};
    history.Expire(concluded, garbage);
    history.Add(std::move(record), garbage);
  }
  JobHistory history;
  JobHistory::Garbage garbage;
};

TEST(HistoryContainer, ManyOldRecordsGoALimitedNumberAtATimeButAreNotFoundAnyMore) {
  Container c(1000, seconds(10));
  for (uint64_t i = 1; i <= 500; ++i) c.Add(i, TimePoint(seconds(1)), "old" + std::to_string(i));
  c.Add(501, TimePoint(seconds(8)), "young");
  ASSERT_THAT(c.garbage, IsEmpty());
  c.history.Expire(TimePoint(seconds(12)), c.garbage);
  EXPECT_THAT(c.garbage, SizeIs(JobHistory::kMaxExpired));
  EXPECT_EQ(c.history.Find(uint64_t{500}), nullptr);
  EXPECT_EQ(c.history.Find("old500"), nullptr);
  EXPECT_NE(c.history.Find("young"), nullptr);
  HistoryCursor cursor;
  EXPECT_THAT(Ids(c.history.Page(cursor, 64)), ElementsAre("young"));
  for (int i = 0; i < 8; ++i) c.history.Expire(TimePoint(seconds(12)), c.garbage);
  EXPECT_THAT(c.garbage, SizeIs(500));
  EXPECT_NE(c.history.Find(uint64_t{501}), nullptr);
}

TEST(HistoryContainer, TheLongestOfAgesIsNoLimit) {
  Container c(3, Nanoseconds::max());
  c.Add(1, TimePoint(seconds(1)));
  c.history.Expire(TimePoint::max(), c.garbage);
  EXPECT_NE(c.history.Find(uint64_t{1}), nullptr);
}

TEST(HistoryContainer, AnIdOutlivesTheRecordThatHeldItsTextFirst) {
  Container c(2, seconds(10));
  const std::string id = "an id that is too long to be kept in a string object itself";
  c.Add(1, TimePoint(seconds(1)), id);
  c.Add(2, TimePoint(seconds(1)), id);
  c.Add(3, TimePoint(seconds(1)), "other");
  c.garbage.clear();
  EXPECT_EQ(c.history.Find(id)->number, 2u);
  c.Add(4, TimePoint(seconds(1)), "third");
  c.garbage.clear();
  EXPECT_EQ(c.history.Find(id), nullptr);
  EXPECT_EQ(c.history.Find("other")->number, 3u);
}

// Every job is, at every moment, alive or in the history.
TEST(HistoryRaces, AJobIsNeverInNeitherListAndRecordsAreReadWithoutTheMutex) {
  TestWorld world({.io_threads = 1, .history_count = 16});
  std::atomic<uint64_t> newest{0};
  std::atomic<bool> stop{false};
  const auto watch = [&] {
    while (!stop) {
      const uint64_t number = newest.load();
      JobRecordPtr record;
      bool alive;
      bool forgotten;
      {
        JobLock lock(world.core());
        alive = monitor::Find(world.core(), number) != nullptr;
        record = monitor::FindRecord(world.core(), number);
        forgotten = number + 16 <= newest.load();
      }
      EXPECT_TRUE(number == 0 || alive || record != nullptr || forgotten) << number;
      if (record != nullptr) {
        EXPECT_EQ(record->number, number);
        EXPECT_EQ(record->id, "j" + std::to_string(number));
        EXPECT_EQ(record->times.In(JobStatus::kConcluded), Nanoseconds(0));
      }
      HistoryCursor cursor;
      for (const JobRecordPtr& r : Page(world, cursor)) EXPECT_EQ(r->outcome.message, "m" + std::to_string(r->number));
    }
  };
  std::thread a(watch);
  std::thread b(watch);
  for (int i = 1; i <= 100; ++i) {
    const JobRef job = world.Start({.id = "j" + std::to_string(i), .context = &world.io()},
                                   Returning(absl::DataLossError("m" + std::to_string(i))));
    ASSERT_EQ(job->number(), static_cast<uint64_t>(i));
    newest = job->number();
    EXPECT_TRUE(world.RunUntilNull(job));
  }
  stop = true;
  a.join();
  b.join();
}

}  // namespace
}  // namespace jobcore
