// SPDX-License-Identifier: Apache-2.0
//
// Clients that break the rules, vanish, or do not listen: it costs them their own connection, and nobody else anything.

#include <sys/resource.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nbd/nbd_world.h"
#include "nbd/negotiation.h"
#include "nbd/request.h"

namespace jobcore::nbd {
namespace {

using jobcore_test::Pattern;
using wire::Command;
using wire::Error;

constexpr uint64_t kSize = 4 << 20;

class Hostile : public ::testing::Test {
 protected:
  void SetUp() override {
    world.Start({.handshake_timeout = std::chrono::milliseconds(300)});
    ASSERT_TRUE(world.Export(disk).ok());
    neighbour = world.Client("disk");
    ASSERT_EQ(neighbour->Write(0, "neighbour").error, Error::kOk);
  }
  void TearDown() override {
    EXPECT_EQ(neighbour->Read(0, 9).data, "neighbour");
    neighbour.reset();
    EXPECT_TRUE(world.WaitUntil([&] { return world.server().connections() == 0; }, "the end of all connections"));
  }

  NbdWorld world;
  std::shared_ptr<block::MemoryNode> disk = world.Disk("disk", kSize, world.io());
  std::unique_ptr<NbdClient> neighbour;
};

TEST_F(Hostile, HandshakeThatIsNoneEndsAtOnce) {
  for (const std::string& bytes : {std::string(64, '\xff'), std::string("GET / HTTP/1.1\r\n\r\n"),
                                   std::string("\0\0\0\3JUNKJUNKJUNKJUNKJUNK", 24)}) {
    NbdClient client(world.socket());
    ASSERT_TRUE(client.Receive(18).has_value());
    (void)client.Send(bytes);
    EXPECT_TRUE(client.SeesEnd());
  }
}

TEST_F(Hostile, StalledHandshakeEndsAtItsDeadline) {
  NbdClient silent(world.socket());
  NbdClient halfway(world.socket());
  ASSERT_TRUE(halfway.Greet());
  ASSERT_TRUE(halfway.Send("IHAVEOPT\0\0"));
  NbdClient busy(world.socket());  // goes on and on without choosing
  ASSERT_TRUE(busy.Greet());
  while (!busy.Ask(wire::Option::kList).empty()) {
  }
  EXPECT_TRUE(silent.SeesEnd());
  EXPECT_TRUE(halfway.SeesEnd());
}

TEST_F(Hostile, OptionThatSaysItIsHugeEndsIt) {
  NbdClient client(world.socket());
  ASSERT_TRUE(client.Greet());
  std::string header;
  wire::Put(header, wire::kOptionMagic);
  wire::Put(header, static_cast<uint32_t>(wire::Option::kGo));
  wire::Put(header, 0xfffffff0u);
  ASSERT_TRUE(client.Send(header));
  EXPECT_EQ(client.ReceiveOption()->type, wire::OptionReply::kTooBig);
  EXPECT_TRUE(client.SeesEnd());
}

TEST_F(Hostile, RequestWithTheWrongMagicEndsIt) {
  const auto client = world.Client("disk");
  std::string header = NbdClient::Header(Command::kRead, 0, 512);
  header[0] ^= 1;
  ASSERT_TRUE(client->Send(header));
  EXPECT_TRUE(client->SeesEnd());
}

TEST_F(Hostile, WriteThatSaysItIsHugeIsRefusedUnreadAndEndsIt) {
  const auto client = world.Client("disk");
  ASSERT_TRUE(client->Send(NbdClient::Header(Command::kWrite, 0, kMaxPayload + 1)));
  EXPECT_EQ(client->ReceiveAnswer().error, Error::kInval);
  EXPECT_TRUE(client->SeesEnd());
}

TEST_F(Hostile, NothingIsWrittenOfAPayloadThatDoesNotComeWhole) {
  const uint64_t written = disk->written_bytes();
  for (const size_t size : {size_t{0}, size_t{1}, size_t{70'000}, size_t{199'999}}) {
    const auto client = world.Client("disk");
    ASSERT_TRUE(client->Send(NbdClient::Header(Command::kWrite, 4096, 200'000) + Pattern(size)));
    client->HangUp();
  }
  EXPECT_TRUE(world.WaitUntil([&] { return world.server().connections() == 1; }, "the end of those"));
  EXPECT_EQ(disk->written_bytes(), written);
}

TEST_F(Hostile, WhoVanishesWithRequestsInFlightLeavesNothingBehind) {
  for (int i = 0; i < 20; ++i) {
    const auto client = world.Client("disk", i % 2 == 0);
    std::string all;
    for (uint64_t n = 0; n < 40; ++n) {
      all += NbdClient::Header(Command::kRead, 65536 * n, 65536, 0, n);
      all += NbdClient::Header(Command::kWrite, 4096, 4096, 0, n) + Pattern(4096);
    }
    (void)client->Send(std::string_view(all).substr(0, all.size() - static_cast<size_t>(i) * 50));
    client->HangUp();
  }
}

// Its replies fill the socket, then no more of its requests are read.
TEST_F(Hostile, WhoDoesNotReadIsBoundedAndDrainedSectionsDoNotWaitForHim) {
  const auto client = world.Client("disk");
  const std::string read = NbdClient::Header(Command::kRead, 0, kSize, wire::kFlagDf);
  ASSERT_EQ(fcntl(client->fd(), F_SETFL, O_NONBLOCK), 0);
  size_t taken = 0;
  for (int silent = 0; silent < 50;) {  // until nothing is taken any more
    if (send(client->fd(), read.data(), read.size(), MSG_NOSIGNAL) > 0) {
      ++taken;
      silent = 0;
    } else {
      ++silent;
      EXPECT_EQ(neighbour->Read(0, 9).data, "neighbour");
    }
  }
  EXPECT_LT(taken, 20'000u);  // some in the server, the rest in the kernel's buffer
  Resource* const resource = &disk->resource();
  const auto section = DrainedSection::OpenBlocking({&resource, 1}, {.name = "test", .deadline = Soon()});
  EXPECT_TRUE(section.ok()) << section.status();
}

TEST_F(Hostile, WhoStallsInAPayloadHoldsUpNobody) {
  const auto client = world.Client("disk");
  ASSERT_TRUE(client->Send(NbdClient::Header(Command::kWrite, 0, 1 << 20) + Pattern(1000)));
  const DrainedSection section = world.Drain(*disk);
  EXPECT_TRUE(section);
}

TEST_F(Hostile, WhoClosesOneSideOnlyGetsHisAnswers) {
  const auto client = world.Client("disk");
  ASSERT_TRUE(client->Send(NbdClient::Header(Command::kWrite, 512, 3) + "abc"));
  ASSERT_EQ(shutdown(client->fd(), SHUT_WR), 0);
  EXPECT_EQ(client->ReceiveAnswer().error, Error::kOk);
  EXPECT_TRUE(client->SeesEnd());
  EXPECT_EQ(neighbour->Read(512, 3).data, "abc");
}

// While its requests wait in the node, a connection that has been hung up costs no time.
TEST_F(Hostile, WhoVanishesWhileTheNodeIsDrainedDoesNotMakeTheLoopSpin) {
  const auto client = world.Client("disk");
  uint64_t turns = 0;
  {
    const DrainedSection section = world.Drain(*disk);
    std::string all;
    for (uint64_t n = 0; n < 40; ++n) all += NbdClient::Header(Command::kRead, 0, 512, 0, n);
    ASSERT_TRUE(client->Send(all));
    EXPECT_TRUE(world.WaitUntil(
        [&] {
          JobLock lock(world.core());
          return disk->resource().parked() == 16;
        },
        "parked requests"));
    client->HangUp();
    // Whatever the hang-up does to the loop it has begun to do when others have been served.
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(world.WaitUntil(
          [&, before = world.io()->turns()] {
            world.io()->Notify();
            return world.io()->turns() > before + 10;
          },
          "turns of the loop"));
    }
    turns = world.io()->turns();
    const TimePoint until = Clock::System().Now() + std::chrono::milliseconds(50);
    (void)AioWaitWhileUnlocked(world.core(), [] { return true; }, {.name = "a while", .deadline = until});
    turns = world.io()->turns() - turns;
  }
  EXPECT_LT(turns, 100u);
}

// What comes in bursts of any size, cut anywhere, is understood.
TEST_F(Hostile, RequestsMayComeInPieces) {
  const auto client = world.Client("disk");
  std::string all;
  for (uint64_t n = 0; n < 6; ++n) {
    all += NbdClient::Header(Command::kWrite, 8192 * n, 5000, 0, n) + Pattern(5000, n + 1);
  }
  size_t step = 1;
  for (size_t at = 0; at < all.size(); at += step, step = step % 700 + 13) {
    ASSERT_TRUE(client->Send(std::string_view(all).substr(at, step)));
  }
  for (int n = 0; n < 6; ++n) EXPECT_EQ(client->ReceiveAnswer().error, Error::kOk);
  for (uint64_t n = 0; n < 6; ++n) EXPECT_EQ(client->Read(8192 * n, 5000).data, Pattern(5000, n + 1));
  ASSERT_EQ(client->Write(0, "neighbour").error, Error::kOk);
}

}  // namespace
}  // namespace jobcore::nbd
