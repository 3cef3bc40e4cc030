// SPDX-License-Identifier: Apache-2.0

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "job-common/aio_wait.h"
#include "job-common/job_core.h"
#include "qmp/command_table.h"
#include "qmp/json_text.h"
#include "qmp/session.h"

namespace jobcore::qmp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr Type kAny = ObjectOf({});

// A monitor with a command that waits until it is let go of, one that does not, and one that may overtake.
class SessionTest : public testing::Test {
 protected:
  SessionTest() {
    commands_.Add("ping", "", kAny, [](Arguments) { return Reply(JsonValue("pong")); });
    commands_.Add({.name = "wait", .handler = [this](Arguments) { return Wait(); }});
    commands_.Add({.name = "now",
                   .handler = [](Arguments) -> Co<Reply> { co_return Reply(JsonValue("now")); },
                   .allows_oob = true});
  }

  Co<Reply> Wait() {
    ++waiting_;
    const auto held = [this] { return !released_; };
    (void)co_await AioWaitWhile(core_.main_context(), held, {.name = "the test"});
    --waiting_;
    co_return Reply(JsonValue("waited"));
  }
  void Release() {
    released_ = true;
    core_.main_context().wait_domain().Kick();
    for (int i = 0; i < 4; ++i) core_.main_context().RunOnce(/*may_block=*/false);
  }

  std::shared_ptr<Session> Connect(std::vector<std::string>& said) {
    return Session::Create(monitor_, [&said](std::string line) { said.push_back(std::move(line)); });
  }
  std::shared_ptr<Session> Negotiated(std::vector<std::string>& said, const char* enable = "[]") {
    std::shared_ptr<Session> session = Connect(said);
    session->Feed(std::string(R"({"execute":"qmp_capabilities","arguments":{"enable":)") + enable + "}}");
    EXPECT_THAT(said, ElementsAre(R"({"return":{}})"));
    said.clear();
    return session;
  }

  JobCore core_;
  CommandTable commands_;
  Monitor monitor_{.commands = commands_, .version = JsonObject{{"package", "test"}}};
  int waiting_ = 0;
  bool released_ = false;
};

TEST_F(SessionTest, GreetsWithItsVersionAndCapabilities) {
  std::vector<std::string> said;
  Connect(said)->Greet();
  EXPECT_THAT(said, ElementsAre(R"({"QMP":{"version":{"package":"test"},"capabilities":["oob"]}})"));
}

TEST_F(SessionTest, WhatTheStandardLibraryThrowsIsAnAnswer) {
  commands_.Add("fail", "", kAny, [](Arguments) -> Reply { throw std::bad_alloc(); });
  std::vector<std::string> said;
  const std::shared_ptr<Session> session = Negotiated(said);
  session->Feed(R"({"execute":"fail"}{"execute":"ping"})");
  EXPECT_THAT(said, ElementsAre(HasSubstr("The command fail has failed"), HasSubstr("pong")));
}

TEST_F(SessionTest, WhatIsRefusedIsNotCarriedOutAndWhatWaitsIsCounted) {
  bool ending = false;
  monitor_.check = [&ending](const Command& command) -> std::optional<Error> {
    if (!ending || command.name == "ping") return std::nullopt;
    return GenericError("about to end");
  };
  size_t most = 0;
  monitor_.on_executed = [&] { most = std::max(most, monitor_.executing + 1); };
  std::vector<std::string> said;
  const std::shared_ptr<Session> session = Negotiated(said);
  std::vector<std::string> said_to_other;
  const std::shared_ptr<Session> other = Negotiated(said_to_other);
  session->Feed(R"({"execute":"wait"})");
  EXPECT_EQ(monitor_.executing, 1u);
  ending = true;
  other->Feed(R"({"execute":"wait"}{"execute":"ping"})");
  EXPECT_THAT(said_to_other, ElementsAre(HasSubstr("about to end"), HasSubstr("pong")));
  EXPECT_EQ(monitor_.executing, 1u);
  Release();
  EXPECT_THAT(said, ElementsAre(HasSubstr("waited")));
  EXPECT_EQ(monitor_.executing, 0u);
  EXPECT_EQ(most, 2u);
}

TEST_F(SessionTest, OnlyNegotiatesUntilItHas) {
  std::vector<std::string> said;
  const std::shared_ptr<Session> session = Connect(said);
  session->Feed(R"({"execute":"ping"}{"execute":"qmp_capabilities","arguments":{"enable":["x"]}}{"execute":"ping"})");
  EXPECT_THAT(said, ElementsAre(HasSubstr("CommandNotFound"), HasSubstr("does not accept value 'x'"),
                                HasSubstr("Expecting capabilities negotiation")));
  said.clear();
  session->Feed(R"({"execute":"qmp_capabilities"}{"execute":"ping"}{"execute":"qmp_capabilities"})");
  EXPECT_THAT(said, ElementsAre(R"({"return":{}})", R"({"return":"pong"})", HasSubstr("already complete")));
}

TEST_F(SessionTest, AnswersCarryTheIdWhateverItIs) {
  std::vector<std::string> said;
  const std::shared_ptr<Session> session = Negotiated(said);
  session->Feed(R"({"execute":"ping","id":{"a":[null,0.5]}}{"execute":"nope","id":3}{"id":"x"}{"execute":5,"id":4})");
  EXPECT_THAT(
      said, ElementsAre(R"({"return":"pong","id":{"a":[null,0.5]}})",
                        R"({"error":{"class":"CommandNotFound","desc":"The command nope has not been found"},"id":3})",
                        HasSubstr(R"(lacks member 'execute'"},"id":"x")"), HasSubstr(R"(must be a string"},"id":4)")));
}

