// SPDX-License-Identifier: Apache-2.0

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "qmp/arguments.h"
#include "qmp/command_table.h"
#include "qmp/json_text.h"
#include "qmp/schema.h"

namespace jobcore::qmp {
namespace {

constexpr std::array<std::string_view, 2> kModes = {"safe", "hard"};
constexpr Type kMode = EnumOf(kModes);
constexpr Type kModeList = ListOf(kMode);
constexpr Field kInnerFields[] = {{.name = "size", .type = &kUint64}};
constexpr Type kInner = ObjectOf(kInnerFields);
constexpr std::array<std::string_view, 2> kKinds = {"file", "null"};
constexpr Type kKind = EnumOf(kKinds);
constexpr Variant kVariants[] = {{.value = "file", .object = &kInner}, {.value = "null", .object = nullptr}};
constexpr Field kTagged[] = {{.name = "driver", .type = &kKind}};
constexpr Type kUnion = UnionOf(kTagged, "driver", kVariants);
constexpr Field kFields[] = {
    {.name = "id", .type = &kString},
    {.name = "force", .type = &kBool, .optional = true, .otherwise = false},
    {.name = "speed", .type = &kInt, .optional = true, .otherwise = int64_t{7}},
    {.name = "small", .type = &kUint32, .optional = true},
    {.name = "mode", .type = &kMode, .optional = true, .otherwise = "safe"},
    {.name = "modes", .type = &kModeList, .optional = true},
    {.name = "options", .type = &kUnion, .optional = true},
    {.name = "thread", .type = &kStringOrNull, .optional = true},
};
constexpr Type kArguments = ObjectOf(kFields);

// The error's text; empty: none.
std::string Check(const std::string& text) {
  JsonValue value = *ParseJson(text);
  const std::optional<Error> error = CheckArguments(kArguments, *value.AsObject());
  return error.has_value() ? error->text : std::string();
}

TEST(Schema, WhatFitsIsAcceptedAndDefaultsAreAdded) {
  JsonValue value = *ParseJson(R"({"id":"a","options":{"driver":"file","size":5},"thread":null})");
  ASSERT_FALSE(CheckArguments(kArguments, *value.AsObject()).has_value());
  const Arguments args(*value.AsObject());
  EXPECT_EQ(args.String("id"), "a");
  EXPECT_FALSE(args.Bool("force"));
  EXPECT_EQ(args.Int("speed"), 7);
  EXPECT_EQ(args.String("mode"), "safe");
  EXPECT_EQ(args.Object("options").Int("size"), 5);
  EXPECT_EQ(args.OptionalInt("small"), std::nullopt);
  EXPECT_TRUE(args.Value("thread").is_null());
}

TEST(Schema, WhatIsMissingIsNamedByItsPath) {
  EXPECT_EQ(Check("{}"), "Parameter 'id' is missing");
  EXPECT_EQ(Check(R"({"id":"a","options":{}})"), "Parameter 'options.driver' is missing");
  EXPECT_EQ(Check(R"({"id":"a","options":{"driver":"file"}})"), "Parameter 'options.size' is missing");
}

TEST(Schema, WhatIsUnknownIsRefused) {
  EXPECT_EQ(Check(R"({"id":"a","x":1})"), "Parameter 'x' is unexpected");
  EXPECT_EQ(Check(R"({"id":"a","options":{"driver":"null","size":5}})"), "Parameter 'options.size' is unexpected");
}

TEST(Schema, WrongTypesSayWhatIsExpected) {
  EXPECT_EQ(Check(R"({"id":5})"), "Invalid parameter type for 'id', expected: string");
  EXPECT_EQ(Check(R"({"id":"a","force":"yes"})"), "Invalid parameter type for 'force', expected: boolean");
  EXPECT_EQ(Check(R"({"id":"a","speed":1.5})"), "Invalid parameter type for 'speed', expected: integer");
  EXPECT_EQ(Check(R"({"id":"a","speed":18446744073709551615})"),
            "Invalid parameter type for 'speed', expected: integer");
  EXPECT_EQ(Check(R"({"id":"a","modes":{}})"), "Invalid parameter type for 'modes', expected: array");
  EXPECT_EQ(Check(R"({"id":"a","options":[]})"), "Invalid parameter type for 'options', expected: object");
  EXPECT_EQ(Check(R"({"id":"a","thread":5})"), "Invalid parameter type for 'thread', expected: StrOrNull");
}

TEST(Schema, TextsHaveAnEndAndNoneInBetween) {
  const auto id = [](const std::string& text) { return Check(R"({"id":")" + text + "\"}"); };
  EXPECT_EQ(id(std::string(16384, 'x')), "");
  EXPECT_EQ(id(std::string(16385, 'x')), "Parameter 'id' has more than 16384 bytes");
  EXPECT_EQ(id(R"(a\u0000b)"), "Parameter 'id' contains a NUL character");
  EXPECT_EQ(Check(R"({"id":"a","thread":"\u0000"})"), "Parameter 'thread' contains a NUL character");
}

TEST(Schema, IntegersHaveTheirRanges) {
  EXPECT_EQ(Check(R"({"id":"a","speed":-9223372036854775808})"), "");
  EXPECT_EQ(Check(R"({"id":"a","small":4294967295})"), "");
  EXPECT_EQ(Check(R"({"id":"a","small":4294967296})"), "Parameter 'small' expects uint32_t");
  EXPECT_EQ(Check(R"({"id":"a","small":-1})"), "Parameter 'small' expects uint32_t");
  EXPECT_EQ(Check(R"({"id":"a","options":{"driver":"file","size":-1}})"),
            "Invalid parameter type for 'options.size', expected: uint64");
}

TEST(Schema, ValuesThatAnEnumLacksAreNamed) {
  EXPECT_EQ(Check(R"({"id":"a","mode":"x"})"), "Parameter 'mode' does not accept value 'x'");
  EXPECT_EQ(Check(R"({"id":"a","modes":["safe","y"]})"), "Parameter 'null' does not accept value 'y'");
}

TEST(CommandTable, NamesAndDocumentsWhatHasBeenAdded) {
  CommandTable table;
  table.Add("try", "tries something", kArguments, [](Arguments) { return Reply(); });
  ASSERT_NE(table.Find("try"), nullptr);
  EXPECT_EQ(table.Find("tried"), nullptr);
  EXPECT_NE(table.Find("query-commands"), nullptr);
  EXPECT_NE(table.Documentation().find("* `try` (id: string, force?: boolean = false, speed?: integer = 7"),
            std::string::npos)
      << table.Documentation();
}

}  // namespace
}  // namespace jobcore::qmp
