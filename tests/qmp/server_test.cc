// SPDX-License-Identifier: Apache-2.0

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>

#include "block/unique_fd.h"
#include "job-common/aio_wait.h"
#include "job-common/job_core.h"
#include "qmp/command_table.h"
#include "qmp/server.h"

namespace jobcore::qmp {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr Type kAny = ObjectOf({});

class Client {
 public:
  explicit Client(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    connected = connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  void Send(const std::string& text) {
    EXPECT_EQ(send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL), text.size());
  }
  void EndOfInput() { shutdown(socket_.get(), SHUT_WR); }
  // What has come by now.
  const std::string& Received() {
    char buffer[65536];
    for (;;) {
      const ssize_t got = recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (got == 0) closed = true;
      if (got <= 0) return received_;
      received_.append(buffer, static_cast<size_t>(got));
    }
  }

  bool connected = false;
  bool closed = false;

 private:
  internal::UniqueFd socket_;
  std::string received_;
};

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    std::string pattern = testing::TempDir() + "jobcore_qmp_XXXXXX";
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ + "/monitor.sock";
    commands_.Add("ping", "", kAny, [](Arguments) { return Reply(JsonValue("pong")); });
    commands_.Add("shout", "", kAny, [this](Arguments) {
      server_->SendEvent(std::string(100'000, 'x'));
      return Reply();
    });
  }
  ~ServerTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Listen(Server::Options options = {}) {
    server_ = std::make_unique<Server>(core_.main_context(), monitor_, std::move(options));
    ASSERT_TRUE(server_->Listen(path_).ok());
  }
  // Turns of the loop until `done` holds.
  void RunUntil(const std::function<bool()>& done) {
    const TimePoint deadline = Clock::System().Now() + std::chrono::seconds(30);
    while (!done()) {
      ASSERT_LT(Clock::System().Now(), deadline);
      core_.main_context().RunOnce(/*may_block=*/true, Clock::System().Now() + std::chrono::milliseconds(1));
    }
  }
  void RunUntilSaid(Client& client, const std::string& text) {
    RunUntil([&] { return client.Received().find(text) != std::string::npos; });
  }

  JobCore core_;
  CommandTable commands_;
  Monitor monitor_{.commands = commands_, .version = {}};
  std::string folder_, path_;
  std::unique_ptr<Server> server_;
};

constexpr const char* kHello = R"({"execute":"qmp_capabilities"})";

TEST_F(ServerTest, ServesSeveralClientsAtATime) {
  Listen();
  Client a(path_), b(path_);
  for (Client* client : {&a, &b}) {
    client->Send(kHello);
    RunUntilSaid(*client, R"({"return":{}})");
  }
  EXPECT_EQ(server_->clients(), 2u);
  server_->SendEvent("to everybody");
  RunUntilSaid(a, "to everybody\r\n");
  RunUntilSaid(b, "to everybody\r\n");
}

TEST_F(ServerTest, OnlyItsUserMayConnect) {
  Listen();
  struct stat found;
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
}

TEST_F(ServerTest, WhereOthersMayConnectTheyGetAsFarAsTheCheckOfWhoTheyAre) {
  Listen({.allowed_users = {geteuid() + 1}});
  struct stat found;
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0666u);
}

