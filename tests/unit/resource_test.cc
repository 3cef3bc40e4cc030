// SPDX-License-Identifier: Apache-2.0
//
// Resources and drained sections: who may enter, who waits for whom, what is counted when. Group G of the race
// catalogue, and; defects D6 and D13 of the reference.

#include "job-driver/resource.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-monitor/wait_dump.h"
#include "support/event.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A request that stays inside until it is told to go.
struct Request {
  support::Event go;
  bool admitted = false;
  bool done = false;
};

Co<void> Enter(Resource& resource, Request& request) {
  const Admission in = co_await resource.Admit();
  request.admitted = true;
  co_await request.go;
  request.done = true;
}

// A section that a coroutine opens, and ends when it is told to.
struct Drainer {
  support::Event end;
  absl::Status result = absl::UnknownError("not opened yet");
  bool opened() const { return result.ok(); }
  bool ended = false;
};

Co<void> Drain(std::vector<Resource*> resources, Drainer& drainer, TimePoint deadline = kNoDeadline) {
  absl::StatusOr<DrainedSection> section =
      co_await DrainedSection::Open(resources, {.name = "test section", .deadline = deadline});
  drainer.result = section.status();
  if (!section.ok()) co_return;
  for (const Resource* resource : resources) EXPECT_EQ(resource->in_flight(), 0u);
  co_await drainer.end;
  section->End();
  drainer.ended = true;
}

size_t Parked(TestWorld& world, const Resource& resource) JOBCORE_EXCLUDES(job_mutex) {
  JobLock lock(world.core());
  return resource.parked();
}

std::vector<std::string> Reasons(TestWorld& world, const JobRef& job) { return world.Query(job).pause_reasons; }

// --- Requests ---

TEST(Resource, AdmitsAtOnceAndCountsWhileNobodyDrains) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  Request a, b;
  Spawn("request", Enter(disk, a));
  Spawn("request", Enter(disk, b));
  EXPECT_TRUE(a.admitted && b.admitted);
  EXPECT_EQ(disk.in_flight(), 2u);
  a.go.Set();
  b.go.Set();
  EXPECT_EQ(disk.in_flight(), 0u);
}

TEST(Resource, SectionWaitsForWhatIsInsideAndParksWhatComes) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  Request inside, late;
  Drainer drainer;
  Spawn("request", Enter(disk, inside));
  Spawn("drain", Drain({&disk}, drainer));
  Spawn("request", Enter(disk, late));
  world.Settle();
  EXPECT_FALSE(drainer.opened());
  EXPECT_FALSE(late.admitted);
  inside.go.Set();
  ASSERT_TRUE(world.RunUntil([&] { return drainer.opened(); }));
  world.Settle();
  EXPECT_FALSE(late.admitted);
  EXPECT_EQ(disk.in_flight(), 0u);  // a parked request is not in flight
  EXPECT_EQ(Parked(world, disk), 1u);
  drainer.end.Set();
  EXPECT_EQ(disk.in_flight(), 1u);  // counted before it runs
  EXPECT_FALSE(late.admitted);
  ASSERT_TRUE(world.RunUntil([&] { return late.admitted; }));
  late.go.Set();
}

TEST(Resource, SectionOpenedRightAfterAnotherWaitsForThoseThatTheFirstHadParked) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  Request parked;
  Drainer first, second;
  Spawn("drain", Drain({&disk}, first));
  ASSERT_TRUE(first.opened());
  Spawn("request", Enter(disk, parked));
  first.end.Set();
  Spawn("drain", Drain({&disk}, second));  // before the request has run
  EXPECT_FALSE(second.opened());
  world.Settle();
  EXPECT_TRUE(parked.admitted);
  EXPECT_FALSE(second.opened());
  parked.go.Set();
  ASSERT_TRUE(world.RunUntil([&] { return second.opened(); }));
  second.end.Set();
}

Co<void> Note(Resource& resource, int number, std::vector<int>& order) {
  const Admission in = co_await resource.Admit();
  order.push_back(number);
}

TEST(Resource, RequestsOfOneContextGoOnInTheOrderInWhichTheyCame) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  Drainer drainer;
  std::vector<int> order;
  Spawn("drain", Drain({&disk}, drainer));
  for (int i = 0; i < 4; ++i) Spawn("request", Note(disk, i, order));
  drainer.end.Set();
  for (int i = 4; i < 8; ++i) Spawn("request", Note(disk, i, order));  // may not overtake
  world.Settle();
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  // And the fast way in is open again: it does not take the mutex.
  Resource::AdmitAwaiter fast = disk.Admit();
  {
    JobLock lock(world.core());
    ASSERT_TRUE(fast.await_ready());
  }
  (void)fast.await_resume();
}

