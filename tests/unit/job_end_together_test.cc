// SPDX-License-Identifier: Apache-2.0
//
// Jobs without a group of their own that end in one turn of the main loop, with hooks that are coroutines, or plain
// functions, or the ones that every driver has: each exactly once and in order, whoever ends beside them.

#include <coroutine>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/job_test_util.h"

namespace jobcore {
namespace {

using ::testing::ElementsAre;

enum Hook : unsigned { kPrepare = 1, kCommit = 2, kAbort = 4, kClean = 8, kAll = 15 };

struct Plan {
  unsigned frames = 0;  // the hooks that are coroutines, and suspend
  absl::Status run{};
  absl::Status prepare{};
  absl::Status commit{};
  unsigned throwing = 0;                          // of those that are plain
  absl::AnyInvocable<void()> in_prepare = [] {};  // of a plain one
  absl::AnyInvocable<void()> in_commit = [] {};   // of a coroutine
};

using Log = std::map<std::string, std::vector<std::string>>;

struct NextTurn {
  AioContext& context;
  bool await_ready() const { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> self) const {
    context.Post("next turn", [handle = CoHandle::Of(self, "next turn")] { handle.Resume(); });
  }
  void await_resume() const {}
};

class Driver final : public JobDriver {
 public:
  Driver(AioContext& main, Log& log, std::string name, Plan plan)
      : main_(main), log_(log), name_(std::move(name)), plan_(std::move(plan)) {}
  ~Driver() override {
    EXPECT_TRUE(main_.IsHome());
    Note("~");
  }
  std::string_view type() const override { return "planned"; }
  Co<absl::Status> Run(JobContext&) override { co_return plan_.run; }
  Co<absl::Status> Prepare() override {
    Note("Prepare");
    if ((plan_.throwing & kPrepare) != 0) throw std::runtime_error("no");
    plan_.in_prepare();
    if ((plan_.frames & kPrepare) == 0) return {};
    return Suspended(kPrepare, plan_.prepare);
  }
  Co<absl::Status> Commit() override {
    Note("Commit");
    if ((plan_.throwing & kCommit) != 0) throw std::runtime_error("no");
    if ((plan_.frames & kCommit) == 0) return {};
    return Suspended(kCommit, plan_.commit);
  }
  Co<void> Abort() override {
    Note("Abort");
    if ((plan_.frames & kAbort) == 0) return {};
    return Turn();
  }
  Co<void> Clean() override {
    Note("Clean");
    if ((plan_.frames & kClean) == 0) return {};
    return Turn();
  }

 private:
  void Note(const char* what) { log_[name_].push_back(what); }
  Co<void> Turn() { co_await NextTurn{main_}; }
  Co<absl::Status> Suspended(Hook hook, absl::Status result) {
    if (hook == kCommit) plan_.in_commit();
    co_await Turn();
    co_return result;
  }

  AioContext& main_;
  Log& log_;
  const std::string name_;
  Plan plan_;
};

class JobEndTogether : public testing::Test {
 protected:
  JobRef Create(std::string id, Plan plan, bool auto_finalize = true) {
    auto driver = std::make_unique<Driver>(world.main(), log, id, std::move(plan));
    return *CreateJob(world.core(), {.id = std::move(id), .auto_finalize = auto_finalize}, std::move(driver));
  }
  void Start(std::string id, Plan plan) { ASSERT_TRUE(StartJob(*Create(std::move(id), std::move(plan))).ok()); }
  bool AllGone() {
    return world.RunUntil([&]() JOBCORE_EXCLUDES(job_mutex) {
      JobLock lock(world.core());
      return world.core().job_count() == 0;
    });
  }

