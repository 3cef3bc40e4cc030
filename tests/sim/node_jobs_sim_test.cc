// SPDX-License-Identifier: Apache-2.0
//
// Mirrors and backups of nodes in memory, whose requests take any time and now and then fail, among clients that write
// and read all the time, and monitors that pause, resume, move, complete and cancel: no client ever reads anything but
// what was acknowledged to it last, wherever it has been switched to; the requests of one enter in the order in which
// it made them; and a backup that succeeds is the disk of its moment. The jobs are started by somebody who holds the
// section himself, or by transactions, of which several go on at a time: each of these happens as a whole, or leaves
// nothing behind.

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "block/memory_node.h"
#include "block/ordered_client.h"
#include "block/writer.h"
#include "job-common/job_core.h"
#include "job-common/job_txn.h"
#include "job-driver/block/backup.h"
#include "job-driver/block/block_actions.h"
#include "job-driver/block/fault_node.h"
#include "job-driver/block/graph.h"
#include "job-driver/block/mirror.h"
#include "job-driver/block/node_bitmaps.h"
#include "job-monitor/action_transaction.h"
#include "job-monitor/job_history.h"
#include "job-monitor/job_monitor.h"
#include "job-monitor/wait_dump.h"
#include "job-testing/campaign.h"
#include "job-testing/choices.h"
#include "job-testing/job_checker.h"
#include "job-testing/probes.h"
#include "job-testing/simulation.h"