TEST(Resource, SectionsNestAndOverlap) {
  TestWorld world;
  Resource disk(world.core(), "disk0"), log(world.core(), "log");
  Request to_disk, to_log;
  Drainer outer, inner, other;
  Spawn("drain", Drain({&disk}, outer));
  Spawn("drain", Drain({&disk, &disk}, inner));  // named twice is once
  Spawn("drain", Drain({&log, &disk}, other));
  ASSERT_TRUE(outer.opened() && inner.opened() && other.opened());
  Spawn("request", Enter(disk, to_disk));
  Spawn("request", Enter(log, to_log));
  inner.end.Set();
  world.Settle();
  EXPECT_FALSE(to_disk.admitted);
  outer.end.Set();
  world.Settle();
  EXPECT_FALSE(to_disk.admitted || to_log.admitted);
  other.end.Set();
  world.Settle();
  EXPECT_TRUE(to_disk.admitted && to_log.admitted);
  to_disk.go.Set();
  to_log.go.Set();
}

TEST(Resource, ParkedRequestThatIsDestroyedLeavesNoTrace) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  Drainer drainer;
  Spawn("drain", Drain({&disk}, drainer));
  {
    Request request;
    Co<void> frame = Enter(disk, request);
    CoRoot root([](CoRoot&) {});
    root.Start(frame);
    EXPECT_EQ(Parked(world, disk), 1u);
  }
  EXPECT_EQ(Parked(world, disk), 0u);
  drainer.end.Set();
  world.Settle();
  EXPECT_EQ(disk.in_flight(), 0u);
}

TEST(Resource, RequestThatIsDestroyedBetweenItsAdmissionAndItsTurnLeavesNoTrace) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  for (const bool joins_the_queue : {false, true}) {
    Drainer drainer;
    Spawn("drain", Drain({&disk}, drainer));
    Request first, second;
    {
      Co<void> frame = Enter(disk, first);
      CoRoot root([](CoRoot&) {});
      root.Start(frame);
      drainer.end.Set();
      Co<void> late = Enter(disk, second);  // behind the first, without having been parked
      CoRoot late_root([](CoRoot&) {});
      if (joins_the_queue) late_root.Start(late);
      EXPECT_EQ(disk.in_flight(), joins_the_queue ? 2u : 1u);
    }
    EXPECT_EQ(disk.in_flight(), 0u);
    world.Settle();
    EXPECT_FALSE(first.admitted || second.admitted);
    // The way in is free again.
    Request third;
    Spawn("request", Enter(disk, third));
    EXPECT_TRUE(third.admitted);
    third.go.Set();
  }
}

Co<void> NoteOf(Resource& asked, const Producer& producer, std::string name, std::vector<std::string>& order) {
  Resource::AdmitAwaiter admitted = asked.Admit(producer, nullptr);
  const Admission in = co_await admitted;
  order.push_back(name + " at " + in.resource()->name());
}

TEST(Resource, ParkedRequestsGoWhereTheirProducerIsSentAndKeepTheirOrder) {
  TestWorld world;
  Resource from(world.core(), "from"), to(world.core(), "to");
  Producer a(from), b(from);
  Drainer both, longer;
  std::vector<std::string> order;
  Spawn("drain", Drain({&from, &to}, both));
  Spawn("drain", Drain({&to}, longer));
  for (const char* name : {"a1", "a2"}) Spawn("request", NoteOf(from, a, name, order));
  Spawn("request", NoteOf(from, b, "b1", order));
  a.SendTo(to);
  EXPECT_EQ(Parked(world, from), 1u);
  EXPECT_EQ(Parked(world, to), 2u);
  Spawn("request", NoteOf(from, a, "a3", order));  // had asked where he was before
  Spawn("request", NoteOf(to, a, "a4", order));
  both.end.Set();
  world.Settle();
  EXPECT_THAT(order, ElementsAre("b1 at from"));
  longer.end.Set();
  Spawn("request", NoteOf(to, a, "a5", order));
  world.Settle();
  EXPECT_THAT(order, ElementsAre("b1 at from", "a1 at to", "a2 at to", "a3 at to", "a4 at to", "a5 at to"));
}

