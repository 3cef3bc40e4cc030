// SPDX-License-Identifier: Apache-2.0
//
// What well-behaved clients get, over a socket.

#include "job-driver/nbd/server.h"

#include <fcntl.h>

#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "job-driver/block/null_node.h"
#include "nbd/nbd_world.h"

namespace jobcore::nbd {
namespace {

using jobcore_test::Pattern;
using ::testing::ElementsAre;
using wire::Command;
using wire::Error;

constexpr uint64_t kSize = 1 << 20;

std::string TextOf(block::MemoryNode& node, uint64_t offset, size_t size) {
  const std::vector<std::byte> all = node.Snapshot();
  return {reinterpret_cast<const char*>(all.data()) + offset, size};
}

class NbdServer : public ::testing::TestWithParam<bool> {
 protected:
  bool structured() const { return GetParam(); }
};

TEST_P(NbdServer, ReadsAndWritesAndFlushes) {
  NbdWorld world;
  const auto disk = world.Disk("disk", kSize, world.io());
  world.Start();
  ASSERT_TRUE(world.Export(disk).ok());
  const auto client = world.Client("disk", structured());
  EXPECT_EQ(client->size(), kSize);
  const std::string text = Pattern(10'000);
  EXPECT_TRUE(client->Write(1234, text).came);
  EXPECT_EQ(client->Read(1234, 10'000).data, text);
  EXPECT_EQ(TextOf(*disk, 1234, 10'000), text);
  EXPECT_EQ(disk->flushes(), 0);
  EXPECT_EQ(client->Do(Command::kFlush, 0, 0).error, Error::kOk);
  EXPECT_EQ(disk->flushes(), 1);
  EXPECT_EQ(client->Write(0, text, wire::kFlagFua).error, Error::kOk);
  EXPECT_EQ(disk->flushes(), 2);
  EXPECT_EQ(client->Do(Command::kWriteZeroes, 1000, 2000, wire::kFlagFua | wire::kFlagNoHole).error, Error::kOk);
  EXPECT_EQ(disk->flushes(), 3);
  EXPECT_EQ(TextOf(*disk, 1000, 2000), std::string(2000, '\0'));
  EXPECT_EQ(TextOf(*disk, 3000, 100), text.substr(3000, 100));
  EXPECT_EQ(client->Do(Command::kTrim, 0, 4096).error, Error::kOk);
  EXPECT_TRUE(client->Read(0, 0).came);
}

TEST_P(NbdServer, RefusesWhatIsWrongAndGoesOn) {
  NbdWorld world;
  world.Start();
  ASSERT_TRUE(world.Export(world.Disk("disk", kSize, world.io())).ok());
  const auto client = world.Client("disk", structured());
  EXPECT_EQ(client->Read(kSize - 1, 2).error, Error::kInval);
  EXPECT_EQ(client->Write(kSize - 1, "ab").error, Error::kNoSpc);
  EXPECT_EQ(client->Do(Command::kCache, 0, 512).error, Error::kInval);
  EXPECT_EQ(client->Do(static_cast<Command>(77), 0, 512).error, Error::kInval);
  EXPECT_EQ(client->Write(0, "abc").error, Error::kOk);
  EXPECT_EQ(client->Read(0, 3).data, "abc");
}

TEST_P(NbdServer, NodesErrorsAreTold) {
  NbdWorld world;
  struct Broken final : block::Node {
    Broken(JobCore& core, Options options) : Node(core, std::move(options), kSize) {}
    const char* driver() const override { return "broken"; }
    static Co<int> Fail(int error) { co_return error; }
    Co<int> DoRead(const Admission&, uint64_t, std::span<std::byte>) override { return Fail(EIO); }
    Co<int> DoWrite(const Admission&, block::NodeWrite) override { return Fail(EDQUOT); }
    Co<int> DoFlush(const Admission&) override { return Fail(ENODEV); }
  };
  world.Start();
  ASSERT_TRUE(world.Export(std::make_shared<Broken>(world.core(), block::Node::Options{.name = "disk"})).ok());
  const auto client = world.Client("disk", structured());
  EXPECT_EQ(client->Read(0, 512).error, Error::kIo);
  EXPECT_EQ(client->Write(0, "abc").error, Error::kNoSpc);
  EXPECT_EQ(client->Do(Command::kFlush, 0, 0).error, Error::kIo);
}

TEST_P(NbdServer, ReadOnlyExportIsNotWrittenTo) {
  NbdWorld world;
  const auto disk = world.Disk("disk", kSize, world.io());
  world.Start();
  ASSERT_TRUE(world.Export(disk, /*writable=*/false).ok());
  const auto client = world.Client("disk", structured());
  EXPECT_NE(client->flags() & wire::kReadOnly, 0);
  EXPECT_EQ(client->Write(0, Pattern(100'000)).error, Error::kPerm);
  EXPECT_EQ(client->Do(Command::kTrim, 0, 512).error, Error::kPerm);
  EXPECT_EQ(client->Do(Command::kWriteZeroes, 0, 512).error, Error::kPerm);
  EXPECT_EQ(client->Read(0, 512).data, std::string(512, '\0'));
  EXPECT_EQ(disk->written_bytes(), 0u);
}

TEST_P(NbdServer, ManyRequestsAtATimeAreAllAnswered) {
  NbdWorld world;
  world.Start();
  ASSERT_TRUE(world.Export(world.Disk("disk", kSize, world.io(), false, [] { return Nanoseconds(1); })).ok());
  const auto client = world.Client("disk", structured());
  constexpr uint64_t kRequests = 200;
  std::string all;
  for (uint64_t i = 0; i < kRequests; ++i) {
    all += NbdClient::Header(Command::kWrite, i * 512, 512, 0, i) + std::string(512, static_cast<char>('a' + i % 26));
  }
  ASSERT_TRUE(client->Send(all));
  std::vector<bool> answered(kRequests);
  for (uint64_t i = 0; i < kRequests; ++i) {
    const NbdClient::Answer answer = client->ReceiveAnswer();
    ASSERT_TRUE(answer.came);
    EXPECT_EQ(answer.error, Error::kOk);
    EXPECT_FALSE(answered.at(answer.cookie));
    answered[answer.cookie] = true;
  }
  const std::string text = client->Read(0, kRequests * 512).data;
  for (uint64_t i = 0; i < kRequests; ++i) EXPECT_EQ(text[i * 512], static_cast<char>('a' + i % 26));
}

INSTANTIATE_TEST_SUITE_P(, NbdServer, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Structured" : "Simple"; });

TEST(NbdStructured, LargeReadsTellHolesAndDfKeepsThemTogether) {
  NbdWorld world;
  const auto disk = world.Disk("disk", kSize, world.io());
  const std::string text = Pattern(64 * 1024);
  disk->Fill(128 * 1024, std::as_bytes(std::span(text)));
  world.Start();
  ASSERT_TRUE(world.Export(disk).ok());
  const auto client = world.Client("disk");
  std::string expected(512 * 1024, '\0');
  expected.replace(128 * 1024, text.size(), text);
  const NbdClient::Answer split = client->Read(0, 512 * 1024);
  EXPECT_TRUE(split.data == expected);
  EXPECT_EQ(split.hole_bytes, 448u * 1024);
  EXPECT_EQ(split.content_chunks, 3);
  const NbdClient::Answer whole = client->Read(0, 512 * 1024, wire::kFlagDf);
  EXPECT_TRUE(whole.data == expected);
  EXPECT_EQ(whole.hole_bytes, 0u);
  EXPECT_EQ(whole.content_chunks, 1);
}

TEST(NbdStructured, BlockStatusTellsHoles) {
  NbdWorld world;
  const auto disk = world.Disk("disk", kSize, world.io());
  const std::string text = Pattern(512);
  disk->Fill(512, std::as_bytes(std::span(text)));
  world.Start();
  ASSERT_TRUE(world.Export(disk).ok());
  const auto client = world.Client("disk");
  std::string expected;
  for (const uint32_t number : {wire::kBaseAllocationId, 512u, 3u, 512u, 0u, 1024u, 3u}) wire::Put(expected, number);
  EXPECT_EQ(client->Do(Command::kBlockStatus, 0, 2048).data, expected);
  EXPECT_EQ(client->Do(Command::kBlockStatus, 0, 2048, wire::kFlagReqOne).data, expected.substr(0, 12));
  EXPECT_EQ(client->Do(Command::kBlockStatus, 0, 0).error, Error::kInval);
  EXPECT_EQ(client->Do(Command::kBlockStatus, kSize, 1).error, Error::kInval);
}

TEST(NbdStructured, ErrorsComeWithAText) {
  NbdWorld world;
  world.Start();
  ASSERT_TRUE(world.Export(world.Disk("disk", kSize)).ok());
  EXPECT_EQ(world.Client("disk")->Read(kSize, 1).message, "beyond the end of the export");
}

TEST(NbdServerTcp, ListensAtTheLoopback) {
  NbdWorld world;
  world.Start({.address = Address::Inet("", "0")});
  ASSERT_TRUE(world.Export(world.Disk("disk", kSize)).ok());
  EXPECT_THAT(world.server().address().ToString(), ::testing::MatchesRegex("nbd://127.0.0.1:[1-9][0-9]*"));
}

TEST(NbdServerSocket, IsTakenOverIfNobodyListensAndNotOtherwise) {
  NbdWorld world;
  const std::string path = world.socket();
  {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.data(), path.size());
    ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
    close(fd);
  }
  world.Start();
  EXPECT_EQ(Server::Start(world.core(), {.address = Address::Unix(path)}).status().code(),
            absl::ErrnoToStatusCode(EADDRINUSE));
  world.Stop();
  EXPECT_FALSE(jobcore_test::Exists(path));
  jobcore_test::WriteFile(path, "somebody's file");
  EXPECT_FALSE(Server::Start(world.core(), {.address = Address::Unix(path)}).ok());
  EXPECT_EQ(jobcore_test::ReadFile(path), "somebody's file");
  EXPECT_EQ(Server::Start(world.core(), {.address = Address::Unix(std::string(200, 'x'))}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(NbdServerNames, EmptyNameIsTheOnlyExportIfThereIsJustOne) {
  NbdWorld world;
  world.Start();
  ASSERT_TRUE(world.Export(world.Disk("a", kSize)).ok());
  EXPECT_EQ(world.Client("")->size(), kSize);
  ASSERT_TRUE(world.Export(world.Disk("b", kSize)).ok());
  NbdClient client(world.socket());
  EXPECT_FALSE(client.Open(""));
  EXPECT_TRUE(client.Go("b"));
}

TEST(NbdServerConnections, FurtherOnesWaitUntilOneHasEnded) {
  NbdWorld world;
  world.Start({.max_connections = 2});
  ASSERT_TRUE(world.Export(world.Disk("disk", kSize, world.io())).ok());
  auto first = world.Client("disk");
  auto second = world.Client("disk");
  NbdClient third(world.socket());
  ASSERT_TRUE(third.connected());  // the kernel has it
  EXPECT_EQ(world.server().connections(), 2);
  first.reset();
  EXPECT_TRUE(third.Open("disk"));
  EXPECT_EQ(third.Write(0, "abc").error, Error::kOk);
  EXPECT_EQ(second->Read(0, 3).data, "abc");
}

// A node that answers at once does not let one client keep the loop for itself.
TEST(NbdServerConnections, ClientThatIsServedAtOnceLetsOthersHaveTheirTurn) {
  NbdWorld world;
  world.Start();
  ASSERT_TRUE(world.Export(world.Disk("disk", kSize, world.io())).ok());
  const auto client = world.Client("disk");
  constexpr uint64_t kRequests = 2000;
  std::string all;
  for (uint64_t i = 0; i < kRequests; ++i) all += NbdClient::Header(Command::kFlush, 0, 0, 0, i);
  const uint64_t turns = world.io()->turns();
  ASSERT_TRUE(client->Send(all));
  for (uint64_t i = 0; i < kRequests; ++i) ASSERT_EQ(client->ReceiveAnswer().error, Error::kOk);
  EXPECT_GE(world.io()->turns() - turns, kRequests / 64);
}

TEST(NbdServerConnections, DisconnectEndsOneInOrder) {
  NbdWorld world;
  const auto disk = world.Disk("disk", kSize, world.io(), false, [] { return Nanoseconds(100'000); });
  world.Start();
  ASSERT_TRUE(world.Export(disk).ok());
  const auto client = world.Client("disk");
  ASSERT_TRUE(client->Send(NbdClient::Header(Command::kWrite, 0, 512) + std::string(512, 'x') +
                           NbdClient::Header(Command::kDisconnect, 0, 0)));
  EXPECT_TRUE(client->ReceiveAnswer().came);  // what was asked for is answered first
  EXPECT_TRUE(client->SeesEnd());
  EXPECT_TRUE(world.WaitUntil([&] { return world.server().connections() == 0; }, "the end of the connection"));
}

}  // namespace
}  // namespace jobcore::nbd
