// SPDX-License-Identifier: Apache-2.0
//
// Transactions of actions on nodes: a failure at every position undoes what came before it, in reverse; what succeeds
// happens at one moment; and the bitmaps that they are about.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "block/node_world.h"
#include "block/test_nodes.h"
#include "gmock/gmock.h"
#include "job-driver/block/block_actions.h"
#include "job-driver/block/node_bitmaps.h"
#include "job-driver/block/raw_node.h"
#include "job-monitor/action_transaction.h"

namespace jobcore::block {
namespace {

using jobcore_test::Refused;
using monitor::Action;
using monitor::ActionSite;
using monitor::ActionTransaction;
using monitor::CompletionMode;
using monitor::PreparedAction;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

constexpr uint64_t kSize = 64 * kKiB;

// Writes down what is called.
class Logged final : public Action {
 public:
  struct Plan {
    std::string name;
    std::vector<std::string>* log;
    std::shared_ptr<Resource> resource = nullptr;
    AioContext* where = nullptr;  // Prepare waits for something there; null: it does not wait
    bool fails = false;
    bool throws = false;
  };
  explicit Logged(Plan plan) : plan_(std::move(plan)) {}
  std::string_view type() const override { return "logged"; }
  void AddResources(std::vector<std::shared_ptr<Resource>>& resources) const override {
    if (plan_.resource != nullptr) resources.push_back(plan_.resource);
  }
  Co<absl::StatusOr<std::unique_ptr<PreparedAction>>> Prepare(const ActionSite& site) override {
    if (plan_.where != nullptr) {
      auto done = std::make_shared<std::atomic<bool>>(false);
      AioContext& main = site.core().main_context();
      plan_.where->Post("prepare", [done, &main] {
        done->store(true);
        main.wait_domain().Kick();
      });
      const auto waiting = [&done] { return !done->load(); };
      const absl::Status waited =
          co_await AioWaitWhile(main, waiting, {.name = "prepare", .deadline = site.deadline()});
      EXPECT_TRUE(waited.ok()) << waited;
    }
    plan_.log->push_back("prepare " + plan_.name);
    if (plan_.throws) throw std::runtime_error("thrown");
    if (plan_.fails) co_return absl::UnavailableError(plan_.name + " fails");
    co_return std::make_unique<Done>(plan_);
  }

 private:
  class Done final : public PreparedAction {
   public:
    explicit Done(Plan plan) : plan_(std::move(plan)) {}
    ~Done() override { plan_.log->push_back("~" + plan_.name); }
    void Commit() noexcept override { plan_.log->push_back("commit " + plan_.name); }
    void Abort() noexcept override { plan_.log->push_back("abort " + plan_.name); }
    Co<void> Clean(TimePoint) override {
      plan_.log->push_back("clean " + plan_.name);
      return {};
    }
    const Plan plan_;
  };
  const Plan plan_;
};

std::shared_ptr<Resource> ResourceOf(const std::shared_ptr<Node>& node) { return {node, &node->resource()}; }

class BlockActions : public ::testing::Test {
 protected:
  static MemoryNode& Memory(const std::shared_ptr<Node>& node) { return static_cast<MemoryNode&>(*node); }
  std::shared_ptr<MemoryNode> Disk(std::string name, AioContext* context = nullptr) {
    return world.FullDisk(std::move(name), kSize, context);
  }
  ActionTransaction New(CompletionMode mode = CompletionMode::kIndividual) {
    return ActionTransaction(world.core(), {.name = "test", .completion = mode});
  }
  absl::Status Run(ActionTransaction transaction) {
    return world.Await(ActionTransaction::Run(std::move(transaction)));
  }
  template <typename... Actions>
  absl::Status RunAll(Actions... actions) {
    ActionTransaction transaction = New();
    (transaction.Add(std::move(actions)), ...);
    return Run(std::move(transaction));
  }
  std::vector<std::string> Bitmaps(Node& node) {
    std::vector<std::string> texts;
    for (const BitmapInfo& info : node.bitmaps().List()) {
      texts.push_back(info.name + " " + std::to_string(info.dirty_bytes) + (info.recording ? "" : " disabled") +
                      (info.busy_with.empty() ? "" : " busy"));
    }
    return texts;
  }
  void Write(const std::shared_ptr<Node>& node, uint64_t offset, uint64_t length) {
    auto edge = NodeEdge::Attach(node, {.user = "client", .writes = true});
    const std::vector<std::byte> data(length, std::byte{9});
    EXPECT_EQ(world.Await((*edge)->Write(offset, data)), 0);
  }