TEST(Resource, RequestThatIsDestroyedAfterItsProducerWasSentElsewhereLeavesNoTrace) {
  TestWorld world;
  Resource from(world.core(), "from"), to(world.core(), "to");
  Producer producer(from);
  Drainer drainer;
  std::vector<std::string> order;
  Spawn("drain", Drain({&from, &to}, drainer));
  {
    Co<void> frame = NoteOf(from, producer, "a", order);
    CoRoot root([](CoRoot&) {});
    root.Start(frame);
    producer.SendTo(to);
    EXPECT_EQ(Parked(world, to), 1u);
  }
  EXPECT_EQ(Parked(world, from) + Parked(world, to), 0u);
  drainer.end.Set();
  world.Settle();
  EXPECT_THAT(order, IsEmpty());
  EXPECT_EQ(from.in_flight() + to.in_flight(), 0u);
}

Co<void> Chain(Resource& upper, Resource& lower, Request& request, bool& below) {
  const Admission in = co_await upper.Admit();
  request.admitted = true;
  co_await request.go;
  const Admission on_behalf = co_await lower.Admit(in);
  below = true;
}

TEST(Resource, RequestOnBehalfOfOneThatIsWaitedForIsAdmitted) {
  TestWorld world;
  Resource upper(world.core(), "filter"), lower(world.core(), "disk0");
  Request request, unrelated;
  Drainer drainer;
  bool below = false;
  Spawn("request", Chain(upper, lower, request, below));
  Spawn("drain", Drain({&lower, &upper}, drainer));
  Spawn("request", Enter(lower, unrelated));
  request.go.Set();
  EXPECT_TRUE(below);
  ASSERT_TRUE(world.RunUntil([&] { return drainer.opened(); }));
  EXPECT_FALSE(unrelated.admitted);
  drainer.end.Set();
  world.Settle();
  unrelated.go.Set();
}

TEST(Resource, RequestOnBehalfOfAnotherStaysOutOfASectionThatHasBeenGranted) {
  TestWorld world;
  Resource upper(world.core(), "filter"), lower(world.core(), "disk0");
  Request request;
  Drainer granted, waiting;
  bool below = false;
  Spawn("request", Chain(upper, lower, request, below));
  Spawn("drain", Drain({&lower}, granted));
  ASSERT_TRUE(granted.opened());
  Spawn("drain", Drain({&lower, &upper}, waiting));
  request.go.Set();
  world.Settle();
  EXPECT_FALSE(below);
  granted.end.Set();  // now only the one is left that waits for it
  ASSERT_TRUE(world.RunUntil([&] { return waiting.opened(); }));
  EXPECT_TRUE(below);
  waiting.end.Set();
}

TEST(Resource, HolderOfASectionMayMakeRequests) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking({&disk}, {.name = "holder"});
  ASSERT_TRUE(section.ok());
  EXPECT_TRUE(section->covers(disk));
  {
    const Admission own = section->Admit(disk);
    EXPECT_EQ(disk.in_flight(), 1u);
  }
  section->End();
  EXPECT_FALSE(*section);
}

