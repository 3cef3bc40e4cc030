// SPDX-License-Identifier: Apache-2.0
//
// Nodes under controlled threads: jobs that copy them are made while others look for jobs.

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "job-driver/block/backup.h"
#include "job-driver/block/graph.h"
#include "job-driver/block/null_node.h"
#include "threads/thread_world.h"

namespace jobcore::threads {
namespace {

using block::BackupOptions;
using block::Node;

std::shared_ptr<Node> Disk(World& world, std::string name) {
  return *block::MakeNullNode(world.core(), {.node = {.name = std::move(name)}, .size = 4096});
}

JobRef NewBackup(World& world, const std::shared_ptr<Node>& source, const std::shared_ptr<Node>& target) {
  Resource* const resource = &source->resource();
  const absl::StatusOr<DrainedSection> section = DrainedSection::OpenBlocking({&resource, 1}, {.name = "backup"});
  RequireOk(section.status(), "the source is drained");
  absl::StatusOr<JobRef> job = block::CreateBackup(world.core(), {.id = "b"},
                                                   {.source = source, .target = target, .granularity = 512}, *section);
  RequireOk(job.status(), "the job is made");
  return *std::move(job);
}

void CancelOnceFound(World& world) {
  for (bool found = false; !found;) {
    SpinPoint();
    JobLock lock(world.core());
    if (Job* const job = monitor::Find(world.core(), "b")) {
      found = true;
      RequireOk(monitor::Cancel(*job), "cancel");
    }
  }
}

// whoever finds a job may cancel it at once, while it is still being made: nothing keeps its nodes when it is
// over.
void AJobThatIsCancelledAtItsCreationLetsGoOfItsNodes(Choices& choices) {
  World world(choices);
  const std::shared_ptr<Node> source = Disk(world, "disk"), target = Disk(world, "copy");
  Thread monitor([&] { CancelOnceFound(world); });
  // The job ends in the main context: it is made in another one.
  Atomic<bool> made{false};
  world.io().Post("creation", [&] {
    Spawn("creation", [](World& w, BackupOptions options, Atomic<bool>& done) -> Co<void> {
      JobSpec spec = {.id = "b"};
      {
        const absl::StatusOr<JobRef> job = co_await CreateBackup(w.core(), std::move(spec), std::move(options));
        RequireOk(job.status(), "the job is made");
      }
      done.store(true);
      w.Kick();
    }(world, {.source = source, .target = target, .granularity = 512}, made));
  });
  world.Await([&] { return made.load(); });
  monitor.join();
  world.Await([&] { return target.use_count() == 1; });  // when the job has gone, in the main context
}
TEST(Node, AJobThatIsCancelledAtItsCreationLetsGoOfItsNodes) {
  RunScenario(&AJobThatIsCancelledAtItsCreationLetsGoOfItsNodes);
}

// A node that can be told to copy, which it cannot as long as it has a filter.
class CopyingNode final : public Node {
 public:
  explicit CopyingNode(World& world) : Node(world.core(), {.name = "disk"}, 4096) {}
  const char* driver() const override { return "copying"; }

 protected:
  static Co<int> Done() { co_return 0; }
  Co<int> DoRead(const Admission&, uint64_t, std::span<std::byte>) override { return Done(); }
  Co<int> DoWrite(const Admission&, block::NodeWrite) override { return Done(); }
  Co<int> DoFlush(const Admission&) override { return Done(); }
  Co<int> DoCopyFrom(const Admission&, uint64_t, uint64_t, Node&, const Admission&, uint64_t) override {
    return Done();
  }
};

// nor is its filter left, although there still is a reference to the job.
void AJobThatIsCancelledAtItsCreationLeavesNoFilter(Choices& choices) {
  World world(choices);
  const auto source = std::make_shared<CopyingNode>(world);
  const std::shared_ptr<Node> target = Disk(world, "copy");
  Thread monitor([&] { CancelOnceFound(world); });
  Shared<JobRef> made;
  world.io().Post("creation", [&] {
    Spawn("creation", [](World& w, BackupOptions options, Shared<JobRef>& result) -> Co<void> {
      JobSpec spec = {.id = "b"};
      absl::StatusOr<JobRef> job = co_await CreateBackup(w.core(), std::move(spec), std::move(options));
      RequireOk(job.status(), "the job is made");
      result.Update([&](JobRef& ref) { ref = *std::move(job); });
      w.Kick();
    }(world, {.source = source, .target = target, .granularity = 512}, made));
  });
  world.Await([&] {
    const JobRef job = made.Get();
    if (!job) return false;
    JobLock lock(world.core());
    return job->status() == JobStatus::kNull;
  });
  monitor.join();
  Spawn("copy", [](Node& to, Node& from) -> Co<void> {
    const Admission in = co_await to.resource().Admit();
    const Admission from_in = co_await from.resource().Admit();
    const int error = co_await to.CopyFrom(in, 0, 512, from, from_in, 0);
    Require(error == 0, "a filter of a job that is over is gone");
  }(*source, *target));
  made.Update([](JobRef& ref) { ref = JobRef(); });
  world.Await([&] { return target.use_count() == 1; });
}
TEST(Node, AJobThatIsCancelledAtItsCreationLeavesNoFilter) {
  RunScenario(&AJobThatIsCancelledAtItsCreationLeavesNoFilter);
}

// A node is moved while somebody makes a job that lives where the node does.
void AJobThatIsMadeDuringAMoveLivesWhereItsNodeDoes(Choices& choices) {
  World world(choices, {.io_threads = 2});
  const std::shared_ptr<Node> source = Disk(world, "disk"), target = Disk(world, "copy");
  Atomic<int> moved{0};
  for (size_t i = 0; i < 2; ++i) {
    world.io(i).Post("move", [&, i] {
      Spawn("move", [](World& w, std::shared_ptr<Node> node, AioContext& to, Atomic<int>& done) -> Co<void> {
        const absl::Status status = co_await MoveNode(node, to.shared_from_this());
        Require(status.ok() || absl::IsFailedPrecondition(status), "a node is moved, or somebody else does so");
        node.reset();
        done.fetch_add(1);
        w.Kick();
      }(world, source, world.io(i), moved));
    });
  }
  const JobRef job = NewBackup(world, source, target);
  world.Await([&] { return moved.load() == 2; });
  Require(&job->context() == source->context().get(), "the job lives where its node does");
  RequireOk(AbandonJob(*job), "abandon");
}
TEST(Node, AJobThatIsMadeDuringAMoveLivesWhereItsNodeDoes) {
  RunScenario(&AJobThatIsMadeDuringAMoveLivesWhereItsNodeDoes, 2000);
}

}  // namespace
}  // namespace jobcore::threads