  NodeWorld world{2};
};

TEST_F(BlockActions, AFailureAtEveryPositionUndoesAllBeforeItInReverse) {
  const std::vector<std::shared_ptr<Node>> disks = {Disk("d0"), Disk("d1", &world.io(0)), Disk("d2", &world.io(1))};
  for (size_t members = 1; members <= 8; ++members) {
    for (size_t failing = 0; failing <= members; ++failing) {  // `members`: none
      for (int how = 0; how < 3; ++how) {
        std::vector<std::string> log, expected, undone;
        ActionTransaction transaction = New();
        for (size_t i = 0; i < members; ++i) {
          const std::string name = std::to_string(i);
          AioContext* const contexts[] = {nullptr, &world.main(), &world.io(i % 2)};
          transaction.Add(std::make_unique<Logged>(Logged::Plan{.name = name,
                                                                .log = &log,
                                                                .resource = ResourceOf(disks[i % disks.size()]),
                                                                .where = contexts[how],
                                                                .fails = i == failing && members % 2 == 0,
                                                                .throws = i == failing && members % 2 == 1}));
          if (i <= failing) expected.push_back("prepare " + name);
          if (i < failing) undone.insert(undone.begin(), {"abort " + name, "clean " + name, "~" + name});
        }
        const absl::Status status = Run(std::move(transaction));
        if (failing < members) {
          EXPECT_EQ(status.code(), members % 2 == 0 ? absl::StatusCode::kUnavailable : absl::StatusCode::kInternal);
          expected.insert(expected.end(), undone.begin(), undone.end());
        } else {
          EXPECT_TRUE(status.ok()) << status;
          for (const char* step : {"commit ", "clean ", "~"}) {
            for (size_t i = 0; i < members; ++i) expected.push_back(step + std::to_string(i));
          }
        }
        EXPECT_THAT(log, ElementsAreArray(expected));
      }
    }
  }
}

TEST_F(BlockActions, ATransactionThatIsDroppedInTheMiddleUndoesWhatItHasPrepared) {
  std::vector<std::string> log;
  const std::shared_ptr<Node> disk = Disk("disk");
  {
    ActionTransaction transaction = New();
    transaction.Add(std::make_unique<Logged>(Logged::Plan{.name = "a", .log = &log, .resource = ResourceOf(disk)}));
    transaction.Add(std::make_unique<Logged>(Logged::Plan{.name = "b", .log = &log}));
    transaction.Add(std::make_unique<Logged>(Logged::Plan{.name = "c", .log = &log, .where = &world.main()}));
    Co<absl::Status> run = ActionTransaction::Run(std::move(transaction));
    CoRoot root([](CoRoot&) {});
    root.Start(run);
    ASSERT_FALSE(run.done());
  }
  EXPECT_THAT(log, ElementsAre("prepare a", "prepare b", "abort b", "~b", "abort a", "~a"));
  EXPECT_TRUE(
      RunAll(std::make_unique<Logged>(Logged::Plan{.name = "d", .log = &log, .resource = ResourceOf(disk)})).ok());
}

TEST_F(BlockActions, EmptyTransactionsSucceed) {
  EXPECT_TRUE(Run(New()).ok());
  EXPECT_TRUE(Run(New(CompletionMode::kGrouped)).ok());
}

// D1: three members hang the reference.
TEST_F(BlockActions, JobsThatWereCreatedAreUndoneWhateverTheirNumber) {
  for (const CompletionMode mode : {CompletionMode::kIndividual, CompletionMode::kGrouped}) {
    for (int jobs = 0; jobs <= 7; ++jobs) {
      std::vector<std::shared_ptr<Node>> nodes;
      ActionTransaction transaction = New(mode);
      Strings expected;
      for (int i = 0; i < jobs; ++i) {
        const std::string id = "j" + std::to_string(i);
        AioContext* const homes[] = {nullptr, &world.io(0), &world.io(1)};
        nodes.push_back(Disk("s" + id, homes[i % 3]));
        nodes.push_back(Disk("t" + id));
        const auto& source = nodes[nodes.size() - 2];
        if (i % 2 == 0) {
          transaction.Add(StartBackupAction({.id = id}, {.source = source, .target = nodes.back()}));
        } else {
          transaction.Add(StartMirrorAction({.id = id}, {.source = source, .target = nodes.back()}));
        }
        expected.push_back(id + " created");
      }
      transaction.Add(monitor::FailingAction());
      world.NewEvents();
      EXPECT_THAT(Run(std::move(transaction)),
                  Refused(absl::StatusCode::kAborted, "Transaction aborted using Abort action"));
      // All is over when the answer comes.
      if (mode == CompletionMode::kIndividual) {
        for (int i = jobs - 1; i >= 0; --i) {
          for (const char* status : {" aborting", " concluded", " null"}) {
            expected.push_back("j" + std::to_string(i) + status);
          }
        }
        EXPECT_THAT(world.NewEvents(), ElementsAreArray(expected));
      }
      for (int i = 0; i < jobs; ++i) EXPECT_FALSE(world.Findable("j" + std::to_string(i)));
      for (const auto& node : nodes) EXPECT_THAT(UsersOf(*node), IsEmpty());
    }
  }
}

TEST_F(BlockActions, BackupsOfATransactionAreOfOneMoment) {
  const auto a = Disk("a", &world.io(0)), a2 = Disk("a2"), a3 = Disk("a3");
  const auto b = Disk("b", &world.io(1)), b2 = Disk("b2");
  world.StartWriters(a, 3);
  world.StartWriters(b, 3);
  for (int round = 0; round < 5; ++round) {
    world.LetWritersWork();
    ActionTransaction all = New(CompletionMode::kGrouped);
    all.Add(StartBackupAction({.id = "a2"}, {.source = a, .target = a2, .granularity = 4096}));
    all.Add(StartBackupAction({.id = "b2"}, {.source = b, .target = b2}));
    all.Add(StartBackupAction({.id = "a3"}, {.source = a, .target = a3}));
    ASSERT_TRUE(Run(std::move(all)).ok());
    ASSERT_TRUE(world.RunUntil([&] { return !world.Findable("a2") && !world.Findable("a3") && !world.Findable("b2"); },
                               "the backups"));
    EXPECT_EQ(world.EventOutcome("a2"), "succeeded");
    EXPECT_EQ(a2->Snapshot(), a3->Snapshot());
  }
  world.EndWriters();
}

TEST_F(BlockActions, TransactionsOverTheSameNodesInAnyOrderFollowEachOther) {
  const std::shared_ptr<Node> a = Disk("a"), b = Disk("b");
  std::vector<std::string> log;
  std::vector<jobcore_test::Started<absl::Status>> runs;
  for (int i = 0; i < 6; ++i) {
    const std::string name = std::to_string(i);
    ActionTransaction transaction = New();
    transaction.Add(std::make_unique<Logged>(
        Logged::Plan{.name = name, .log = &log, .resource = ResourceOf(i % 2 == 0 ? a : b), .where = &world.io(0)}));
    transaction.Add(std::make_unique<Logged>(
        Logged::Plan{.name = name, .log = &log, .resource = ResourceOf(i % 2 == 0 ? b : a), .where = &world.io(1)}));
    runs.emplace_back(ActionTransaction::Run(std::move(transaction)));
  }
  std::vector<std::string> expected;
  for (size_t i = 0; i < runs.size(); ++i) {
    ASSERT_TRUE(world.RunUntil([&] { return runs[i].done(); }, "a transaction"));
    for (const char* step : {"prepare ", "prepare ", "commit ", "commit ", "clean ", "clean ", "~", "~"}) {
      expected.push_back(step + std::to_string(i));
    }
  }
  EXPECT_THAT(log, ElementsAreArray(expected));
}

TEST_F(BlockActions, BitmapsRecordWhatIsWrittenAndChangeTogetherOrNotAtAll) {
  const std::shared_ptr<Node> disk = Disk("disk");
  ASSERT_TRUE(RunAll(AddBitmapAction(disk, {.name = "b0", .granularity = 4096})).ok());
  Write(disk, 100, 5000);
  EXPECT_THAT(Bitmaps(*disk), ElementsAre("b0 8192"));
  // As incremental backups begin: what has been recorded goes elsewhere, and recording starts anew.
  const auto turn_over = [&](std::unique_ptr<Action> last) {
    return RunAll(AddBitmapAction(disk, {.name = "old", .granularity = 4096, .recording = false}),
                  MergeBitmapsAction({disk, "old"}, {{disk, "b0"}}), ClearBitmapAction(disk, "b0"), std::move(last));
  };
  EXPECT_FALSE(turn_over(monitor::FailingAction()).ok());
  EXPECT_THAT(Bitmaps(*disk), ElementsAre("b0 8192"));
  EXPECT_TRUE(turn_over(DisableBitmapAction(disk, "b0")).ok());
  EXPECT_THAT(Bitmaps(*disk), ElementsAre("b0 0 disabled", "old 8192 disabled"));
  Write(disk, 0, 512);
  EXPECT_TRUE(RunAll(EnableBitmapAction(disk, "b0")).ok());
  Write(disk, kSize - 1, 1);
  EXPECT_THAT(Bitmaps(*disk), ElementsAre("b0 4096", "old 8192 disabled"));
  EXPECT_FALSE(RunAll(RemoveBitmapAction(disk, "b0"), monitor::FailingAction()).ok());
  EXPECT_THAT(RunAll(RemoveBitmapAction(disk, "b0"), ClearBitmapAction(disk, "b0")),
              Refused(absl::StatusCode::kNotFound, "Dirty bitmap 'b0' not found"));
  EXPECT_THAT(Bitmaps(*disk), ElementsAre("b0 4096", "old 8192 disabled"));
  EXPECT_TRUE(RunAll(RemoveBitmapAction(disk, "b0"), AddBitmapAction(disk, {.name = "b0"})).ok());
  EXPECT_THAT(Bitmaps(*disk), ElementsAre("b0 0", "old 8192 disabled"));
  EXPECT_THAT(RunAll(AddBitmapAction(disk, {.name = "old"})),
              Refused(absl::StatusCode::kAlreadyExists, "Bitmap already exists: old"));
  {
    const absl::StatusOr<BitmapClaim> claim = disk->bitmaps().Claim("old", {.name = "somebody", .id = this});
    EXPECT_THAT(
        RunAll(ClearBitmapAction(disk, "old")),
        Refused(absl::StatusCode::kFailedPrecondition, "Bitmap 'old' is currently in use by another operation"));
  }
  EXPECT_TRUE(RunAll(RemoveBitmapAction(disk, "b0"), RemoveBitmapAction(disk, "old")).ok());
  EXPECT_THAT(Bitmaps(*disk), IsEmpty());
}

TEST_F(BlockActions, UsersAreSwitchedAndNodesMovedAtTheCommitOnly) {
  const std::shared_ptr<Node> from = Disk("from"), to = Disk("to"), other = Disk("other");
  auto client = NodeEdge::Attach(from, {.user = "client", .writes = true});
  const auto io = NodeWorld::Shared(&world.io(0));
  EXPECT_FALSE(RunAll(SwitchUsersAction(from, to), SetContextAction(from, io), monitor::FailingAction()).ok());
  EXPECT_EQ((*client)->node(), from);
  EXPECT_EQ(from->context().get(), &world.main());
  EXPECT_THAT(RunAll(SwitchUsersAction(from, to), SwitchUsersAction(from, other)),
              Refused(absl::StatusCode::kFailedPrecondition, "are just being switched over"));
  {
    const auto top = *MakeRawNode(world.core(), {.node = {.name = "top"}, .file = other});
    const auto moved = Refused(absl::StatusCode::kFailedPrecondition, "'other' is just being moved");
    EXPECT_THAT(RunAll(SetContextAction(top, io), SwitchUsersAction(other, to)), moved);
    EXPECT_THAT(RunAll(SwitchUsersAction(other, to), SetContextAction(top, io)),
                Refused(absl::StatusCode::kFailedPrecondition, "'other' are just being switched over"));
  }
  EXPECT_TRUE(RunAll(SwitchUsersAction(from, to), SetContextAction(from, io),
                     StartBackupAction({.id = "b"}, {.source = from, .target = other}))
                  .ok());
  EXPECT_EQ((*client)->node(), to);
  EXPECT_EQ(from->context(), io);
  ASSERT_TRUE(world.RunUntil([&] { return !world.Findable("b"); }, "the backup"));
  EXPECT_EQ(world.EventOutcome("b"), "succeeded");
}

TEST_F(BlockActions, ASectionThatIsNotReachedInTimeFailsTheTransaction) {
  const std::shared_ptr<Node> disk = Disk("disk");
  Admission in = world.Await([](Node& node) -> Co<Admission> { co_return co_await node.resource().Admit(); }(*disk));
  ActionTransaction late(world.core(), {.name = "late", .timeout = std::chrono::milliseconds(5)});
  late.Add(AddBitmapAction(disk, {.name = "b"}));
  EXPECT_THAT(Run(std::move(late)), Refused(absl::StatusCode::kDeadlineExceeded, "section 'transaction 'late''"));
  in.End();
  EXPECT_THAT(Bitmaps(*disk), IsEmpty());
}

// Each group has a node drained that the other one's requests come through to what both have drained.
TEST_F(BlockActions, GroupsWhoseSectionsOverlapCrosswiseDoNotWaitForEachOther) {
  const auto file1 = Disk("file1"), file2 = Disk("file2");
  const auto raw = [&](const char* name, std::shared_ptr<Node> file) {
    return *MakeRawNode(world.core(), {.node = {.name = name}, .file = std::move(file)});
  };
  const std::shared_ptr<Node> raw1 = raw("raw1", file1), raw2 = raw("raw2", file2);
  const DrainedSection one = world.Drain({&raw1->resource(), &file1->resource(), &file2->resource()});
  const DrainedSection two = world.Drain({&raw2->resource(), &file1->resource(), &file2->resource()});
  std::vector<std::byte> buffer(512);
  for (const auto& [section, node] : {std::pair(&one, raw1), std::pair(&two, raw2)}) {
    const Admission in = section->Admit(node->resource());
    EXPECT_EQ(world.Await(node->Read(in, 0, buffer)), 0);
  }
}

}  // namespace
}  // namespace jobcore::block