TEST(Resource, SectionThatIsNotReachedSaysWhyAndReopens) {
  TestWorld world({.virtual_time = true});
  Resource disk(world.core(), "disk0");
  Request inside, parked;
  Drainer drainer;
  Spawn("request", Enter(disk, inside));
  Spawn("drain", Drain({&disk}, drainer, world.clock().Now() + 1s));
  Spawn("request", Enter(disk, parked));
  world.clock().Advance(2s);
  world.Settle();
  EXPECT_EQ(drainer.result.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(drainer.result.ToString(),
              HasSubstr("section 'test section' was not reached by its deadline: resource 'disk0' has 1 request in "
                        "flight"));
  EXPECT_TRUE(parked.admitted);
  inside.go.Set();
  parked.go.Set();
}

TEST(Resource, BadSectionsAreRefused) {
  TestWorld world;
  TestWorld other({.own_thread = true});
  Resource here(world.core(), "here"), there(other.core(), "there");
  EXPECT_EQ(DrainedSection::OpenBlocking({}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DrainedSection::OpenBlocking({nullptr}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DrainedSection::OpenBlocking({&here, &there}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CreateJob(world.core(), {.id = "a", .resources = {&there}}, world.Driver("a")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CreateJob(world.core(), {.id = "b", .still_at_end = {nullptr}}, world.Driver("b")).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// --- Jobs ---

TEST(ResourceOfAJob, DrainPausesTheJobWithItsReason) {
  TestWorld world({.io_threads = 1});
  Resource disk(world.core(), "disk0");
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "a", .context = &world.io(), .resources = {&disk}}, Obedient(remote));
  ASSERT_TRUE(world.RunUntilStatus(job, "running"));
  Drainer drainer;
  Spawn("drain", Drain({&disk}, drainer));
  ASSERT_TRUE(world.RunUntil([&] { return drainer.opened(); }));
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_THAT(Reasons(world, job), ElementsAre("drain:disk0"));
  // Nobody else can take the reason back, or give it.
  EXPECT_EQ(world.Resume(job, "drain:disk0").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(world.Pause(job, "drain:disk1").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(world.Pause(job).ok());
  drainer.end.Set();
  EXPECT_THAT(Reasons(world, job), ElementsAre("user"));
  EXPECT_EQ(world.Status(job), "paused");
  EXPECT_TRUE(world.Resume(job).ok());
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(ResourceOfAJob, JobCreatedOrStartedWithinASectionDoesNotBegin) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  const JobRef early = world.Create({.id = "early", .resources = {&disk}}, {});
  Drainer drainer;
  Spawn("drain", Drain({&disk}, drainer));
  ASSERT_TRUE(drainer.opened());
  const JobRef late = world.Create({.id = "late", .resources = {&disk}}, {});
  EXPECT_THAT(Reasons(world, late), ElementsAre("drain:disk0"));
  ASSERT_TRUE(StartJob(*early).ok());
  ASSERT_TRUE(StartJob(*late).ok());
  world.Settle();
  EXPECT_EQ(world.Status(early), "paused");
  EXPECT_EQ(world.Status(late), "paused");
  EXPECT_EQ(world.log().Count("early", "Run") + world.log().Count("late", "Run"), 0);
  drainer.end.Set();
  ASSERT_TRUE(world.RunUntilNull(early));
  ASSERT_TRUE(world.RunUntilNull(late));
}

TEST(ResourceOfAJob, TwoResourcesOfOneNameAreTwo) {
  TestWorld world;
  Resource one(world.core(), "disk"), two(world.core(), "disk");
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "a", .resources = {&one, &two, &one}}, Obedient(remote));
  Drainer first, second;
  world.Settle();
  Spawn("drain", Drain({&one}, first));
  Spawn("drain", Drain({&two}, second));
  ASSERT_TRUE(world.RunUntil([&] { return first.opened() && second.opened(); }));
  first.end.Set();
  world.Settle();
  EXPECT_EQ(world.Status(job), "paused");
  second.end.Set();
  world.Settle();
  EXPECT_EQ(world.Status(job), "running");
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(ResourceOfAJob, RequestsOfTheJobAreWaitedForAndNotParked) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  Gate& gate = world.NewGate();
  Script script;
  script.run = [&](JobContext& job) -> Co<absl::Status> {
    absl::StatusOr<Admission> in = job.Admit(disk);
    if (!in.ok()) co_return in.status();
    co_await gate.Pass();
    absl::StatusOr<Admission> another = job.Admit(disk);  // the drain has begun: it must still get to its pause
    if (!another.ok()) co_return another.status();
    EXPECT_TRUE(in->in_background());
    EXPECT_TRUE(another->in_background());
    another->End();
    in->End();
    co_return co_await job.PausePoint();
  };
  const JobRef job = world.Start({.id = "a", .resources = {&disk}}, std::move(script));
  world.Settle();
  EXPECT_EQ(disk.in_flight(), 1u);
  Drainer drainer;
  Spawn("drain", Drain({&disk}, drainer));
  world.Settle();
  EXPECT_FALSE(drainer.opened());
  gate.Open();
  ASSERT_TRUE(world.RunUntil([&] { return drainer.opened(); }));
  EXPECT_EQ(world.Status(job), "paused");
  drainer.end.Set();
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("a"), "succeeded");
}

// A coroutine beside Run that the Pause hook does not wait for: the section is held, and nothing may come in any more.
TEST(ResourceOfAJob, WhatRunsBesideAParkedJobIsRefused) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  std::optional<absl::Status> beside;
  Gate& gate = world.NewGate();
  struct Beside {
    static Co<void> Run(JobContext& job, Resource& disk, Gate& gate, std::optional<absl::Status>& result) {
      co_await gate.Pass();
      result = job.Admit(disk).status();
    }
  };
  std::shared_ptr<Remote> remote = std::make_shared<Remote>();
  Script script;
  script.run = [&, remote](JobContext& job) {
    Spawn("beside", Beside::Run(job, disk, gate, beside));
    return Obey(job, *remote);
  };
  const JobRef job = world.Start({.id = "a", .resources = {&disk}}, std::move(script));
  world.Settle();
  Drainer drainer;
  Spawn("drain", Drain({&disk}, drainer));
  ASSERT_TRUE(world.RunUntil([&] { return drainer.opened(); }));
  gate.Open();
  ASSERT_TRUE(world.RunUntil([&] { return beside.has_value(); }));
  EXPECT_EQ(beside->code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(disk.in_flight(), 0u);
  drainer.end.Set();
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(ResourceOfAJob, ForceCancelledJobLeavesTheSectionWithoutARequest) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  absl::Status after = absl::OkStatus();
  Script script;
  script.run = [&](JobContext& job) -> Co<absl::Status> {
    while (true) {
      if (absl::Status s = co_await job.Yield(); !s.ok()) {
        after = job.Admit(disk).status();
        co_return s;
      }
    }
  };
  const JobRef job = world.Start({.id = "a", .resources = {&disk}}, std::move(script));
  world.Settle();
  Drainer drainer;
  Spawn("drain", Drain({&disk}, drainer));
  ASSERT_TRUE(world.RunUntil([&] { return drainer.opened(); }));
  EXPECT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(after.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(disk.in_flight(), 0u);
  drainer.end.Set();
}

TEST(ResourceOfAJob, RequestsOfOthersThanItsResourcesAreRefused) {
  TestWorld world;
  Resource disk(world.core(), "disk0"), other(world.core(), "other");
  absl::Status refused = absl::OkStatus();
  Script script;
  script.run = [&](JobContext& job) -> Co<absl::Status> {
    refused = job.Admit(other).status();
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start({.id = "a", .resources = {&disk}}, std::move(script));
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.ToString(), HasSubstr("JobSpec::resources"));
}

TEST(ResourceOfAJob, SectionInItsOwnRunIsRefused) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  absl::Status refused = absl::OkStatus();
  Script script;
  script.run = [&](JobContext&) -> Co<absl::Status> {
    Resource* const list[] = {&disk};
    refused = (co_await DrainedSection::Open(list, {.name = "own"})).status();
    co_return absl::OkStatus();
  };
  const JobRef job = world.Start({.id = "a", .resources = {&disk}}, std::move(script));
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.ToString(), HasSubstr("job 'a'"));
}

// the job turns idle in its own thread, the drainer waits in the main one.
TEST(ResourceOfAJob, DrainOfAJobInAnIOThreadNeverHangs) {
  TestWorld world({.io_threads = 1});
  Resource disk(world.core(), "disk0");
  auto remote = std::make_shared<Remote>();
  const JobRef job = world.Start({.id = "a", .context = &world.io(), .resources = {&disk}}, Obedient(remote));
  for (int i = 0; i < 2000; ++i) {
    const TimePoint deadline = world.main().clock().Now() + 10s;
    absl::StatusOr<DrainedSection> section =
        DrainedSection::OpenBlocking({&disk}, {.name = "drain of an I/O thread", .deadline = deadline});
    ASSERT_TRUE(section.ok()) << section.status();
  }
  remote->Finish(*job);
  ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(Resource, DumpSaysWhoDrainsAndWhatASectionWaitsFor) {
  TestWorld world({.virtual_time = true});
  Resource disk(world.core(), "disk0"), idle(world.core(), "idle");
  Request inside, parked;
  Drainer drainer;
  Spawn("request", Enter(disk, inside));
  Spawn("drain", Drain({&disk}, drainer));
  Spawn("request", Enter(disk, parked));
  world.clock().Advance(3s);
  monitor::WaitDump dump = monitor::DumpWaits(world.core());
  ASSERT_EQ(dump.resources.size(), 1u);
  EXPECT_THAT(ToString(dump),
              HasSubstr("resources\n  disk0  1 in flight, 1 parked\n    section 'test section' waits for "
                        "3.0 s: resource 'disk0' has 1 request in flight\n"));
  inside.go.Set();
  ASSERT_TRUE(world.RunUntil([&] { return drainer.opened(); }));
  EXPECT_THAT(ToString(monitor::DumpWaits(world.core())), HasSubstr("section 'test section' open for 3.0 s\n"));
  drainer.end.Set();
  world.Settle();
  parked.go.Set();
  EXPECT_TRUE(monitor::DumpWaits(world.core()).resources.empty());
}

TEST(StillAtEnd, DumpSaysThatTheGroupWaitsForItsResources) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  Request inside;
  Spawn("request", Enter(disk, inside));
  const JobRef job = world.Start({.id = "a", .still_at_end = {&disk}}, {});
  world.Settle();
  EXPECT_THAT(ToString(monitor::DumpWaits(world.core())),
              AllOf(HasSubstr("'a'  pending  the resources that are to stand still at the end of its group"),
                    HasSubstr("section 'end of the group of job 'a'' waits for")));
  inside.go.Set();
  ASSERT_TRUE(world.RunUntilNull(job));
}

// --- The end of a job ---

// D6: a job that has converged and waits for finalize does not keep anybody out.
TEST(StillAtEnd, NobodyIsKeptOutWhileTheGroupIsPending) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  const JobRef job =
      world.Start({.id = "a", .auto_finalize = false, .resources = {&disk}, .still_at_end = {&disk}}, {});
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  Request request;
  Spawn("request", Enter(disk, request));
  EXPECT_TRUE(request.admitted);
  request.go.Set();
  ASSERT_TRUE(world.Finalize(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
}

// A mirror in miniature: two sides, a pointer to the one that is in use, a set of what has been written since.
struct ToyMirror {
  explicit ToyMirror(JobCore& core) : disk(core, "disk0") {}

  Co<void> Write(int value) {
    const Admission in = co_await disk.Admit();
    side().push_back(value);
    if (active == 0) dirty.push_back(value);
  }
  std::vector<int>& side() { return sides[active]; }
  void CopyDirty() {
    sides[1].insert(sides[1].end(), dirty.begin(), dirty.end());
    dirty.clear();
  }

  Resource disk;
  std::vector<int> sides[2];
  std::vector<int> dirty;
  int active = 0;
  JobContext* job = nullptr;
};

Script MirrorScript(ToyMirror& mirror, std::function<Co<void>()> in_prepare = nullptr) {
  Script script;
  script.run = [&mirror](JobContext& job) -> Co<absl::Status> {
    mirror.job = &job;
    mirror.CopyDirty();
    co_return absl::OkStatus();
  };
  script.prepare = [&mirror, in_prepare]() -> Co<absl::Status> {
    absl::StatusOr<Admission> own = mirror.job->Admit(mirror.disk);
    if (!own.ok()) co_return own.status();
    mirror.CopyDirty();
    if (in_prepare) co_await in_prepare();
    co_return absl::OkStatus();
  };
  script.commit = [&mirror]() -> Co<absl::Status> {
    EXPECT_THAT(mirror.dirty, IsEmpty());
    EXPECT_EQ(mirror.sides[0], mirror.sides[1]);
    mirror.active = 1;
    co_return absl::OkStatus();
  };
  return script;
}

// writes come after Run has returned, and while the section is open, from a producer that nobody knew.
TEST(StillAtEnd, NoWriteIsLostBetweenTheLastCheckAndTheSwitch) {
  TestWorld world;
  ToyMirror mirror(world.core());
  Gate& gate = world.NewGate();
  Spawn("write", mirror.Write(1));
  mirror.sides[1] = {};
  const JobRef job =
      world.Start({.id = "a", .auto_finalize = false, .resources = {&mirror.disk}, .still_at_end = {&mirror.disk}},
                  MirrorScript(mirror, [&]() -> Co<void> { co_await gate.Pass(); }));
  ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  Spawn("write", mirror.Write(2));  // after the end of Run
  EXPECT_THAT(mirror.sides[0], ElementsAre(1, 2));
  ASSERT_TRUE(world.Finalize(job).ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }));
  Spawn("write", mirror.Write(3));  // a new one, within the section
  EXPECT_THAT(mirror.sides[0], ElementsAre(1, 2));
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_THAT(mirror.sides[0], ElementsAre(1, 2));
  EXPECT_THAT(mirror.sides[1], ElementsAre(1, 2, 3));  // on the new side
}

TEST(StillAtEnd, AbortEndsTheSectionToo) {
  TestWorld world;
  ToyMirror mirror(world.core());
  Gate& gate = world.NewGate();
  Script script = MirrorScript(mirror);
  script.prepare = [&]() -> Co<absl::Status> {
    co_await gate.Pass();
    co_return absl::InternalError("prepare fails");
  };
  script.abort = [&]() -> Co<void> {
    EXPECT_TRUE(mirror.job->Admit(mirror.disk).ok());  // still in the section
    co_return;
  };
  const JobRef job = world.Start({.id = "a", .still_at_end = {&mirror.disk}}, std::move(script));
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }));
  Spawn("write", mirror.Write(1));
  EXPECT_THAT(mirror.sides[0], IsEmpty());
  gate.Open();
  ASSERT_TRUE(world.RunUntilNull(job));
  world.Settle();
  EXPECT_THAT(mirror.sides[0], ElementsAre(1));
  EXPECT_EQ(mirror.disk.in_flight(), 0u);
}

