// SPDX-License-Identifier: Apache-2.0
//
// Clients made by chance: sensible talks with some bytes changed, without a socket (many) and through a server that
// serves others beside them (fewer).

#include "nbd/random_talk.h"

#include <random>
#include <string>

#include "gtest/gtest.h"
#include "nbd/nbd_world.h"

namespace jobcore::nbd {
namespace {

std::string Mutated(std::mt19937& random) {
  std::string talk = SensibleTalk();
  for (uint32_t n = random() % 6; n > 0 && !talk.empty(); --n) {
    const size_t at = random() % talk.size();
    switch (random() % 6) {
      case 0:
        talk[at] = static_cast<char>(random());
        break;
      case 1:
        talk[at] = static_cast<char>(talk[at] ^ (1 << random() % 8));
        break;
      case 2:
        talk.erase(at, random() % 20);
        break;
      case 3:
        talk.insert(at, talk.substr(random() % talk.size(), random() % 60));
        break;
      case 4:
        talk.resize(at + 1);
        break;
      default:
        talk.replace(at, std::min<size_t>(4, talk.size() - at), "\xff\xff\xff\xff");
        break;
    }
  }
  return talk;
}

TEST(RandomTalk, BreaksNoRule) {
  std::mt19937 random(1);
  for (int i = 0; i < 50'000; ++i) {
    const std::string talk = Mutated(random);
    RandomTalk::Run(std::as_bytes(std::span(talk)));
  }
  const std::string sensible = SensibleTalk();
  RandomTalk::Run(std::as_bytes(std::span(sensible)));
}

TEST(RandomTalk, HurtsNobodyElse) {
  NbdWorld world;
  world.Start();
  ASSERT_TRUE(world.server()
                  .Add({.id = "e", .node = world.Disk("disk", 1 << 20, world.io()), .name = "d", .writable = true})
                  .ok());
  const auto kept = world.Disk("kept", 1 << 20, world.io());
  ASSERT_TRUE(world.Export(kept).ok());
  const auto neighbour = world.Client("kept");
  ASSERT_EQ(neighbour->Write(0, "neighbour").error, wire::Error::kOk);
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) {
    NbdClient client(world.socket());
    ASSERT_TRUE(client.connected());
    (void)client.Send(Mutated(random));
    (void)shutdown(client.fd(), SHUT_WR);
    ASSERT_TRUE(client.SeesEnd()) << i;
    if (i % 50 == 0) {
      EXPECT_EQ(neighbour->Read(0, 9).data, "neighbour");
    }
  }
  EXPECT_TRUE(world.WaitUntil([&] { return world.server().connections() == 1; }, "the end of those"));
  EXPECT_EQ(kept->written_bytes(), 9u);
}

}  // namespace
}  // namespace jobcore::nbd
