// SPDX-License-Identifier: Apache-2.0
//
// Exports as users of nodes and of I/O threads: adding, removing, draining, switching, moving, stopping.

#include <future>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-driver/block/node_edge.h"
#include "nbd/nbd_world.h"

namespace jobcore::nbd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using wire::Command;
using wire::Error;

constexpr uint64_t kSize = 1 << 20;

void ExpectRefused(const absl::Status& status, absl::StatusCode code, std::string_view text) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(text));
}

TEST(NbdExport, IdsAndNamesAreUnique) {
  NbdWorld world;
  world.Start();
  const auto disk = world.Disk("disk", kSize);
  ASSERT_TRUE(world.server().Add({.id = "e", .node = disk, .name = "n"}).ok());
  ExpectRefused(world.server().Add({.id = "e", .node = disk, .name = "m"}), absl::StatusCode::kAlreadyExists, "'e'");
  ExpectRefused(world.server().Add({.id = "f", .node = disk, .name = "n"}), absl::StatusCode::kAlreadyExists, "'n'");
  ExpectRefused(world.server().Add({.id = "f"}), absl::StatusCode::kInvalidArgument, "no node");
  ExpectRefused(world.server().Add({.id = "f", .node = disk, .name = std::string(5000, 'x')}),
                absl::StatusCode::kInvalidArgument, "4096");
  EXPECT_THAT(block::UsersOf(*disk), ElementsAre("export 'e'"));
  const std::vector<ExportInfo> exports = world.server().Exports();
  ASSERT_EQ(exports.size(), 1u);
  EXPECT_EQ(exports[0].name, "n");
  EXPECT_EQ(exports[0].node, "disk");
  EXPECT_EQ(exports[0].size, kSize);
}

TEST(NbdExport, IsAUserOfItsNodeLikeOthers) {
  NbdWorld world;
  world.Start();
  const auto disk = world.Disk("disk", kSize);
  const auto rom = world.Disk("rom", kSize, nullptr, /*read_only=*/true);
  const auto own = block::NodeEdge::Attach(disk, {.user = "job 'j'", .lets_write = false});
  ExpectRefused(world.Export(disk), absl::StatusCode::kFailedPrecondition, "job 'j'");
  EXPECT_TRUE(world.Export(disk, /*writable=*/false).ok());  // it does not write
  ExpectRefused(world.Export(rom), absl::StatusCode::kPermissionDenied, "read-only");
  block::NodeSet nodes;
  ASSERT_TRUE(nodes.Add(disk).ok());
  ExpectRefused(nodes.Remove("disk"), absl::StatusCode::kFailedPrecondition, "export 'disk'");
}

TEST(NbdExport, SafeRemovalIsRefusedWhileThereAreClients) {
  NbdWorld world;
  world.Start();
  const auto disk = world.Disk("disk", kSize, world.io());
  ASSERT_TRUE(world.Export(disk).ok());
  auto client = world.Client("disk");
  ExpectRefused(world.server().Remove("disk", RemoveMode::kSafe), absl::StatusCode::kFailedPrecondition, "1 client");
  EXPECT_EQ(client->Write(0, "abc").error, Error::kOk);
  client.reset();
  EXPECT_TRUE(world.WaitUntil([&] { return world.server().Exports()[0].connections == 0; }, "the end of the client"));
  EXPECT_TRUE(world.server().Remove("disk", RemoveMode::kSafe).ok());
  EXPECT_TRUE(world.WaitUntil([&] { return !world.removed().empty(); }, "the removal"));
  EXPECT_THAT(world.removed(), ElementsAre("disk"));
  EXPECT_TRUE(block::UsersOf(*disk).empty());
  ExpectRefused(world.server().Remove("disk", RemoveMode::kSafe), absl::StatusCode::kNotFound, "'disk'");
  EXPECT_TRUE(world.Export(disk).ok());
}