// What one of them has to clear away may take long, whichever that is.
TEST(StillAtEnd, AbortOfAGroupEndsTheSectionBeforeTheFirstClean) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  Gate& gate = world.NewGate();
  JobTxnBuilder group(world.core());
  std::vector<JobRef> jobs;
  for (const char* id : {"a", "b", "c"}) {
    Script script;
    script.prepare = []() -> Co<absl::Status> { co_return absl::InternalError("prepare fails"); };
    script.abort = [&]() -> Co<void> {
      JobLock lock(world.core());
      EXPECT_TRUE(disk.drained());
      co_return;
    };
    script.clean = [&]() -> Co<void> { co_await gate.Pass(); };
    jobs.push_back(world.Start({.id = id, .group = &group, .still_at_end = {&disk}}, std::move(script)));
  }
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(world.RunUntil([&] { return gate.reached() == 1; }));
  for (const char* id : {"a", "b", "c"}) EXPECT_EQ(world.log().Count(id, "Abort"), 1);
  Request request;
  Spawn("request", Enter(disk, request));
  world.Settle();
  EXPECT_TRUE(request.admitted);
  request.go.Set();
  EXPECT_EQ(world.Status(jobs.front()), "aborting");
  gate.Open();
  for (const JobRef& job : jobs) ASSERT_TRUE(world.RunUntilNull(job));
}