  Log log;
  TestWorld world;
};

TEST_F(JobEndTogether, MoreThanFitIntoOneCriticalSection) {
  for (int i = 0; i < 200; ++i) Start(absl::StrCat("j", i), {});
  ASSERT_TRUE(AllGone());
  world.Settle();
  for (int i = 0; i < 200; ++i) {
    const std::string id = absl::StrCat("j", i);
    EXPECT_THAT(log[id], ElementsAre("Prepare", "Commit", "Clean", "~"));
    EXPECT_THAT(world.History(id), ElementsAre("created", "running", "waiting", "pending", "concluded", "null"));
  }
}

TEST_F(JobEndTogether, EveryMixtureOfHooks) {
  for (unsigned frames = 0; frames <= kAll; ++frames) {
    Start(absl::StrCat("plain", frames), {});
    Start(absl::StrCat("ok", frames), {.frames = frames});
    Start(absl::StrCat("fails", frames), {.frames = frames, .run = absl::DataLossError("lost")});
    Start(absl::StrCat("prepare", frames), {.frames = frames | kPrepare, .prepare = absl::UnavailableError("no room")});
    Start(absl::StrCat("commit", frames), {.frames = frames | kCommit, .commit = absl::UnavailableError("no room")});
  }
  ASSERT_TRUE(AllGone());
  world.Settle();
  for (unsigned frames = 0; frames <= kAll; ++frames) {
    EXPECT_THAT(log[absl::StrCat("plain", frames)], ElementsAre("Prepare", "Commit", "Clean", "~"));
    EXPECT_THAT(log[absl::StrCat("ok", frames)], ElementsAre("Prepare", "Commit", "Clean", "~"));
    EXPECT_THAT(log[absl::StrCat("fails", frames)], ElementsAre("Abort", "Clean", "~"));
    EXPECT_THAT(log[absl::StrCat("prepare", frames)], ElementsAre("Prepare", "Abort", "Clean", "~"));
    EXPECT_THAT(log[absl::StrCat("commit", frames)], ElementsAre("Prepare", "Commit", "Clean", "~"));
    EXPECT_EQ(world.EventOutcome(absl::StrCat("ok", frames)), "succeeded");
    EXPECT_EQ(world.EventOutcome(absl::StrCat("fails", frames)), "failed: lost");
    EXPECT_EQ(world.EventOutcome(absl::StrCat("prepare", frames)), "failed: no room");
    EXPECT_EQ(world.EventOutcome(absl::StrCat("commit", frames)), "failed: no room");
  }
}

TEST_F(JobEndTogether, APlainHookThrows) {
  Start("a", {});
  Start("prepare", {.throwing = kPrepare});
  Start("b", {});
  Start("commit", {.throwing = kCommit});
  Start("c", {});
  ASSERT_TRUE(AllGone());
  world.Settle();
  EXPECT_THAT(log["prepare"], ElementsAre("Prepare", "Abort", "Clean", "~"));
  EXPECT_EQ(world.EventOutcome("prepare"), "failed: Prepare threw an exception: no");
  EXPECT_THAT(log["commit"], ElementsAre("Prepare", "Commit", "Clean", "~"));
  EXPECT_EQ(world.EventOutcome("commit"), "failed: Commit threw an exception: no");
  for (const char* other : {"a", "b", "c"}) EXPECT_EQ(world.EventOutcome(other), "succeeded");
}

// Before the cut, from a hook of another job that ends in the same turn.
TEST_F(JobEndTogether, CancelledBetweenPrepareAndTheCut) {
  JobRef victim = Create("victim", {});
  absl::Status cancelled = absl::UnknownError("not asked");
  const JobRef killer = Create("killer", {.in_prepare = [&] { cancelled = world.Cancel(victim); }});
  ASSERT_TRUE(StartJob(*victim).ok());
  ASSERT_TRUE(StartJob(*killer).ok());
  ASSERT_TRUE(AllGone());
  EXPECT_TRUE(cancelled.ok()) << cancelled;
  victim = {};
  EXPECT_THAT(log["victim"], testing::Contains("Abort"));
  EXPECT_EQ(world.EventOutcome("victim"), "cancelled");
  EXPECT_EQ(world.EventOutcome("killer"), "succeeded");
}

// From a Commit, when the others have been cut, or not: what the verb says is what happens.
TEST_F(JobEndTogether, CancelledFromTheCommitOfAnother) {
  std::vector<JobRef> others;
  std::vector<bool> accepted;
  for (int i = 0; i < 6; ++i) others.push_back(Create(absl::StrCat("j", i), {}));
  JobRef killer = Create("killer", {.frames = kCommit, .in_commit = [&] {
                                      for (const JobRef& job : others) accepted.push_back(world.Cancel(job).ok());
                                    }});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(StartJob(*others[static_cast<size_t>(i)]).ok());
  ASSERT_TRUE(StartJob(*killer).ok());
  for (int i = 3; i < 6; ++i) ASSERT_TRUE(StartJob(*others[static_cast<size_t>(i)]).ok());
  ASSERT_TRUE(AllGone());
  ASSERT_EQ(accepted.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(world.EventOutcome(absl::StrCat("j", i)), accepted[i] ? "cancelled" : "succeeded") << i;
  }
  others.clear();
  killer = {};
  world.Settle();
}

TEST_F(JobEndTogether, WhoAskedForFinalizeIsAnswered) {
  Replies replies;
  const JobRef ok = Create("ok", {}, /*auto_finalize=*/false);
  const JobRef frames = Create("frames", {.frames = kAll}, /*auto_finalize=*/false);
  for (const JobRef& job : {ok, frames}) {
    ASSERT_TRUE(StartJob(*job).ok());
    ASSERT_TRUE(world.RunUntilStatus(job, "pending"));
  }
  for (const JobRef& job : {ok, frames}) {
    ASSERT_TRUE(world.Finalize(job, replies.Make(world.main())).ok());
    ASSERT_TRUE(world.Finalize(job, replies.Make(world.main())).ok());
  }
  ASSERT_TRUE(AllGone());
  world.Settle();
  EXPECT_THAT(replies.all(), ElementsAre("OK", "OK", "OK", "OK"));
}

}  // namespace
}  // namespace jobcore
