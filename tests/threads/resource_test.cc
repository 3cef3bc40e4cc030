// SPDX-License-Identifier: Apache-2.0
//
// Resources under controlled threads: requests, drained sections and jobs against each other.

#include <gtest/gtest.h>

#include <chrono>
#include <utility>
#include <vector>

#include "job-common/aio_wait.h"
#include "job-driver/resource.h"
#include "threads/thread_world.h"

namespace jobcore::threads {
namespace {

using std::chrono::microseconds;

// What is going on at a resource. The content is a plain number: a section that begins too early is also a data race.
struct Traffic {
  Atomic<int> inside{0};
  int content = 0;

  void Begin() {
    inside.fetch_add(1);
    ++content;
  }
  void End() {
    ++content;
    inside.fetch_sub(1);
  }
  // By whoever holds a section.
  void RequireStill() {
    Require(inside.load() == 0, "no request is inside of a drained section");
    ++content;
  }
};

Co<void> Produce(World& world, Resource& resource, Traffic& traffic, int requests, Atomic<int>& finished) {
  for (int i = 0; i < requests; ++i) {
    Admission in = co_await resource.Admit();
    traffic.Begin();
    co_await NextTurn();
    traffic.End();
    in.End();
    if (i % 2 == 0) co_await NextTurn();  // sometimes nothing is inside for a while
  }
  finished.fetch_add(1);
  world.Kick();
}

// In the loop of `context`.
void StartProducer(World& world, AioContext& context, Resource& resource, Traffic& traffic, int requests,
                   Atomic<int>& finished) {
  context.Post("producer", [&world, &resource, &traffic, requests, &finished] {
    Spawn("producer", Produce(world, resource, traffic, requests, finished));
  });
}

// producers against two who drain, one after the other and at once. While a section is held
// nothing is inside; a request that was parked is counted before the next section can look.
void NothingIsInsideOfASection(Choices& choices) {
  World world(choices);
  Traffic traffic;
  Atomic<int> finished{0};
  Resource disk(world.core(), "disk");
  StartProducer(world, world.io(), disk, traffic, 4, finished);
  StartProducer(world, world.io(), disk, traffic, 2, finished);
  Mutex holders;  // two sections may be open at once: they only exclude requests
  const auto drain = [&](int times) {
    for (int i = 0; i < times; ++i) {
      Resource* const resources[] = {&disk};
      absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking(resources, {.name = "drain"});
      RequireOk(section.status(), "section");
      for (int look = 0; look < 2; ++look) {
        const std::scoped_lock lock(holders);
        traffic.RequireStill();
      }
      section->End();
    }
  };
  Thread other([&] { drain(2); });
  drain(choices.OneIn(2) ? 1 : 2);
  other.join();
  world.Await([&] { return finished.load() == 2; });
  Require(disk.in_flight() == 0, "all requests have ended");
}
TEST(Resource, NothingIsInsideOfASection) { RunScenario(&NothingIsInsideOfASection, 2000); }

// two sections over two resources each, opened in opposite orders, and requests that make requests of the other
// resource: nobody waits for ever.
void OverlappingSectionsComeToAnEnd(Choices& choices) {
  World world(choices);
  Traffic traffic;
  Atomic<int> finished{0};
  Resource disk(world.core(), "disk");
  Resource log(world.core(), "log");
  struct Nested {
    static Co<void> Run(World& world, Resource& outer, Resource& inner, Atomic<int>& done) {
      Admission a = co_await outer.Admit();
      co_await NextTurn();
      Admission b = co_await inner.Admit(a);
      co_await NextTurn();
      b.End();
      a.End();
      done.fetch_add(1);
      world.Kick();
    }
  };
  world.io().Post("nested", [&] { Spawn("nested", Nested::Run(world, disk, log, finished)); });
  StartProducer(world, world.io(), log, traffic, 1, finished);
  const auto drain = [](const std::vector<Resource*>& resources) {
    const absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking(resources, {.name = "drain"});
    RequireOk(section.status(), "section");
    for (int look = 0; look < 3; ++look) {
      for (const Resource* resource : resources) Require(resource->in_flight() == 0, "what is drained stands still");
    }
  };
  const bool inner_only = choices.OneIn(2);
  Thread other([&] { drain(inner_only ? std::vector<Resource*>{&log} : std::vector<Resource*>{&log, &disk}); });
  drain({&disk, &log});
  other.join();
  world.Await([&] { return finished.load() == 2; });
}
TEST(Resource, OverlappingSectionsComeToAnEnd) { RunScenario(&OverlappingSectionsComeToAnEnd, 2000); }

// a section that misses its deadline leaves the resource open, with the requests that it had parked going on.
void ASectionThatMissesItsDeadlineLeavesNothing(Choices& choices) {
  World world(choices);
  Traffic traffic;
  Atomic<int> finished{0};
  Resource disk(world.core(), "disk");
  struct Slow {
    static Co<void> Run(World& world, Resource& resource, Atomic<int>& done) {
      Admission in = co_await resource.Admit();
      const TimePoint end = SaturatingAdd(world.threads().clock().Now(), microseconds(30));
      const auto ever = [] { return true; };
      (void)co_await AioWaitWhile(world.io(), ever, {.name = "slow request", .deadline = end});
      in.End();
      done.fetch_add(1);
      world.Kick();
    }
  };
  world.io().Post("slow", [&] { Spawn("slow", Slow::Run(world, disk, finished)); });
  StartProducer(world, world.io(), disk, traffic, 1, finished);
  Resource* const resources[] = {&disk};
  const TimePoint deadline = SaturatingAdd(world.threads().clock().Now(), microseconds(20));
  absl::StatusOr<DrainedSection> section =
      DrainedSection::OpenBlocking(resources, {.name = "drain", .deadline = deadline});
  if (section.ok()) {
    traffic.RequireStill();
    section->End();
  } else {
    Require(absl::IsDeadlineExceeded(section.status()), "a section fails by its deadline");
    Require(world.threads().clock().Now() >= deadline, "a deadline is not early");
  }
  world.Await([&] { return finished.load() == 2; });
  JobLock lock(world.core());
  Require(!disk.draining() && disk.parked() == 0, "a section that has ended leaves nothing");
}
TEST(Resource, ASectionThatMissesItsDeadlineLeavesNothing) { RunScenario(&ASectionThatMissesItsDeadlineLeavesNothing); }

// jobs of a resource against its sections: while one is held, each job is parked, has not begun or has
// finished; a job is not left paused when the sections have ended. One is cancelled meanwhile, one is paused by hand.
void ADrainParksTheJobsOfAResource(Choices& choices) {
  World world(choices);
  Traffic traffic;
  const bool cancels = choices.OneIn(3);
  const bool pauses = choices.OneIn(3);
  {
    Resource disk(world.core(), "disk");
    JobRef job;
    const auto create = [&] {
      job = world.Create({.id = "a", .context = &world.io(), .resources = {&disk}},
                         {.run = [&](JobContext& j) -> Co<absl::Status> {
                           for (int i = 0; i < 3; ++i) {
                             if (absl::Status s = co_await j.PausePoint(); !s.ok()) co_return s;
                             absl::StatusOr<Admission> in = j.Admit(disk);
                             if (!in.ok()) co_return in.status();
                             traffic.Begin();
                             co_await NextTurn();
                             traffic.End();
                             in->End();
                             if (absl::Status s = co_await j.Sleep(microseconds(i)); !s.ok()) co_return s;
                           }
                           co_return absl::OkStatus();
                         }});
    };
    const bool during = choices.OneIn(2);  // a drain
    if (!during) create();
    Thread other([&] {
      if (during) create();
      RequireOk(StartJob(*job), "start");
      if (pauses && world.Pause(job).ok()) (void)world.Resume(job);
      if (cancels) (void)world.Cancel(job);
    });
    Mutex holders;
    const auto drain = [&](int times) {
      for (int i = 0; i < times; ++i) {
        Resource* const resources[] = {&disk};
        absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking(resources, {.name = "drain"});
        RequireOk(section.status(), "section");
        for (int look = 0; look < 2; ++look) {
          const std::scoped_lock lock(holders);
          traffic.RequireStill();
        }
        section->End();
      }
    };
    Thread second([&] { drain(1); });
    drain(2);
    second.join();
    other.join();
    const JobOutcome outcome = world.AwaitEnd(job);
    Require(outcome.succeeded() || cancels, "the job succeeds");
    Require(disk.in_flight() == 0, "all requests have ended");
  }
}
TEST(Resource, ADrainParksTheJobsOfAResource) { RunScenario(&ADrainParksTheJobsOfAResource, 2000); }

// seed 004: what a group wants to stand still at its end does so from before its first Prepare to
// after its last Clean, while producers go on, another section is opened, and somebody may cancel.
void AGroupEndsInStillness(Choices& choices) {
  World world(choices);
  Traffic traffic;
  Atomic<int> finished{0};
  const bool cancels = choices.OneIn(3);
  const bool times_out = choices.OneIn(4);
  {
    Resource disk(world.core(), "disk");
    StartProducer(world, world.io(), disk, traffic, 2, finished);
    Atomic<bool> drained{false};
    // A request that does not end before the job does: only a cancel ends the wait for it.
    Atomic<bool> release{!cancels || choices.OneIn(2)};
    const bool held = !release.load();
    struct Held {
      static Co<void> Run(World& world, Resource& resource, Atomic<bool>& release, Atomic<int>& done) {
        Admission in = co_await resource.Admit();
        const auto waits = [&release] { return !release.load(); };
        (void)co_await AioWaitWhile(world.main(), waits, {.name = "request"});
        in.End();
        done.fetch_add(1);
        world.Kick();
      }
    };
    world.io().Post("held", [&] { Spawn("held", Held::Run(world, disk, release, finished)); });
    const auto still = [&]() -> Co<absl::Status> {
      traffic.RequireStill();
      drained.store(true);
      co_await NextTurn();
      traffic.RequireStill();
      co_return absl::OkStatus();
    };
    const JobRef job = world.Start({.id = "a",
                                    .context = &world.io(),
                                    .still_at_end = {&disk},
                                    .drain_timeout = times_out ? microseconds(1) : Nanoseconds::max()},
                                   {.prepare = still, .commit = still});
    bool cancelled = false;
    Thread other([&] {
      if (cancels) cancelled = world.Cancel(job).ok();
      Resource* const resources[] = {&disk};
      absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking(resources, {.name = "drain"});
      RequireOk(section.status(), "section");
      section->End();
    });
    const JobOutcome outcome = world.AwaitEnd(job);
    if (held) {
      release.store(true);
      world.Kick();
    }
    other.join();
    Require(outcome.succeeded() ? drained.load() && !cancelled : times_out || cancelled, "the group ends as it should");
    world.Await([&] { return finished.load() == 2; });
    Require(disk.in_flight() == 0, "all requests have ended");
  }
}
TEST(Resource, AGroupEndsInStillness) { RunScenario(&AGroupEndsInStillness, 2000); }

}  // namespace
}  // namespace jobcore::threads