TEST(StillAtEnd, CancelEndsTheWaitForTheSection) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  Request inside;
  Spawn("request", Enter(disk, inside));
  const JobRef job = world.Start({.id = "a", .still_at_end = {&disk}}, {});
  world.Settle();
  EXPECT_EQ(world.Status(job), "pending");
  EXPECT_TRUE(world.Cancel(job).ok());
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_EQ(world.EventOutcome("a"), "cancelled");
  EXPECT_EQ(world.log().Count("a", "Prepare"), 0);
  inside.go.Set();
}

TEST(StillAtEnd, MissedDeadlineAbortsTheGroupAndNamesWhatWasInside) {
  TestWorld world({.virtual_time = true});
  Resource disk(world.core(), "disk0");
  Request inside;
  Spawn("request", Enter(disk, inside));
  JobTxnBuilder group(world.core());
  const JobRef a = world.Create({.id = "a", .group = &group}, {});
  const JobRef b = world.Create({.id = "b", .group = &group, .still_at_end = {&disk}, .drain_timeout = 2s}, {});
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(StartJob(*a).ok());
  ASSERT_TRUE(StartJob(*b).ok());
  world.Settle();
  world.clock().Advance(3s);
  ASSERT_TRUE(world.RunUntilNull(a));
  ASSERT_TRUE(world.RunUntilNull(b));
  EXPECT_EQ(world.EventOutcome("a"), "cancelled");
  EXPECT_THAT(world.EventOutcome("b"), HasSubstr("resource 'disk0' has 1 request in flight"));
  inside.go.Set();
}