TEST(NbdExport, HardRemovalDisconnectsItsClientsOnly) {
  NbdWorld world;
  world.Start();
  const auto disk = world.Disk("disk", kSize, world.io());
  ASSERT_TRUE(world.Export(disk).ok());
  ASSERT_TRUE(world.Export(world.Disk("other", kSize, world.io())).ok());
  const auto client = world.Client("disk");
  const auto other = world.Client("other");
  EXPECT_TRUE(world.server().Remove("disk", RemoveMode::kHard).ok());
  EXPECT_TRUE(client->SeesEnd());
  EXPECT_TRUE(world.WaitUntil([&] { return !world.removed().empty(); }, "the removal"));
  EXPECT_TRUE(block::UsersOf(*disk).empty());
  EXPECT_EQ(other->Write(0, "abc").error, Error::kOk);
  NbdClient late(world.socket());
  EXPECT_FALSE(late.Open("disk"));
}

TEST(NbdExport, HasNotGoneBeforeItsLastRequest) {
  NbdWorld world;
  world.Start();
  const auto disk = world.Disk("disk", kSize, world.io());
  ASSERT_TRUE(world.Export(disk).ok());
  const auto client = world.Client("disk");
  {
    const DrainedSection section = world.Drain(*disk);
    ASSERT_TRUE(client->Send(NbdClient::Header(Command::kWrite, 0, 3) + "abc"));
    const auto parked = [&] {
      JobLock lock(world.core());
      return disk->resource().parked() == 1;
    };
    EXPECT_TRUE(world.WaitUntil(parked, "the write"));
    EXPECT_TRUE(world.server().Remove("disk", RemoveMode::kHard).ok());
    EXPECT_TRUE(client->SeesEnd());
    EXPECT_TRUE(world.server().Exports().at(0).removing);
    EXPECT_TRUE(world.removed().empty());
    ExpectRefused(world.Export(disk), absl::StatusCode::kAlreadyExists, "'disk'");
  }
  EXPECT_TRUE(world.WaitUntil([&] { return !world.removed().empty(); }, "the removal"));
  EXPECT_EQ(disk->written_bytes(), 3u);
}

TEST(NbdExport, NodeThatIsDrainedStopsOldAndNewClients) {
  NbdWorld world;
  world.Start();
  const auto disk = world.Disk("disk", kSize, world.io());
  ASSERT_TRUE(world.Export(disk).ok());
  const auto before = world.Client("disk");
  std::unique_ptr<NbdClient> meanwhile;
  {
    const DrainedSection section = world.Drain(*disk);
    meanwhile = world.Client("disk");  // the way on which the reference loses a write (D13)
    for (NbdClient* client : {before.get(), meanwhile.get()}) {
      ASSERT_TRUE(client->Send(NbdClient::Header(Command::kWrite, 0, 3) + "abc"));
    }
    const auto parked = [&] {
      JobLock lock(world.core());
      return disk->resource().parked() == 2;
    };
    EXPECT_TRUE(world.WaitUntil(parked, "both writes"));
    EXPECT_EQ(disk->written_bytes(), 0u);
  }
  EXPECT_EQ(before->ReceiveAnswer().error, Error::kOk);
  EXPECT_EQ(meanwhile->ReceiveAnswer().error, Error::kOk);
  EXPECT_EQ(disk->written_bytes(), 6u);
}

TEST(NbdExport, ClientsGoWithTheUsersOfTheNodeAndLiveWhereItDoes) {
  NbdWorld world(2);
  world.Start();
  const auto from = world.Disk("from", kSize, world.io(0));
  const auto to = world.Disk("to", kSize, world.io(1));
  ASSERT_TRUE(world.Export(from).ok());
  const auto client = world.Client("from");
  EXPECT_EQ(client->Write(0, "old").error, Error::kOk);
  {
    Resource* const both[] = {&from->resource(), &to->resource()};
    const auto section = DrainedSection::OpenBlocking(both, {.name = "test"});
    ASSERT_TRUE(section.ok());
    ASSERT_TRUE(client->Send(NbdClient::Header(Command::kWrite, 0, 3) + "new"));
    block::SwitchUsers(*from, to);
  }
  EXPECT_EQ(client->ReceiveAnswer().error, Error::kOk);
  EXPECT_EQ(client->Read(0, 3).data, "new");
  EXPECT_EQ(from->written_bytes(), 3u);
  EXPECT_EQ(to->written_bytes(), 3u);
  EXPECT_EQ(world.server().Exports()[0].node, "to");
  // Nothing of it is left in the first I/O thread; the other one cannot be stopped.
  EXPECT_TRUE(world.WaitUntil([&] { return world.io(0)->users() == 0; }, "the move"));
  EXPECT_TRUE(world.thread(0).Stop().ok());
  EXPECT_EQ(client->Read(0, 3).data, "new");
}

