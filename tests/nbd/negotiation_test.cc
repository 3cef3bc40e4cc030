// SPDX-License-Identifier: Apache-2.0
//
// The handshake without a socket: bytes in, bytes out.

#include "nbd/negotiation.h"

#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nbd/nbd_client.h"
#include "nbd/wire.h"

namespace jobcore::nbd {
namespace {

using State = Negotiation::State;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using wire::Option;
using wire::OptionReply;

class Shelf final : public Catalog {
 public:
  std::vector<ExportFacts> List() override {
    std::vector<ExportFacts> list;
    for (const auto& [name, facts] : all) list.push_back(facts);
    return list;
  }
  std::optional<ExportFacts> Find(std::string_view name) override {
    const auto found = all.find(std::string(name));
    return found == all.end() ? std::nullopt : std::optional(found->second);
  }
  std::optional<ExportFacts> Claim(std::string_view name) override {
    claimed.emplace_back(name);
    return Find(name);
  }

  std::map<std::string, ExportFacts> all = {
      {"disk", {.name = "disk", .description = "the one", .size = 4096, .writable = true}},
      {"rom", {.name = "rom", .description = {}, .size = 512, .writable = false}},
  };
  std::vector<std::string> claimed;
};

std::string OptionBytes(uint32_t option, std::string_view data) {
  std::string out;
  wire::Put(out, wire::kOptionMagic);
  wire::Put(out, option);
  wire::Put(out, static_cast<uint32_t>(data.size()));
  out += data;
  return out;
}

struct Talk {
  Talk() { Feed(std::string("\0\0\0\3", 4)); }
  // In the pieces that are wanted; what is left when it is over is not taken.
  std::string Feed(std::string_view bytes) {
    std::string out;
    while (negotiation.state() == State::kTalking && bytes.size() >= negotiation.wanted()) {
      const std::string_view piece = bytes.substr(0, negotiation.wanted());
      out += negotiation.Receive(std::as_bytes(std::span(piece)));
      bytes.remove_prefix(piece.size());
    }
    return out;
  }
  // The types of the replies to it.
  std::vector<OptionReply> Ask(Option option, std::string_view data = {}) {
    last = Feed(OptionBytes(static_cast<uint32_t>(option), data));
    std::vector<OptionReply> types;
    wire::Reader reader(std::as_bytes(std::span(last)));
    while (reader.left() > 0) {
      EXPECT_EQ(reader.Number<uint64_t>(), wire::kOptionReplyMagic);
      EXPECT_EQ(reader.Number<uint32_t>(), static_cast<uint32_t>(option));
      types.push_back(static_cast<OptionReply>(reader.Number<uint32_t>()));
      payloads.emplace_back(reader.String());
      EXPECT_TRUE(reader.ok());
    }
    return types;
  }