// Two members, each with a request in the other one's way: opened one after the other, they would wait for ever.
TEST(StillAtEnd, SectionsOfAGroupAreOpenedInOneStep) {
  TestWorld world({.io_threads = 2});
  Resource upper(world.core(), "filter"), lower(world.core(), "disk0");
  Request request;
  bool below = false;
  Spawn("request", Chain(upper, lower, request, below));
  JobTxnBuilder group(world.core());
  const JobRef a = world.Create(
      {.id = "a", .context = &world.io(0), .group = &group, .resources = {&lower}, .still_at_end = {&lower}}, {});
  const JobRef b = world.Create(
      {.id = "b", .context = &world.io(1), .group = &group, .resources = {&upper}, .still_at_end = {&upper}}, {});
  ASSERT_TRUE(group.Seal().ok());
  ASSERT_TRUE(StartJob(*a).ok());
  ASSERT_TRUE(StartJob(*b).ok());
  ASSERT_TRUE(world.RunUntil([&]() JOBCORE_EXCLUDES(job_mutex) {
    JobLock lock(world.core());
    return lower.draining() && upper.draining();
  }));
  request.go.Set();
  ASSERT_TRUE(world.RunUntilNull(a));
  ASSERT_TRUE(world.RunUntilNull(b));
  EXPECT_TRUE(below);
  EXPECT_EQ(world.EventOutcome("a"), "succeeded");
  EXPECT_EQ(world.EventOutcome("b"), "succeeded");
}