namespace jobcore::sim {
namespace {

using block::BackupOptions;
using block::FaultRule;
using block::MemoryNode;
using block::MirrorOptions;
using block::Node;
using block::OrderedClient;
using block::Writer;
using testing::Choices;

using Group = std::vector<uint64_t>;  // the numbers of its jobs

[[noreturn]] void Broken(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

// What people use, and where it is stored.
struct Disk {
  std::shared_ptr<Node> top;
  std::shared_ptr<MemoryNode> image;
};

// A job, and what its target is to be if it succeeds.
struct Started {
  std::string id = {};
  JobRef job = {};
  Disk target;
  bool is_mirror = false;
  bool is_whole_backup = false;
  std::vector<std::byte> then = {};
  std::optional<uint64_t> written_at_end = std::nullopt;
};

// Who starts the jobs.
enum class Starter { kSection, kTransactions };

class NodeJobs {
 public:
  explicit NodeJobs(Choices& choices, Starter starter)
      : choices_(choices), starter_(starter), faults_(choices), sim_(choices) {
    contexts_ = {sim_.NewContext("main", AioContext::Kind::kMain), sim_.NewContext("io0", AioContext::Kind::kIOThread),
                 sim_.NewContext("io1", AioContext::Kind::kIOThread)};
    sim_.AtHome(*contexts_[0], [&] {
      core_.emplace(JobCore::Options{.main_context = contexts_[0]});
      checker_.emplace(*core_, [this] { return sim_.trace(); });
    });
    size_ = 512 * choices_.Between(1, 12) + (choices_.OneIn(3) ? 100 : 0);
    granularity_ = uint64_t{512} << choices_.Below(4);
  }

  void Run() {
    for (uint32_t i = choices_.Between(1, 2); i > 0; --i) AddClients(NewDisk("disk", /*may_fail=*/false));
    for (uint32_t round = choices_.Between(1, 2); round > 0; --round) {
      StartClients();
      if (starter_ == Starter::kSection) {
        AtMain([this] { Spawn("round", CreateJobs()); });
      } else {
        for (uint32_t n = choices_.Between(1, 3); n > 0; --n) {
          AtMain([this] { Spawn("transaction", RunTransaction()); });
        }
      }
      sim_.AddActor("monitor", [this, left = choices_.Below(16)]() mutable {
        if (left == 0) return false;
        Ask();
        return --left != 0;
      });
      RunUntilQuiet();
      for (int i = 0; Push(); ++i) {
        if (i == 60) Broken("they do not come to their end:\n" + ToString(monitor::DumpWaits(*core_)));
        StartClients();
        RunUntilQuiet();
      }
      CheckJobs();
    }
    CheckClients();
    clients_.clear();
    ordered_clients_.clear();
    RunUntilQuiet();
    checker_->Finish();
    disks_.clear();
    sim_.AtHome(*contexts_[0], [&] { core_.reset(); });
  }

 private:
  AioContext& AnyContext() { return *contexts_[choices_.Below(3)]; }
  void AtMain(absl::FunctionRef<void()> body) { sim_.AtHome(*contexts_[0], body); }
  void RunUntilQuiet() {
    sim_.RunUntilQuiet([this] {
      checker_->Check();
      CheckTargets();
    });
  }

  Disk NewDisk(const char* name, bool may_fail) {
    const std::string unique = absl::StrCat(name, disks_.size());
    const auto delay = [this]() -> Nanoseconds {
      const uint32_t n = choices_.Below(4);
      return Nanoseconds(n == 3 ? 1 + choices_.Below(1000) : n);
    };
    Disk disk;
    disk.image = std::make_shared<MemoryNode>(
        *core_,
        MemoryNode::Options{
            .node = {.name = unique, .context = AnyContext().shared_from_this()}, .size = size_, .delay = delay});
    disk.top = disk.image;
    if (may_fail && faults_.Fires("target")) {
      using Operation = FaultRule::Operation;
      constexpr Operation kOperations[] = {Operation::kWrite, Operation::kWriteZeroes, Operation::kFlush,
                                           Operation::kBlockStatus};
      block::FaultOptions options = {.node = {.name = unique + "-top"}, .image = disk.image};
      for (uint32_t n = choices_.Between(1, 3); n > 0; --n) {
        options.rules.push_back({.operation = choices_.Pick(kOperations),
                                 .error = choices_.OneIn(2) ? EIO : ENOSPC,
                                 .once = true,
                                 .delay = Nanoseconds(choices_.Below(100))});
      }
      disk.top = *MakeFaultNode(*core_, std::move(options));
    }
    disks_.push_back(disk);
    return disk;
  }
  const Disk& DiskOf(const Writer& client) {
    for (const Disk& disk : disks_) {
      if (disk.top == client.edge().node()) return disk;
    }
    Broken("a client has been switched to nowhere");
  }

  void AddClients(const Disk& disk) {
    heads_.push_back(clients_.size());
    const uint32_t count = choices_.Between(1, 3);
    const uint64_t block_bytes = uint64_t{512} * choices_.Between(1, 5);
    for (uint32_t i = 0; i < count; ++i) {
      if (size_ / block_bytes <= i) break;
      clients_.push_back(
          std::make_unique<Writer>(Writer::Options{.node = disk.top,
                                                   .context = &AnyContext(),
                                                   .first = i,
                                                   .step = count,
                                                   .block_bytes = block_bytes,
                                                   .writes = choices_.Between(1, 12),
                                                   .below = [this](uint32_t n) { return choices_.Below(n); },
                                                   .errors_allowed = true}));
    }
    if (clients_.size() == heads_.back()) heads_.pop_back();
    ordered_clients_.push_back(std::make_unique<OrderedClient>(OrderedClient::Options{
        .node = disk.top, .context = &AnyContext(), .requests = choices_.Between(1, 12), .below = [this](uint32_t n) {
          return choices_.Below(n);
        }}));
  }
  void StartClients() {
    for (const auto& client : clients_) {
      if (!client->running()) client->Start();
    }
    for (const auto& client : ordered_clients_) {
      if (!client->running()) client->Start();
    }
  }

  OnError AnyPolicy() {
    constexpr OnError kPolicies[] = {OnError::kStop, OnError::kReport, OnError::kIgnore, OnError::kEnospc};
    return choices_.Pick(kPolicies);
  }
  Co<void> CreateJobs() {
    std::vector<Disk> sources;
    std::vector<Resource*> resources;
    for (const size_t head : heads_) {
      sources.push_back(DiskOf(*clients_[head]));
      resources.push_back(&sources.back().top->resource());
    }
    JobTxnBuilder group(*core_);
    {
      const absl::StatusOr<DrainedSection> section =
          co_await DrainedSection::Open(resources, {.name = "start of the round"});
      for (size_t i = 0; i < sources.size(); ++i) {
        // Somebody of the last round may have switched it meanwhile.
        if (DiskOf(*clients_[heads_[i]]).top != sources[i].top) Broken("a round has not ended");
        CreateSome(sources[i], *section, choices_.OneIn(2) ? &group : nullptr);
      }
    }
    (void)group.Seal();
    for (const Started& started : started_) (void)StartJob(*started.job);
  }
  void CreateSome(const Disk& source, const DrainedSection& section, JobTxnBuilder* group) {
    for (uint32_t n = choices_.Between(1, 2); n > 0; --n) {
      Started started = {.target = NewDisk("copy", /*may_fail=*/true), .is_mirror = choices_.OneIn(2)};
      const JobSpec spec = {.id = absl::StrCat("job", number_++),
                            .group = group,
                            .auto_finalize = !choices_.OneIn(3),
                            .speed = choices_.OneIn(4) ? 1 << choices_.Below(16) : 0};
      absl::StatusOr<JobRef> job = started.is_mirror ? NewMirror(spec, source, started.target, section)
                                                     : NewBackup(spec, source, started, section);
      if (!job.ok()) continue;  // the group may have failed
      started.then = source.image->Snapshot();
      started.job = *std::move(job);
      started_.push_back(std::move(started));
    }
  }
  absl::StatusOr<JobRef> NewMirror(const JobSpec& spec, const Disk& source, const Disk& target,
                                   const DrainedSection& section) {
    return NoMemory([&, options = Mirror(source, target)] { return CreateMirror(*core_, spec, options, section); });
  }
  MirrorOptions Mirror(const Disk& source, const Disk& target) {
    return {
        .source = source.top,
        .target = target.top,
        .copy_mode = choices_.OneIn(2) ? MirrorOptions::CopyMode::kWriteBlocking : MirrorOptions::CopyMode::kBackground,
        .granularity = granularity_,
        .buffer_bytes = size_t{512} << choices_.Below(8),
        .in_flight = static_cast<int>(choices_.Between(1, 4)),
        .on_source_error = AnyPolicy(),
        .on_target_error = AnyPolicy()};
  }
  absl::StatusOr<JobRef> NewBackup(const JobSpec& spec, const Disk& source, Started& started,
                                   const DrainedSection& section) {
    return NoMemory([&, options = Backup(source, started)] { return CreateBackup(*core_, spec, options, section); });
  }
  BackupOptions Backup(const Disk& source, Started& started) {
    started.is_whole_backup = !choices_.OneIn(4);
    return {.source = source.top,
            .target = started.target.top,
            .sync = started.is_whole_backup ? BackupOptions::Sync::kFull : BackupOptions::Sync::kNone,
            .granularity = granularity_,
            .in_flight = static_cast<int>(choices_.Between(1, 4)),
            .on_source_error = AnyPolicy(),
            .on_target_error = AnyPolicy(),
            .on_copy_error =
                choices_.OneIn(2) ? BackupOptions::OnCopyError::kBreakBackup : BackupOptions::OnCopyError::kBreakWrite};
  }
  // Tries again while there is no memory ("create.no_memory").
  static absl::StatusOr<JobRef> NoMemory(absl::FunctionRef<absl::StatusOr<JobRef>()> create) {
    for (;;) {
      try {
        return create();
      } catch (const std::bad_alloc&) {
      }
    }
  }

  // --- Transactions ---
  // The last action of each: its Commit is the moment of the others.
  class Moment final : public monitor::Action {
   public:
    explicit Moment(std::function<void()> now) : now_(std::move(now)) {}
    std::string_view type() const override { return "moment"; }
    Co<absl::StatusOr<std::unique_ptr<monitor::PreparedAction>>> Prepare(const monitor::ActionSite&) override {
      co_return std::make_unique<Prepared>(now_);
    }

   private:
    class Prepared final : public monitor::PreparedAction {
     public:
      explicit Prepared(std::function<void()> now) : now_(std::move(now)) {}
      void Commit() noexcept override { now_(); }
      void Abort() noexcept override {}

     private:
      const std::function<void()> now_;
    };
    const std::function<void()> now_;
  };

  Co<void> RunTransaction() {
    if (heads_.empty()) co_return;  // no disk is large enough for a client
    const std::string name = absl::StrCat("t", number_++);
    const bool grouped = choices_.OneIn(2);
    monitor::ActionTransaction transaction(
        *core_, {.name = name,
                 .completion = grouped ? monitor::CompletionMode::kGrouped : monitor::CompletionMode::kIndividual});
    std::vector<std::pair<Started, Disk>> planned;  // and the sources
    std::vector<std::shared_ptr<Node>> bitmaps;     // which get one of that name
    const uint32_t actions = choices_.Between(1, 5);
    const uint32_t failing = choices_.OneIn(3) ? choices_.Below(actions) : actions;
    for (uint32_t i = 0; i < actions; ++i) {
      const Disk source = DiskOf(*clients_[choices_.Pick(heads_)]);
      if (i == failing) {
        transaction.Add(monitor::FailingAction());
        continue;
      }
      switch (choices_.Below(5)) {
        case 0:
          if (std::count(bitmaps.begin(), bitmaps.end(), source.top) > 0) break;
          bitmaps.push_back(source.top);
          transaction.Add(block::AddBitmapAction(source.top, {.name = name}));
          break;
        case 1:
          transaction.Add(block::SetContextAction(source.top, AnyContext().shared_from_this()));
          break;
        default: {
          Started started = {.target = NewDisk("copy", /*may_fail=*/true), .is_mirror = choices_.OneIn(2)};
          JobSpec spec = {.id = absl::StrCat("job", number_++), .auto_finalize = !choices_.OneIn(3)};
          started.id = spec.id;
          transaction.Add(started.is_mirror ? block::StartMirrorAction(std::move(spec), Mirror(source, started.target))
                                            : block::StartBackupAction(std::move(spec), Backup(source, started)));
          planned.emplace_back(std::move(started), source);
        }
      }
    }
    transaction.Add(std::make_unique<Moment>([&] {
      for (auto& [started, source] : planned) {
        started.then = source.image->Snapshot();
        JobLock lock(*core_);
        Job* const job = monitor::Find(*core_, started.id);
        if (job != nullptr) started.job = JobRef(*job);  // somebody may have cancelled it already
      }
    }));
    ++running_;
    const absl::Status status = co_await monitor::ActionTransaction::Run(std::move(transaction));
    --running_;
    testing::Reached(status.ok() ? "transaction.committed" : "transaction.rolled_back");
    if (status.ok() && failing < actions) Broken(absl::StrCat(name, " has succeeded, and one of its actions cannot"));
    for (const std::shared_ptr<Node>& node : bitmaps) {
      if (node->bitmaps().Find(name).ok() != status.ok()) {
        Broken(absl::StrCat(name, ": ", status.ToString(), ", but the bitmap of ", node->name(), " says otherwise"));
      }
    }
    Group group;
    for (auto& [started, source] : planned) {
      if (!status.ok() && started.job) Broken(absl::StrCat(name, " has failed, but its actions were carried out"));
      if (!status.ok()) ExpectGone(started.id);
      if (!started.job) continue;
      group.push_back(started.job->number());
      started_.push_back(std::move(started));
    }
    if (status.ok() && grouped) groups_.push_back(std::move(group));
  }
  void ExpectGone(const std::string& id) {
    JobLock lock(*core_);
    const Job* const job = monitor::Find(*core_, id);
    if (job != nullptr && job->status() != JobStatus::kNull) {
      Broken(
          absl::StrCat("job ", id, " of a transaction that has failed is ", std::string(JobStatusName(job->status()))));
    }
  }

  // One thing that a monitor may ask for.
  void Ask() {
    if (started_.empty()) return;
    if (choices_.OneIn(6)) return MoveSomething();
    const JobRef& job = choices_.Pick(started_).job;
    JobLock lock(*core_);
    switch (choices_.Below(8)) {
      case 0:
        (void)monitor::Pause(*job);
        return;
      case 1:
      case 2:
        (void)monitor::Resume(*job);
        return;
      case 3:
        (void)monitor::SetSpeed(*job, choices_.OneIn(2) ? 0 : 1 << choices_.Below(16));
        return;
      case 4:
        if (choices_.OneIn(3)) (void)monitor::Cancel(*job, choices_.OneIn(2) ? CancelMode::kForce : CancelMode::kSoft);
        return;
      case 5:
      case 6:
        (void)monitor::Complete(*job);
        return;
      default:
        (void)monitor::Finalize(*job);
        return;
    }
  }
  void MoveSomething() {
    contexts_[0]->Post("move", [this, node = choices_.Pick(disks_).top, &to = AnyContext()] {
      Spawn("move", Move(node, to.shared_from_this()));
    });
  }
  Co<void> Move(std::shared_ptr<Node> node, std::shared_ptr<AioContext> to) {
    const absl::Status moved = co_await MoveNode(node, to);
    testing::Reached(moved.ok() ? "node.moved" : "node.not_moved");
  }

  // True while there is something left to bring to its end.
  bool Push() {
    bool left = running_ > 0;
    JobLock lock(*core_);
    for (const Started& started : started_) {
      Job& job = *started.job;
      if (job.status() == JobStatus::kNull) continue;
      left = true;
      (void)monitor::Resume(job);
      (void)monitor::SetSpeed(job, 0);
      (void)monitor::Finalize(job);
      if (!started.is_mirror && !started.is_whole_backup) {
        (void)monitor::Cancel(job);
      } else if (job.status() == JobStatus::kReady) {
        if (choices_.OneIn(4)) {
          (void)monitor::Cancel(job, CancelMode::kSoft);
        } else {
          (void)monitor::Complete(job);
        }
      }
    }
    return left;
  }

  // Once a job is over nobody writes to its target any more, but those who have been switched there.
  void CheckTargets() {
    for (Started& started : started_) {
      {
        JobLock lock(*core_);
        if (started.job->status() != JobStatus::kNull) continue;
      }
      const uint64_t written = started.target.image->written_bytes();
      if (!started.written_at_end.has_value()) started.written_at_end = written;
      if (*started.written_at_end == written) continue;
      for (const auto& client : clients_) {
        if (client->edge().node() == started.target.top) started.written_at_end = written;
      }
      if (*started.written_at_end != written) {
        Broken(absl::StrCat("somebody writes to the target of ", started.job->id(), ", which is over"));
      }
    }
  }

  void CheckJobs() {
    for (const Started& started : started_) {
      std::optional<JobOutcome> outcome;
      {
        JobLock lock(*core_);
        // None of one that was never started, because its group had failed.
        if (const auto record = monitor::FindRecord(*core_, started.job->number())) outcome = record->outcome;
      }
      if (!outcome.has_value() || !outcome->succeeded()) continue;
      testing::Reached(started.is_mirror ? "mirror.succeeded" : "backup.succeeded");
      if (started.is_whole_backup && started.target.image->Snapshot() != started.then) {
        Broken(absl::StrCat("backup ", started.job->id(), " is not of its moment"));
      }
    }
    for (const Group& group : groups_) {
      size_t succeeded = 0;
      JobLock lock(*core_);
      for (const uint64_t number : group) {
        const auto record = monitor::FindRecord(*core_, number);
        if (record != nullptr && record->outcome.succeeded()) ++succeeded;
      }
      if (succeeded != 0 && succeeded != group.size()) Broken("one half of a group has succeeded");
      if (group.size() > 1 && succeeded != 0) testing::Reached("transaction.group_succeeded");
    }
    groups_.clear();
    started_.clear();
    RunUntilQuiet();
  }
  void CheckClients() {
    for (const auto& client : clients_) {
      if (client->running()) Broken("a client hangs:\n" + ToString(monitor::DumpWaits(*core_)));
      const Disk& disk = DiskOf(*client);
      if (disk.image->name().starts_with("copy")) testing::Reached("client.switched");
      if (const std::string wrong = client->Check(disk.image->Snapshot()); !wrong.empty()) {
        Broken(absl::StrCat("on ", disk.image->name(), " ", wrong));
      }
    }
    for (const auto& client : ordered_clients_) {
      if (client->running()) Broken("a client hangs:\n" + ToString(monitor::DumpWaits(*core_)));
      if (!client->problem().empty()) Broken(client->problem());
    }
  }

  Choices& choices_;
  const Starter starter_;
  testing::Faults faults_;
  testing::Simulation sim_;
  std::vector<std::shared_ptr<AioContext>> contexts_;
  std::optional<JobCore> core_;
  std::optional<testing::JobChecker> checker_;
  uint64_t size_ = 0;
  uint64_t granularity_ = 0;
  int number_ = 0;
  std::vector<Disk> disks_;
  std::vector<std::unique_ptr<Writer>> clients_;
  std::vector<std::unique_ptr<OrderedClient>> ordered_clients_;
  std::vector<size_t> heads_;  // the first client of each disk
  std::vector<Started> started_;
  std::vector<Group> groups_;  // of transactions
  int running_ = 0;            // transactions
};

TEST(NodeJobsSim, NothingThatWasAcknowledgedIsLost) {
  const testing::CampaignResult result =
      testing::RunCampaign({.seeds = 10'000,
                            .must_reach = {"backup.succeeded", "mirror.succeeded", "client.switched", "node.moved",
                                           "resource.request_parked", "resource.parked_request_sent_elsewhere"}},
                           [](Choices& choices) { NodeJobs(choices, Starter::kSection).Run(); });
  EXPECT_TRUE(result.ok()) << result.ToString();
  std::printf("%s\n", result.ToString().c_str());
}

TEST(NodeJobsSim, TransactionsHappenAsAWholeOrNotAtAll) {
  const testing::CampaignResult result = testing::RunCampaign(
      {.seeds = 5'000,
       .must_reach = {"transaction.committed", "transaction.rolled_back", "transaction.group_succeeded",
                      "backup.succeeded", "mirror.succeeded", "client.switched"}},
      [](Choices& choices) { NodeJobs(choices, Starter::kTransactions).Run(); });
  EXPECT_TRUE(result.ok()) << result.ToString();
  std::printf("%s\n", result.ToString().c_str());
}

}  // namespace
}  // namespace jobcore::sim
