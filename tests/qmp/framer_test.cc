// SPDX-License-Identifier: Apache-2.0

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "qmp/json_text.h"
#include "qmp/message_framer.h"

namespace jobcore::qmp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What comes of each message: its value, written again, or "error: …".
class Framed {
 public:
  explicit Framed(const MessageFramer::Limits& limits = {}) : framer_(limits) {}

  Framed& Feed(std::string_view bytes) {
    framer_.Feed(bytes, [this](absl::StatusOr<std::string> text) {
      const absl::StatusOr<JsonValue> value = text.ok() ? ParseJson(*text) : text.status();
      messages.push_back(value.ok() ? WriteJson(*value) : "error: " + std::string(value.status().message()));
    });
    return *this;
  }

  std::vector<std::string> messages;
  const MessageFramer& framer() const { return framer_; }

 private:
  MessageFramer framer_;
};

std::vector<std::string> MessagesOf(std::string_view bytes) { return Framed().Feed(bytes).messages; }

TEST(Framer, AnObjectEndsWithItsBraceNotWithTheLine) {
  EXPECT_THAT(MessagesOf(R"({"execute":"a"})"), ElementsAre(R"({"execute":"a"})"));
  EXPECT_THAT(MessagesOf("{\n\"a\" :\r\n\t1\n}"), ElementsAre(R"({"a":1})"));
  EXPECT_THAT(MessagesOf(R"({"a":1} {"b":2}{"c":{"d":[3]}})"),
              ElementsAre(R"({"a":1})", R"({"b":2})", R"({"c":{"d":[3]}})"));
}

TEST(Framer, MessagesMayComeByteByByte) {
  Framed framed;
  for (const char byte : std::string_view(R"({"a":[1,-2.5e+3,true,null,"x\"y{"]} 42 )")) framed.Feed({&byte, 1});
  EXPECT_THAT(framed.messages, ElementsAre(R"({"a":[1,-2500.0,true,null,"x\"y{"]})", "42"));
}

TEST(Framer, ANumberOrAKeywordEndsWhereSomethingElseBegins) {
  EXPECT_THAT(MessagesOf("42"), IsEmpty());
  EXPECT_THAT(MessagesOf("42\n"), ElementsAre("42"));
  EXPECT_THAT(MessagesOf("true{}"), ElementsAre("true", "{}"));
}

TEST(Framer, StringsMayBeQuotedEitherWay) {
  EXPECT_THAT(MessagesOf(R"({'a':'it\'s "so"'})"), ElementsAre(R"({"a":"it's \"so\""})"));
}

TEST(Framer, LargeIntegersStayExact) {
  EXPECT_THAT(MessagesOf("[9007199254740993,-1,18446744073709551615]"),
              ElementsAre("[9007199254740993,-1,18446744073709551615]"));
}

TEST(Framer, WhatIsNoJsonIsOneErrorAndTheNextMessageIsUnderstood) {
  for (const std::string_view bad : {"garbage\n", "{\"execute\": }\n", "]\n", "}\n", "{]\n", ":\n", ",\n", "@@@\n",
                                     "01\n", "-\n", "{\"a\" 1}\n", "{\"a\":1,}\n", "\"abc\n", "%d\n"}) {
    Framed framed;
    framed.Feed(bad);
    ASSERT_EQ(framed.messages.size(), 1u) << bad;
    EXPECT_THAT(framed.messages[0], HasSubstr("error: JSON parse error")) << bad;
    framed.Feed("\n{\"b\":2}");
    EXPECT_EQ(framed.messages.back(), R"({"b":2})") << bad;
  }
}

TEST(Framer, AMemberThatIsThereTwiceIsAnError) {
  EXPECT_THAT(MessagesOf(R"({"a":1,"a":2})"), ElementsAre("error: JSON parse error, duplicate key"));
}

TEST(Framer, AfterAControlCharacterInAStringReadingGoesOnAtTheNextPunctuation) {
  EXPECT_THAT(MessagesOf("{\"a\":\"\x01\"}{\"b\":2}"),
              ElementsAre(HasSubstr("stray"), "error: JSON parse error, expecting value", R"({"b":2})"));
}

TEST(Framer, AByteOutsideOfUtf8GetsAClientOutOfWhateverItIsIn) {
  EXPECT_THAT(MessagesOf("{\"a\": \"unfinished\xff{\"b\":2}"), ElementsAre(HasSubstr("stray"), R"({"b":2})"));
}

TEST(Framer, NestingIsLimited) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_THAT(Framed({.depth = 8}).Feed(nested(8)).messages, ElementsAre(nested(8)));
  EXPECT_THAT(Framed({.depth = 8}).Feed("[[[[[[[[[").messages, ElementsAre("error: JSON nesting depth limit exceeded"));
  EXPECT_EQ(MessagesOf(nested(1024)).size(), 1u);
}

TEST(Framer, TokensAreLimited) {
  EXPECT_THAT(Framed({.tokens = 5}).Feed("[1,2]").messages, ElementsAre("[1,2]"));
  EXPECT_EQ(Framed({.tokens = 5}).Feed("[1,2,").messages, std::vector<std::string>{});
  EXPECT_THAT(Framed({.tokens = 5}).Feed("[1,2,3").messages, IsEmpty());
  EXPECT_THAT(Framed({.tokens = 5}).Feed("[1,2,3 ").messages, ElementsAre("error: JSON token count limit exceeded"));
}

TEST(Framer, NoValueTakesMoreMemoryThanTheLimit) {
  for (const auto& [begin, endless] : {std::pair("\"", "aaaaaaaaaaaaaaaa"), std::pair("", "aaaaaaaaaaaaaaaa"),
                                       std::pair("", "1111111111111111"), std::pair("[1", ",1,1,1,1,1")}) {
    Framed framed({.bytes = 64});
    framed.Feed(begin);
    for (int i = 0; i < 100; ++i) {
      framed.Feed(endless);
      ASSERT_LE(framed.framer().pending(), 64u + 1) << endless;
    }
    EXPECT_THAT(framed.messages, testing::Contains("error: JSON token size limit exceeded")) << endless;
  }
}

// Made of pieces that mean something, so that it gets deep into the lexer.
std::string RandomInput(std::mt19937& random) {
  constexpr std::string_view kPieces[] = {
      "{", "}", "[", "]", ":",  ",", "\"a\"", "'b'",  "\"",   "\\",   "true",         "nul",
      "-", "1", "0", ".", "e+", " ", "\n",    "\x01", "\xff", "\xc3", "{\"execute\":"};
  std::string text;
  for (int i = 0; i < 200; ++i) text += kPieces[random() % std::size(kPieces)];
  return text;
}

TEST(Framer, RandomInputIsCutTheSameHoweverItComes) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const std::string text = RandomInput(random);
    Framed pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t length = 1 + random() % 7;
      pieces.Feed(std::string_view(text).substr(at, length));
      at += length;
    }
    ASSERT_EQ(pieces.messages, MessagesOf(text)) << "seed " << seed;
    // Whatever it was in the middle of, it can be got out of that.
    pieces.messages.clear();
    pieces.Feed("\xff\xff]\n{\"execute\":\"x\"}");
    ASSERT_EQ(pieces.messages.back(), R"({"execute":"x"})") << "seed " << seed;
  }
}

}  // namespace
}  // namespace jobcore::qmp