// a drain within a finalisation hook, and one that races with the end of Run.
TEST(StillAtEnd, DrainInsideOfPrepareDoesNotWaitForTheJobItself) {
  TestWorld world;
  Resource disk(world.core(), "disk0");
  Script script;
  bool opened = false;
  script.prepare = [&]() -> Co<absl::Status> {
    Resource* const list[] = {&disk};
    absl::StatusOr<DrainedSection> nested = co_await DrainedSection::Open(list, {.name = "nested"});
    opened = nested.ok();
    co_return nested.status();
  };
  const JobRef job = world.Start({.id = "a", .resources = {&disk}, .still_at_end = {&disk}}, std::move(script));
  ASSERT_TRUE(world.RunUntilNull(job));
  EXPECT_TRUE(opened);
  EXPECT_EQ(world.EventOutcome("a"), "succeeded");
}

TEST(StillAtEnd, DrainRacesWithTheEndOfRun) {
  TestWorld world({.io_threads = 1});
  Resource disk(world.core(), "disk0");
  for (int i = 0; i < 300; ++i) {
    const JobRef job =
        world.Start({.id = "a", .context = &world.io(), .resources = {&disk}, .still_at_end = {&disk}}, {});
    const TimePoint deadline = world.main().clock().Now() + 10s;
    absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking({&disk}, {.deadline = deadline});
    ASSERT_TRUE(section.ok()) << section.status();
    section->End();
    ASSERT_TRUE(world.RunUntilNull(job));
  }
}

// --- Threads ---

// Producers in two I/O threads, sections from there and from the main one; whoever has a section is alone.
TEST(Resource, NobodyIsInsideWhileAnybodyHasASection) {
  TestWorld world({.io_threads = 2});
  Resource disks[2] = {{world.core(), "disk0"}, {world.core(), "disk1"}};
  std::atomic<int> inside[2] = {0, 0};
  std::atomic<bool> stop{false};
  std::atomic<int> running{0};
  std::atomic<int> requests{0};
  const auto produce = [&](AioContext& home, unsigned seed) -> Co<void> {
    std::mt19937 random(seed);
    while (!stop) {
      const unsigned n = random() % 2;
      const Admission in = co_await disks[n].Admit();
      ++inside[n];
      ++requests;
      bool passed = false;
      home.Post("next step", [&passed, &home]() JOBCORE_EXCLUDES(job_mutex) {
        passed = true;
        home.wait_domain().Kick();
      });
      const auto waiting = [&passed] { return !passed; };
      (void)co_await AioWaitWhile(home, waiting);
      --inside[n];
    }
    --running;
  };
  const auto check = [&](bool both) {
    EXPECT_EQ(inside[0], 0);
    if (both) {
      EXPECT_EQ(inside[1], 0);
    }
  };
  const auto drain = [&](AioContext& home) -> Co<void> {
    while (!stop) {
      Resource* const list[] = {&disks[0], &disks[1]};
      absl::StatusOr<DrainedSection> section = co_await DrainedSection::Open(list, {.name = "coroutine"});
      check(true);
      bool passed = false;
      home.Post("next step", [&passed, &home]() JOBCORE_EXCLUDES(job_mutex) {
        passed = true;
        home.wait_domain().Kick();
      });
      const auto waiting = [&passed] { return !passed; };
      (void)co_await AioWaitWhile(home, waiting);
      check(true);
    }
    --running;
  };
  for (int t = 0; t < 2; ++t) {
    world.io(t).Post("producers", [&, t] {
      for (unsigned i = 0; i < 3; ++i, ++running) Spawn("producer", produce(world.io(t), i + 10 * t));
      ++running;
      Spawn("drainer", drain(world.io(t)));
    });
  }
  int sections = 0;
  while ((requests < 200 || sections < 20) && !HasFailure()) {
    absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking({&disks[0]}, {.name = "plain code"});
    ASSERT_TRUE(section.ok());
    check(false);
    ++sections;
  }
  stop = true;
  ASSERT_TRUE(world.RunUntil([&] { return running == 0; }));
}

}  // namespace
}  // namespace jobcore