TEST(NbdExport, IOThreadThatItNeedsIsNotStopped) {
  NbdWorld world(3);
  world.Start();
  const auto disk = world.Disk("disk", kSize, world.io(0));
  ASSERT_TRUE(world.Export(disk).ok());
  ExpectRefused(world.thread(0).Stop(), absl::StatusCode::kFailedPrecondition, "export(s)");
  const auto client = world.Client("disk");
  EXPECT_EQ(client->Write(0, "abc").error, Error::kOk);
  ExpectRefused(world.thread(0).Stop(), absl::StatusCode::kFailedPrecondition, "in use by 2");
  // It follows its node, also while its client is silent.
  EXPECT_TRUE(world.Await(block::MoveNode(disk, world.io(1))).ok());
  EXPECT_TRUE(world.WaitUntil([&] { return world.io(0)->users() == 0; }, "the move"));
  EXPECT_TRUE(world.thread(0).Stop().ok());
  EXPECT_EQ(world.io(1)->users(), 2);
  EXPECT_EQ(client->Read(0, 3).data, "abc");
  // One that is to live in a certain thread stays there.
  ASSERT_TRUE(world.server().Add({.id = "fixed", .node = disk, .name = "fixed", .context = world.io(2)}).ok());
  const auto fixed = world.Client("fixed");
  EXPECT_TRUE(world.Await(block::MoveNode(disk, world.main().shared_from_this())).ok());
  EXPECT_EQ(fixed->Read(0, 3).data, "abc");
  EXPECT_EQ(client->Read(0, 3).data, "abc");
  EXPECT_EQ(world.io(2)->users(), 2);
  ASSERT_TRUE(world.server().Remove("fixed", RemoveMode::kHard).ok());
  EXPECT_TRUE(world.WaitUntil([&] { return world.io(2)->users() == 0; }, "the removal"));
  ExpectRefused(world.server().Add({.id = "late", .node = disk, .name = "late", .context = world.io(0)}),
                absl::StatusCode::kFailedPrecondition, "has been stopped");
}

TEST(NbdServerEnd, DisconnectsEverybodyAndTellsOfEachExport) {
  NbdWorld world;
  world.Start();
  const auto a = world.Disk("a", kSize, world.io());
  ASSERT_TRUE(world.Export(a).ok());
  ASSERT_TRUE(world.Export(world.Disk("b", kSize)).ok());
  const auto client = world.Client("a");
  NbdClient shaking(world.socket());
  ASSERT_TRUE(shaking.Greet());
  world.server().Shutdown();
  world.server().Shutdown();
  EXPECT_TRUE(client->SeesEnd());
  EXPECT_TRUE(shaking.SeesEnd());
  EXPECT_TRUE(world.WaitUntil([&] { return world.server().stopped(); }, "the end"));
  EXPECT_THAT(world.removed(), ::testing::UnorderedElementsAre("a", "b"));
  ExpectRefused(world.Export(a), absl::StatusCode::kFailedPrecondition, "stops");
  EXPECT_FALSE(NbdClient(world.socket()).connected());
  world.Stop();
  world.Start();  // another one, at the same place
  EXPECT_TRUE(world.Export(a).ok());
}

}  // namespace
}  // namespace jobcore::nbd
