// SPDX-License-Identifier: Apache-2.0
//
// Action transactions without nodes: the order of their steps, what they drain, and how several of them take turns
// (seed 001).

#include "job-monitor/action_transaction.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/event.h"
#include "support/job_test_util.h"

namespace jobcore::monitor {
namespace {

using ::testing::ElementsAre;

// Writes down what is called.
class Logged final : public Action {
 public:
  struct Plan {
    std::string name;
    std::vector<std::string>* log;
    std::vector<std::shared_ptr<Resource>> resources = {};
    support::Event* until = nullptr;  // Prepare waits for it; null: it does not wait
    bool fails = false;
    std::shared_ptr<Resource> later = nullptr;  // what it is about, too, once its resources have been asked for
  };
  explicit Logged(Plan plan) : plan_(std::move(plan)) {}

  std::string_view type() const override { return "logged"; }
  void AddResources(std::vector<std::shared_ptr<Resource>>& resources) const override {
    resources.insert(resources.end(), plan_.resources.begin(), plan_.resources.end());
    if (plan_.later != nullptr && asked_++ > 0) resources.push_back(plan_.later);
  }
  Co<absl::StatusOr<std::unique_ptr<PreparedAction>>> Prepare(const ActionSite& site) override {
    for (const std::shared_ptr<Resource>& resource : plan_.resources) EXPECT_TRUE(site.section().covers(*resource));
    if (plan_.later != nullptr) {
      EXPECT_TRUE(site.section().covers(*plan_.later));
    }
    plan_.log->push_back("prepare " + plan_.name);
    if (plan_.until != nullptr) co_await *plan_.until;
    if (plan_.fails) co_return absl::UnavailableError(plan_.name + " fails");
    co_return std::make_unique<Done>(plan_);
  }

 private:
  class Done final : public PreparedAction {
   public:
    explicit Done(Plan plan) : plan_(std::move(plan)) {}
    void Commit() noexcept override { plan_.log->push_back("commit " + plan_.name); }
    void Abort() noexcept override { plan_.log->push_back("abort " + plan_.name); }
    Co<void> Clean(TimePoint) override {
      plan_.log->push_back("clean " + plan_.name);
      return {};
    }

   private:
    const Plan plan_;
  };
  const Plan plan_;
  mutable int asked_ = 0;
};

class ActionTransactions : public ::testing::Test {
 protected:
  ActionTransaction New(std::vector<Logged::Plan> plans) {
    ActionTransaction transaction(world.core(), {.name = plans.front().name});
    for (Logged::Plan& plan : plans) transaction.Add(std::make_unique<Logged>(std::move(plan)));
    return transaction;
  }
  void Start(ActionTransaction transaction, std::optional<absl::Status>& result) {
    Spawn("transaction", Store(ActionTransaction::Run(std::move(transaction)), result));
  }
  absl::Status Run(ActionTransaction transaction) {
    std::optional<absl::Status> result;
    Start(std::move(transaction), result);
    EXPECT_TRUE(world.RunUntil([&] { return result.has_value(); }, "the transaction"));
    return *result;
  }
  static Co<void> Store(Co<absl::Status> work, std::optional<absl::Status>& result) {
    absl::Status status = co_await std::move(work);
    result = std::move(status);
  }
  std::shared_ptr<Resource> NewResource(const std::string& name) {
    return std::make_shared<Resource>(world.core(), name);
  }

  TestWorld world;
  std::shared_ptr<Resource> a = NewResource("a"), b = NewResource("b");
  std::vector<std::string> log;
};

TEST_F(ActionTransactions, UndoInReverse) {
  const absl::Status status = Run(New({{.name = "0", .log = &log, .resources = {a}},
                                       {.name = "1", .log = &log, .resources = {b}},
                                       {.name = "2", .log = &log, .resources = {a}, .fails = true},
                                       {.name = "3", .log = &log}}));
  EXPECT_EQ(status, absl::UnavailableError("2 fails"));
  EXPECT_THAT(log, ElementsAre("prepare 0", "prepare 1", "prepare 2", "abort 1", "clean 1", "abort 0", "clean 0"));
}

TEST_F(ActionTransactions, CommitAllBeforeTheyCleanAny) {
  EXPECT_TRUE(Run(New({{.name = "0", .log = &log, .resources = {a}}, {.name = "1", .log = &log}})).ok());
  EXPECT_THAT(log, ElementsAre("prepare 0", "prepare 1", "commit 0", "commit 1", "clean 0", "clean 1"));
}

TEST_F(ActionTransactions, DrainWhatTheirActionsAreAboutByThen) {
  EXPECT_TRUE(Run(New({{.name = "0", .log = &log, .resources = {a}, .later = b}})).ok());
  EXPECT_THAT(log, ElementsAre("prepare 0", "commit 0", "clean 0"));
}

// Whose sections overlap, in any order: the reference would hold a lock of each.
TEST_F(ActionTransactions, TakeTurns) {
  support::Event first;
  std::optional<absl::Status> one, two;
  Start(New({{.name = "1a", .log = &log, .resources = {a}, .until = &first},
             {.name = "1b", .log = &log, .resources = {b}}}),
        one);
  Start(New({{.name = "2b", .log = &log, .resources = {b}}, {.name = "2a", .log = &log, .resources = {a}}}), two);
  world.Settle();
  EXPECT_THAT(log, ElementsAre("prepare 1a"));
  first.Set();
  ASSERT_TRUE(world.RunUntil([&] { return one.has_value() && two.has_value(); }, "both transactions"));
  EXPECT_TRUE(one->ok() && two->ok());
  EXPECT_THAT(log, ElementsAre("prepare 1a", "prepare 1b", "commit 1a", "commit 1b", "clean 1a", "clean 1b",
                               "prepare 2b", "prepare 2a", "commit 2b", "commit 2a", "clean 2b", "clean 2a"));
}

TEST_F(ActionTransactions, ThatAreDroppedUndoWhatTheyHavePrepared) {
  support::Event never;
  {
    Co<absl::Status> run = ActionTransaction::Run(
        New({{.name = "0", .log = &log, .resources = {a}}, {.name = "1", .log = &log, .until = &never}}));
    CoRoot root([](CoRoot&) {});
    root.Start(run);
    ASSERT_FALSE(run.done());
  }
  EXPECT_THAT(log, ElementsAre("prepare 0", "prepare 1", "abort 0"));
  log.clear();
  EXPECT_TRUE(Run(New({{.name = "2", .log = &log, .resources = {a}}})).ok());  // it is nobody's turn any more
}

}  // namespace
}  // namespace jobcore::monitor
