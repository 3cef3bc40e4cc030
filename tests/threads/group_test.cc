// SPDX-License-Identifier: Apache-2.0
//
// Groups under controlled threads: all members commit, or all abort, whoever does what when.

#include <gtest/gtest.h>

#include <optional>
#include <utility>
#include <vector>

#include "job-common/job_txn.h"
#include "job-monitor/job_wait.h"
#include "threads/thread_world.h"

namespace jobcore::threads {
namespace {

// The group of the jobs named has ended: together.
void RequireAllOrNone(World& world, std::vector<std::string_view> ids) {
  int commits = 0;
  for (const std::string_view id : ids) commits += world.ledger(id).commits;
  Require(commits == 0 || commits == static_cast<int>(ids.size()), "all members of a group commit, or none");
}

// R-86b, seed 000: members are created, started, cancelled and fail in three threads, while the
// group is being sealed.
void AllCommitOrAllAbort(Choices& choices) {
  World world(choices, {.io_threads = 2});
  JobRef a;
  JobRef b;
  const bool fails = choices.OneIn(3);
  const bool prepare_fails = choices.OneIn(3);
  const bool cancels = choices.OneIn(2);
  const bool seals = !choices.OneIn(8);
  bool cancelled = false;
  {
    std::optional<JobTxnBuilder> group(world.core());
    a = world.Create({.id = "a", .context = &world.io(0), .group = &*group},
                     {.run = [&](JobContext& j) -> Co<absl::Status> {
                       if (absl::Status s = co_await Steps(j, 1); !s.ok()) co_return s;
                       co_return fails ? absl::DataLossError("a fails") : absl::OkStatus();
                     }});
    b = world.Create({.id = "b", .context = &world.io(1), .group = &*group},
                     {.run = [](JobContext& j) { return Steps(j, 1); },
                      .prepare = [&]() -> Co<absl::Status> {
                        co_await NextTurn();
                        co_return prepare_fails ? absl::DataLossError("prepare of b fails") : absl::OkStatus();
                      }});
    Thread starter([&] {
      (void)StartJob(*a);
      (void)StartJob(*b);
    });
    Thread canceller([&] {
      if (cancels) cancelled = world.Cancel(b).ok();
    });
    if (seals) (void)group->Seal();
    group.reset();
    starter.join();
    const JobOutcome first = world.AwaitEnd(a);
    const JobOutcome second = world.AwaitEnd(b);
    canceller.join();
    Require(first.succeeded() == second.succeeded(), "the members of a group succeed together");
    Require(!first.succeeded() || (!fails && !prepare_fails && seals && !cancelled),
            "a group with a member that failed, or was cancelled, does not commit");
    Require(first.succeeded() || fails || prepare_fails || !seals || cancelled, "a group commits if nothing happens");
  }
  RequireAllOrNone(world, {"a", "b"});
  Require(!cancelled || world.ledger("a").commits == 0, "who has been cancelled does not commit");
}
TEST(Group, AllCommitOrAllAbort) { RunScenario(&AllCommitOrAllAbort, 2000); }

// a cancel that is accepted before the cut turns the group to abort, however late it comes; one that comes after
// it is refused.
void ACancelMeetsTheCut(Choices& choices) {
  World world(choices);
  const bool slow = choices.OneIn(2);
  const JobRef job = world.Start({.id = "a"}, {.prepare = [&]() -> Co<absl::Status> {
                                                 if (slow) co_await NextTurn();
                                                 co_return absl::OkStatus();
                                               },
                                               .commit = [&]() -> Co<absl::Status> {
                                                 if (slow) co_await NextTurn();
                                                 co_return absl::OkStatus();
                                               }});
  absl::Status cancelled;
  Thread other(
      [&] { cancelled = world.Cancel(job, world.choices().OneIn(2) ? CancelMode::kForce : CancelMode::kSoft); });
  const JobOutcome outcome = world.AwaitEnd(job);
  other.join();
  Require(cancelled.ok() == (outcome.kind == JobOutcome::Kind::kCancelled), "a cancel is accepted or refused truly");
  Require(cancelled.ok() == (world.ledger("a").commits == 0), "a cancelled job does not commit");
}
TEST(Group, ACancelMeetsTheCut) { RunScenario(&ACancelMeetsTheCut, 2000); }

// two ask for the finalisation of one group, by different members; a third one cancels. Hooks once, and an
// answer for each, the same for both.
void TwoFinalizeOneGroup(Choices& choices) {
  World world(choices);
  Answers answers;
  JobTxnBuilder group(world.core());
  const JobRef a = world.Create({.id = "a", .group = &group, .auto_finalize = false});
  const JobRef b = world.Create({.id = "b", .context = &world.io(), .group = &group, .auto_finalize = false},
                                {.prepare = []() -> Co<absl::Status> {
                                  co_await NextTurn();
                                  co_return absl::OkStatus();
                                }});
  RequireOk(group.Seal(), "seal");
  RequireOk(StartJob(*a), "start");
  RequireOk(StartJob(*b), "start");
  world.AwaitStatus(a, JobStatus::kPending);
  const bool cancels = choices.OneIn(2);
  bool cancelled = false;
  int accepted[2] = {0, 0};
  Thread first([&] {
    accepted[0] = world.Finalize(a, answers.Make(world)).ok() ? 1 : 0;
    if (cancels) cancelled = world.Cancel(b).ok();
  });
  Thread second([&] { accepted[1] = world.Finalize(b, answers.Make(world)).ok() ? 1 : 0; });
  world.Await([&] { return IsConcluded(world.StatusOf(a)) && IsConcluded(world.StatusOf(b)); });
  first.join();
  second.join();
  const int asked = accepted[0] + accepted[1];
  world.Await([&] { return answers.count >= asked; });
  Require(answers.count == asked, "each finalize is answered once");
  Require(answers.ok == (cancelled ? 0 : asked), "the answer says whether the group has committed");
  RequireAllOrNone(world, {"a", "b"});
  Require(cancelled == (world.ledger("a").commits == 0), "a cancelled group does not commit");
}
TEST(Group, TwoFinalizeOneGroup) { RunScenario(&TwoFinalizeOneGroup); }

// members are created and given up by two threads, through one builder, and the last abandon may be what lets the
// group converge.
void MembersJoinAndAreGivenUp(Choices& choices) {
  World world(choices);
  JobTxnBuilder group(world.core());
  const JobRef a = world.Create({.id = "a", .group = &group}, {.run = [](JobContext& j) { return Steps(j, 1); }});
  const bool fails = choices.OneIn(3);
  Thread other([&] {
    const absl::StatusOr<JobRef> b = world.TryCreate({.id = "b", .context = &world.io(), .group = &group});
    Require(b.ok() || fails, "a group that has not failed can be joined");
    if (b.ok()) world.ledger("b").abandoned = AbandonJob(**b).ok();
  });
  if (fails) (void)world.Cancel(a);
  RequireOk(StartJob(*a).ok() == !fails ? absl::OkStatus() : absl::InternalError("start"), "start of a");
  other.join();
  const bool sealed = group.Seal().ok();
  Require(sealed == !fails, "a group that has failed cannot be sealed");
  Require(world.AwaitEnd(a).succeeded() == !fails, "the group goes on without the member given up");
}
TEST(Group, MembersJoinAndAreGivenUp) {
  RunScenario([](Choices& choices) { MembersJoinAndAreGivenUp(choices); });
}

}  // namespace
}  // namespace jobcore::threads