TEST_F(ServerTest, TakesOverADeadSocketButNoLiveOne) {
  Listen();
  Server other(core_.main_context(), monitor_, {});
  EXPECT_TRUE(absl::IsAlreadyExists(other.Listen(path_)));
  {
    const std::string dead = folder_ + "/dead.sock";
    const internal::UniqueFd left(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, dead.data(), dead.size());
    ASSERT_EQ(bind(left.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_TRUE(other.Listen(dead).ok());
    EXPECT_TRUE(Client(dead).connected);
  }
  EXPECT_TRUE(absl::IsInvalidArgument(other.Listen(folder_)));
  EXPECT_TRUE(absl::IsInvalidArgument(other.Listen(std::string(200, 'a'))));
}

TEST_F(ServerTest, AnswersWhatCameBeforeTheEndOfInput) {
  Listen();
  Client client(path_);
  client.Send(std::string(kHello) + R"({"execute":"ping"})");
  client.EndOfInput();
  RunUntilSaid(client, R"({"return":"pong"})");
  RunUntil([&] {
    client.Received();
    return client.closed;
  });
  RunUntil([&] { return server_->clients() == 0; });
}

TEST_F(ServerTest, WhoDoesNotReadItsEventsLosesItsConnection) {
  Listen({.limits = {.unsent_to_read = 10'000, .unsent = 1'000'000}});
  Client slow(path_), quick(path_);
  slow.Send(kHello);
  quick.Send(kHello);
  RunUntilSaid(quick, R"({"return":{}})");
  RunUntilSaid(slow, R"({"return":{}})");
  for (int i = 0; i < 50; ++i) {
    server_->SendEvent(std::string(100'000, 'x'));
    RunUntil([&] {
      quick.Received();
      return server_->clients() == 1 || server_->all_sent() || i < 50;
    });
  }
  RunUntil([&] {
    quick.Received();
    return server_->clients() == 1;
  });
  quick.Send(R"({"execute":"ping"})");
  RunUntilSaid(quick, R"({"return":"pong"})");
}

TEST_F(ServerTest, WhoDoesNotReadItsAnswersIsNotReadFrom) {
  Listen({.limits = {.unsent_to_read = 10'000, .unsent = size_t{64} << 20}});
  Client client(path_);
  client.Send(kHello);
  RunUntilSaid(client, R"({"return":{}})");
  // Each is answered by an event of 100 kB.
  std::string commands;
  for (int i = 0; i < 100; ++i) commands += R"({"execute":"shout"})";
  client.Send(commands);
  for (int i = 0; i < 2000; ++i) core_.main_context().RunOnce(/*may_block=*/false);
  EXPECT_FALSE(server_->all_sent());
  EXPECT_EQ(server_->clients(), 1u);
  size_t answers = 0;
  RunUntil([&] {
    const std::string& received = client.Received();
    answers = 0;
    for (size_t at = received.find("return"); at != std::string::npos; at = received.find("return", at + 1)) ++answers;
    return answers == 101;
  });
}

TEST_F(ServerTest, AnAnswerMayBeAsLargeAsItIs) {
  commands_.Add("large", "", kAny, [](Arguments) { return Reply(JsonValue(std::string(4 << 20, 'x'))); });
  Listen({.limits = {.unsent_to_read = 10'000, .unsent = 100'000}});
  Client client(path_);
  client.Send(kHello);
  RunUntilSaid(client, R"({"return":{}})");
  client.Send(R"({"execute":"large"}{"execute":"large"}{"execute":"ping"})");
  for (int i = 0; i < 100; ++i) {
    core_.main_context().RunOnce(/*may_block=*/false);
    server_->SendEvent("event");
  }
  ASSERT_EQ(server_->clients(), 1u);
  RunUntilSaid(client, R"({"return":"pong"})");
}

TEST_F(ServerTest, WhoDoesNotReadItsAnswersHasNothingCarriedOut) {
  int carried_out = 0;
  commands_.Add("count", "", kAny, [&carried_out](Arguments) {
    ++carried_out;
    return Reply(JsonValue(std::string(1 << 20, 'x')));
  });
  Listen();
  Client client(path_);
  client.Send(kHello);
  RunUntilSaid(client, R"({"return":{}})");
  for (int i = 0; i < 6; ++i) client.Send(R"({"execute":"count"})");
  for (int i = 0; i < 100; ++i) core_.main_context().RunOnce(/*may_block=*/false);
  EXPECT_LT(carried_out, 3);
  RunUntil([&] {
    client.Received();
    return carried_out == 6 && server_->all_sent();
  });
}

TEST_F(ServerTest, OfSeveralWhoOpenOneStaleSocketOneGetsIt) {
  // Somebody is between the look at the old socket and the making of the new one: it has the lock.
  const internal::UniqueFd other(open((path_ + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(flock(other.get(), LOCK_EX), 0);
  server_ = std::make_unique<Server>(core_.main_context(), monitor_, Server::Options());
  EXPECT_TRUE(absl::IsAlreadyExists(server_->Listen(path_)));
  ASSERT_EQ(flock(other.get(), LOCK_UN), 0);
  EXPECT_TRUE(server_->Listen(path_).ok());
  server_.reset();
  EXPECT_TRUE(std::filesystem::is_empty(folder_)) << "the lock has gone, too";
}

TEST_F(ServerTest, ANameThatIsAnotherOnesByNowStays) {
  Listen();
  ASSERT_EQ(unlink(path_.c_str()), 0);
  const internal::UniqueFd another(open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  server_.reset();
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(ServerTest, WithoutADescriptorClientsWaitAndNothingSpins) {
  Listen();
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  Client client(path_);
  const int next = dup(0);  // the lowest that is free
  close(next);
  const rlimit none = {.rlim_cur = static_cast<rlim_t>(next), .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const TimePoint begin = Clock::System().Now();
  core_.main_context().RunOnce(/*may_block=*/true, begin + std::chrono::seconds(10));  // it tries
  core_.main_context().RunOnce(/*may_block=*/true, begin + std::chrono::seconds(10));  // … and again a little later
  EXPECT_GE(Clock::System().Now() - begin, std::chrono::milliseconds(90));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  RunUntilSaid(client, "QMP");
}

TEST_F(ServerTest, ClientsBeyondTheLimitWait) {
  Listen({.max_clients = 1});
  auto first = std::make_unique<Client>(path_);
  RunUntilSaid(*first, "QMP");
  Client second(path_);
  for (int i = 0; i < 20; ++i) core_.main_context().RunOnce(/*may_block=*/false);
  EXPECT_THAT(second.Received(), IsEmpty());
  first.reset();
  RunUntilSaid(second, "QMP");
}

}  // namespace
}  // namespace jobcore::qmp