TEST_F(SessionTest, CommandsOfOneClientAreCarriedOutInOrder) {
  std::vector<std::string> said;
  const std::shared_ptr<Session> session = Negotiated(said);
  session->Feed(R"({"execute":"wait"}{"execute":"ping"}garbage {"execute":"ping","id":2})");
  EXPECT_THAT(said, IsEmpty());
  EXPECT_EQ(waiting_, 1);
  Release();
  EXPECT_THAT(said, ElementsAre(R"({"return":"waited"})", R"({"return":"pong"})", HasSubstr("garbage"),
                                R"({"return":"pong","id":2})"));
  EXPECT_TRUE(session->idle());
}

TEST_F(SessionTest, ACommandThatWaitsMakesNoOtherClientWait) {
  std::vector<std::string> said, other_said;
  const std::shared_ptr<Session> session = Negotiated(said), other = Negotiated(other_said);
  session->Feed(R"({"execute":"wait"})");
  other->Feed(R"({"execute":"ping"})");
  EXPECT_THAT(said, IsEmpty());
  EXPECT_THAT(other_said, ElementsAre(R"({"return":"pong"})"));
  Release();
}

TEST_F(SessionTest, OutOfBandOvertakesOnceNegotiated) {
  std::vector<std::string> said;
  const std::shared_ptr<Session> session = Negotiated(said, R"(["oob"])");
  session->Feed(R"({"execute":"wait"}{"execute":"ping"}{"exec-oob":"now"}{"exec-oob":"ping"})");
  EXPECT_THAT(said, ElementsAre(R"({"return":"now"})", HasSubstr("does not support OOB")));
  Release();

  std::vector<std::string> plain_said;
  Negotiated(plain_said)->Feed(R"({"exec-oob":"now"})");
  EXPECT_THAT(plain_said, ElementsAre(HasSubstr("'exec-oob' is unexpected")));
}

TEST_F(SessionTest, EventsGoToThoseWhoHaveNegotiatedBeforeLaterAnswers) {
  std::vector<std::string> said, deaf_said;
  const std::shared_ptr<Session> session = Negotiated(said), deaf = Connect(deaf_said);
  monitor_.before_reply = [&] {
    session->SendEvent("event");
    deaf->SendEvent("event");
  };
  session->Feed(R"({"execute":"ping"})");
  EXPECT_THAT(said, ElementsAre("event", R"({"return":"pong"})"));
  EXPECT_THAT(deaf_said, IsEmpty());
}

TEST_F(SessionTest, AHandlerOutlivesItsClient) {
  std::vector<std::string> said;
  std::shared_ptr<Session> session = Negotiated(said);
  session->Feed(R"({"execute":"wait"}{"execute":"ping"})");
  session->Close();
  const std::weak_ptr<Session> watched = session;
  session.reset();
  EXPECT_FALSE(watched.expired());
  Release();
  EXPECT_EQ(waiting_, 0);
  EXPECT_TRUE(watched.expired());
  EXPECT_THAT(said, IsEmpty());
}

TEST_F(SessionTest, WhoPipelinesTooMuchIsToBeReadNoFurther) {
  std::vector<std::string> said;
  const std::shared_ptr<Session> session = Negotiated(said);
  session->Feed(R"({"execute":"wait"})");
  for (size_t i = 0; i < Session::kMaxWaiting; ++i) {
    EXPECT_TRUE(session->ready());
    session->Feed(R"({"execute":"ping"})");
  }
  EXPECT_FALSE(session->ready());
  Release();
  EXPECT_TRUE(session->ready());
}

TEST_F(SessionTest, WhatWaitsIsBoundedInBytesToo) {
  std::vector<std::string> said;
  const std::shared_ptr<Session> session = Negotiated(said);
  session->Feed(R"({"execute":"wait"})");
  EXPECT_TRUE(session->ready());
  session->Feed(R"({"execute":"ping","id":")" + std::string(Session::kMaxWaitingBytes, 'x') + R"("})");
  EXPECT_FALSE(session->ready());
  Release();
  EXPECT_TRUE(session->ready());
  EXPECT_EQ(said.size(), 2u);
}

TEST_F(SessionTest, NothingIsCarriedOutForWhomThereIsNoRoom) {
  std::vector<std::string> said;
  const std::shared_ptr<Session> session = Negotiated(said);
  bool room = false;
  session->SetRoom([&room] { return room; });
  session->Feed(R"({"execute":"ping"}{"execute":"ping"})");
  EXPECT_THAT(said, IsEmpty());
  EXPECT_FALSE(session->idle());
  room = true;
  session->OnRoom();
  EXPECT_THAT(said, ElementsAre(HasSubstr("pong"), HasSubstr("pong")));
  EXPECT_TRUE(session->idle());
}

TEST_F(SessionTest, RandomBytesGetAnswersAndDoNoHarm) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    std::vector<std::string> said;
    const std::shared_ptr<Session> session = Negotiated(said);
    std::string bytes;
    for (int i = 0; i < 500; ++i) bytes.push_back(static_cast<char>(random()));
    session->Feed(bytes);
    for (const std::string& line : said) {
      ASSERT_THAT(line, testing::StartsWith(R"({"error":{"class":"GenericError")")) << "seed " << seed;
      ASSERT_TRUE(ParseJson(line).ok()) << "seed " << seed;
    }
    said.clear();
    session->Feed("\xff\xff]\n{\"execute\":\"ping\"}");
    ASSERT_EQ(said.back(), R"({"return":"pong"})") << "seed " << seed;
  }
}

}  // namespace
}  // namespace jobcore::qmp