  Shelf shelf;
  Negotiation negotiation{shelf};
  std::string last;
  std::vector<std::string> payloads;
};

std::string GoData(std::string_view name, std::vector<uint16_t> infos = {}) {
  std::string data;
  wire::Put(data, static_cast<uint32_t>(name.size()));
  data += name;
  wire::Put(data, static_cast<uint16_t>(infos.size()));
  for (const uint16_t info : infos) wire::Put(data, info);
  return data;
}

TEST(Negotiation, GreetsAsFixedNewstyleServersDo) {
  EXPECT_EQ(Negotiation::Greeting(), std::string("NBDMAGICIHAVEOPT\0\3", 18));
}

TEST(Negotiation, GoTellsSizeAndFlagsAndBlockSizesAndClaimsTheExport) {
  Talk talk;
  EXPECT_THAT(
      talk.Ask(Option::kGo, GoData("disk", {1, 2, 3})),
      ElementsAre(OptionReply::kInfo, OptionReply::kInfo, OptionReply::kInfo, OptionReply::kInfo, OptionReply::kAck));
  EXPECT_EQ(talk.payloads[0], std::string("\0\1disk", 6));
  EXPECT_EQ(talk.payloads[1], std::string("\0\2the one", 9));
  EXPECT_EQ(talk.payloads[2], std::string("\0\3\0\0\0\1\0\0\x10\0\2\0\0\0", 14));
  EXPECT_EQ(talk.payloads[3], std::string("\0\0\0\0\0\0\0\0\x10\0\1\x6d", 12));  // without DF: not structured
  EXPECT_EQ(talk.negotiation.state(), State::kTransmission);
  EXPECT_THAT(talk.shelf.claimed, ElementsAre("disk"));
}

TEST(Negotiation, InfoTellsTheSameAndClaimsNothing) {
  Talk talk;
  EXPECT_THAT(talk.Ask(Option::kInfo, GoData("rom")),
              ElementsAre(OptionReply::kInfo, OptionReply::kInfo, OptionReply::kAck));
  EXPECT_EQ(talk.payloads[1], std::string("\0\0\0\0\0\0\0\0\2\0\1\x0f", 12));  // read-only, flush, FUA, several
  EXPECT_EQ(talk.negotiation.state(), State::kTalking);
  EXPECT_TRUE(talk.shelf.claimed.empty());
}

TEST(Negotiation, UnknownExportIsRefusedAndTheTalkGoesOn) {
  Talk talk;
  EXPECT_THAT(talk.Ask(Option::kGo, GoData("nope")), ElementsAre(OptionReply::kUnknown));
  EXPECT_THAT(talk.Ask(Option::kGo, GoData("disk")).back(), OptionReply::kAck);
}

TEST(Negotiation, ExportNameAnswersWithZeroesForOldClientsOnly) {
  for (const bool zeroes : {false, true}) {
    Shelf shelf;
    Negotiation negotiation(shelf);
    const std::string flags = zeroes ? std::string("\0\0\0\0", 4) : std::string("\0\0\0\3", 4);
    EXPECT_EQ(negotiation.Receive(std::as_bytes(std::span(flags))), "");
    const std::string option = OptionBytes(1, "disk");
    const std::string_view bytes = option;
    (void)negotiation.Receive(std::as_bytes(std::span(bytes.substr(0, 16))));
    const std::string out = negotiation.Receive(std::as_bytes(std::span(bytes.substr(16))));
    EXPECT_EQ(out.size(), zeroes ? 10u + 124 : 10u);
    EXPECT_EQ(negotiation.state(), State::kTransmission);
  }
}

TEST(Negotiation, ExportNameThatIsUnknownEndsIt) {
  Talk talk;
  EXPECT_EQ(talk.Feed(OptionBytes(1, "nope")), "");
  EXPECT_EQ(talk.negotiation.state(), State::kHangUp);
}

TEST(Negotiation, ListNamesAllAndTakesNoData) {
  Talk talk;
  EXPECT_THAT(talk.Ask(Option::kList), ElementsAre(OptionReply::kServer, OptionReply::kServer, OptionReply::kAck));
  EXPECT_EQ(talk.payloads[0], std::string("\0\0\0\4diskthe one", 15));
  EXPECT_THAT(talk.Ask(Option::kList, "x"), ElementsAre(OptionReply::kInvalid));
}

TEST(Negotiation, AbortIsAcknowledgedAndEndsIt) {
  Talk talk;
  EXPECT_THAT(talk.Ask(Option::kAbort), ElementsAre(OptionReply::kAck));
  EXPECT_EQ(talk.negotiation.state(), State::kHangUp);
}

TEST(Negotiation, TlsAndUnknownOptionsAreRefusedAndTheTalkGoesOn) {
  Talk talk;
  EXPECT_THAT(talk.Ask(Option::kStartTls), ElementsAre(OptionReply::kPolicy));
  for (const uint32_t option : {0u, 4u, 11u, 12345u, 0xffffffffu}) {
    EXPECT_THAT(talk.Ask(static_cast<Option>(option), "some data"), ElementsAre(OptionReply::kUnsupported)) << option;
  }
  EXPECT_THAT(talk.Ask(Option::kGo, GoData("disk")).back(), OptionReply::kAck);
}

TEST(Negotiation, MetaContextNeedsStructuredRepliesAndAnExport) {
  Talk talk;
  const std::string data = NbdClient::ContextData("disk", {"base:allocation"});
  EXPECT_THAT(talk.Ask(Option::kSetMetaContext, data), ElementsAre(OptionReply::kInvalid));
  EXPECT_THAT(talk.Ask(Option::kStructuredReply), ElementsAre(OptionReply::kAck));
  EXPECT_THAT(talk.Ask(Option::kStructuredReply), ElementsAre(OptionReply::kInvalid));
  EXPECT_THAT(talk.Ask(Option::kSetMetaContext, NbdClient::ContextData("nope", {"base:allocation"})),
              ElementsAre(OptionReply::kUnknown));
  talk.payloads.clear();
  EXPECT_THAT(talk.Ask(Option::kSetMetaContext, data), ElementsAre(OptionReply::kMetaContext, OptionReply::kAck));
  EXPECT_EQ(talk.payloads[0], std::string("\0\0\0\1base:allocation", 19));
  EXPECT_THAT(talk.Ask(Option::kGo, GoData("disk")).back(), OptionReply::kAck);
  EXPECT_TRUE(talk.negotiation.terms().base_allocation);
}

TEST(Negotiation, MetaContextIsOfOneExportAndTheLastOneCounts) {
  const std::string set = NbdClient::ContextData("disk", {"x:y", "base:allocation"});
  const std::vector<std::pair<std::string, std::string>> cases = {
      {set, "rom"},                                           // another export is chosen
      {NbdClient::ContextData("disk", {"base:"}), "disk"},    // no query that selects it
      {NbdClient::ContextData("disk", {}), "disk"},           // none at all
      {NbdClient::ContextData("disk", {}) + "junk", "disk"},  // nonsense: what was set before is gone, too
  };
  for (const auto& [data, chosen] : cases) {
    Talk talk;
    (void)talk.Ask(Option::kStructuredReply);
    (void)talk.Ask(Option::kSetMetaContext, set);
    (void)talk.Ask(Option::kSetMetaContext, data);
    EXPECT_THAT(talk.Ask(Option::kGo, GoData(chosen)).back(), OptionReply::kAck);
    EXPECT_FALSE(talk.negotiation.terms().base_allocation);
  }
}

TEST(Negotiation, ListOfMetaContextsUnderstandsNamespaces) {
  Talk talk;
  (void)talk.Ask(Option::kStructuredReply);
  for (const std::vector<std::string>& queries :
       {std::vector<std::string>{}, {"base:"}, {"qemu:", "base:allocation"}}) {
    EXPECT_THAT(talk.Ask(Option::kListMetaContext, NbdClient::ContextData("disk", queries)),
                ElementsAre(OptionReply::kMetaContext, OptionReply::kAck));
  }
  EXPECT_THAT(talk.Ask(Option::kListMetaContext, NbdClient::ContextData("disk", {"qemu:"})),
              ElementsAre(OptionReply::kAck));
}

TEST(Negotiation, WhatIsNotAsItShouldBeIsRefused) {
  Talk talk;
  (void)talk.Ask(Option::kStructuredReply);
  std::string too_long_name = GoData(std::string(5000, 'x'));
  std::string lying_length;
  wire::Put(lying_length, 0xffffffffu);
  for (const std::string& data : {std::string(), std::string("\0\0", 2), too_long_name, lying_length,
                                  GoData("disk") + "x", GoData("disk").substr(0, 8)}) {
    EXPECT_THAT(talk.Ask(Option::kGo, data), ElementsAre(OptionReply::kInvalid));
  }
  std::string many = NbdClient::ContextData("disk", {});
  many.back() = '\x7f';  // queries that are not there
  EXPECT_THAT(talk.Ask(Option::kSetMetaContext, many), ElementsAre(OptionReply::kInvalid));
  EXPECT_TRUE(talk.shelf.claimed.empty());
}

TEST(Negotiation, OptionThatIsTooLongIsRefusedUnread) {
  Talk talk;
  std::string header = OptionBytes(static_cast<uint32_t>(Option::kGo), "");
  header.replace(12, 4, "\x7f\xff\xff\xff");
  EXPECT_THAT(talk.Feed(header), HasSubstr("too long"));
  EXPECT_EQ(talk.negotiation.state(), State::kHangUp);
}

TEST(Negotiation, WrongMagicAndUnknownClientFlagsEndIt) {
  Talk talk;
  EXPECT_EQ(talk.Feed(std::string("IHAVEOPX\0\0\0\7\0\0\0\0", 16)), "");
  EXPECT_EQ(talk.negotiation.state(), State::kHangUp);
  Shelf shelf;
  Negotiation negotiation(shelf);
  const std::string flags("\0\0\0\4", 4);
  EXPECT_EQ(negotiation.Receive(std::as_bytes(std::span(flags))), "");
  EXPECT_EQ(negotiation.state(), State::kHangUp);
}

}  // namespace
}  // namespace jobcore::nbd
