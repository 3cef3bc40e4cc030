// SPDX-License-Identifier: Apache-2.0

#include "nbd/wire.h"

#include <array>
#include <cerrno>
#include <limits>
#include <string>

#include "gtest/gtest.h"
#include "nbd/request.h"

namespace jobcore::nbd {
namespace {

using wire::Command;
using wire::Error;
using wire::Request;
using Action = Verdict::Action;

constexpr uint64_t kSize = 1 << 20;
const ExportFacts kDisk = {.name = "disk", .description = {}, .size = kSize, .writable = true};
const ExportFacts kRom = {.name = "rom", .description = {}, .size = kSize, .writable = false};
constexpr Terms kAll = {.structured = true, .base_allocation = true};

Request Make(Command command, uint64_t offset, uint32_t length, unsigned flags = 0) {
  return {.flags = static_cast<uint16_t>(flags),
          .command = static_cast<uint16_t>(command),
          .cookie = 0,
          .offset = offset,
          .length = length};
}

TEST(NbdWire, RequestSurvivesTheWire) {
  const Request request = {
      .flags = 0x102, .command = 6, .cookie = 0x0123456789abcdef, .offset = 1ull << 63, .length = 7};
  std::array<std::byte, wire::kRequestSize> bytes;
  wire::EncodeRequest(request, bytes);
  EXPECT_EQ(bytes[0], std::byte{0x25});
  const std::optional<Request> decoded = wire::DecodeRequest(bytes);
  ASSERT_TRUE(decoded.has_value());
  EXPECT_EQ(decoded->flags, request.flags);
  EXPECT_EQ(decoded->command, request.command);
  EXPECT_EQ(decoded->cookie, request.cookie);
  EXPECT_EQ(decoded->offset, request.offset);
  EXPECT_EQ(decoded->length, request.length);
  bytes[3] ^= std::byte{1};
  EXPECT_FALSE(wire::DecodeRequest(bytes).has_value());
}

TEST(NbdWire, ReaderYieldsNothingBehindWhatIsMissing) {
  const std::string bytes("\0\0\0\5abcd\1", 9);
  wire::Reader fits(std::as_bytes(std::span(bytes)));
  EXPECT_EQ(fits.String(), "abcd\1");
  EXPECT_TRUE(fits.complete());
  wire::Reader lacks(std::as_bytes(std::span(bytes).first(7)));
  EXPECT_EQ(lacks.String(), "");
  EXPECT_EQ(lacks.Number<uint16_t>(), 0);
  EXPECT_FALSE(lacks.ok());
}

TEST(NbdWire, ErrorsAreThoseOfTheProtocol) {
  EXPECT_EQ(wire::ErrorOf(0), Error::kOk);
  EXPECT_EQ(wire::ErrorOf(EROFS), Error::kPerm);
  EXPECT_EQ(wire::ErrorOf(EDQUOT), Error::kNoSpc);
  EXPECT_EQ(wire::ErrorOf(EFBIG), Error::kNoSpc);
  EXPECT_EQ(wire::ErrorOf(ETIMEDOUT), Error::kIo);
}

TEST(NbdRequest, WhatIsWithinTheExportIsServed) {
  for (const Command command : {Command::kRead, Command::kTrim, Command::kWriteZeroes, Command::kBlockStatus}) {
    EXPECT_EQ(Judge(Make(command, 0, 512), kDisk, kAll).action, Action::kServe);
    EXPECT_EQ(Judge(Make(command, kSize - 512, 512), kDisk, kAll).action, Action::kServe);
    EXPECT_EQ(Judge(Make(command, 0, 512, wire::kFlagFua), kDisk, kAll).action, Action::kServe);
  }
  EXPECT_EQ(Judge(Make(Command::kFlush, 0, 0), kRom, kAll).action, Action::kServe);
  EXPECT_EQ(Judge(Make(Command::kRead, kSize, 0), kRom, kAll).action, Action::kServe);
}

TEST(NbdRequest, BeyondTheEndIsAnErrorThatDependsOnTheCommand) {
  constexpr uint64_t kFar = std::numeric_limits<uint64_t>::max();
  for (const auto& [offset, length] :
       {std::pair<uint64_t, uint32_t>{kSize - 1, 2}, {kSize + 1, 0}, {kFar, 1}, {kFar - 8, 512}}) {
    EXPECT_EQ(Judge(Make(Command::kWrite, offset, length), kDisk, kAll).error, Error::kNoSpc);
    EXPECT_EQ(Judge(Make(Command::kWriteZeroes, offset, length), kDisk, kAll).error, Error::kNoSpc);
    EXPECT_EQ(Judge(Make(Command::kRead, offset, length), kDisk, kAll).error, Error::kInval);
    EXPECT_EQ(Judge(Make(Command::kTrim, offset, length), kDisk, kAll).error, Error::kInval);
  }
}

TEST(NbdRequest, PayloadOfARefusedWriteIsStillToBeReceived) {
  const Verdict verdict = Judge(Make(Command::kWrite, 0, 512), kRom, kAll);
  EXPECT_EQ(verdict.action, Action::kRefuse);
  EXPECT_EQ(verdict.error, Error::kPerm);
  EXPECT_EQ(verdict.payload, 512u);
}

TEST(NbdRequest, WhatIsTooLargeIsRefused) {
  ExportFacts large = kDisk;
  large.size = uint64_t{1} << 40;
  EXPECT_EQ(Judge(Make(Command::kRead, 0, kMaxPayload), large, kAll).action, Action::kServe);
  EXPECT_EQ(Judge(Make(Command::kRead, 0, kMaxPayload + 1), large, kAll).action, Action::kRefuse);
  EXPECT_EQ(Judge(Make(Command::kWrite, 0, kMaxPayload), large, kAll).action, Action::kServe);
  const Verdict verdict = Judge(Make(Command::kWrite, 0, kMaxPayload + 1), large, kAll);
  EXPECT_EQ(verdict.action, Action::kRefuseAndHangUp);
  EXPECT_EQ(verdict.payload, 0u);
  // These carry nothing.
  EXPECT_EQ(Judge(Make(Command::kWriteZeroes, 0, 0xffffffff), large, kAll).action, Action::kServe);
}

TEST(NbdRequest, CommandsAndFlagsThatWereNotAgreedUponAreRefused) {
  EXPECT_EQ(Judge(Make(Command::kCache, 0, 512), kDisk, kAll).error, Error::kInval);
  EXPECT_EQ(Judge(Make(static_cast<Command>(999), 0, 512), kDisk, kAll).error, Error::kInval);
  EXPECT_EQ(Judge(Make(Command::kWriteZeroes, 0, 512, wire::kFlagFastZero), kDisk, kAll).error, Error::kInval);
  EXPECT_EQ(Judge(Make(Command::kRead, 0, 512, wire::kFlagDf), kDisk, {}).error, Error::kInval);
  EXPECT_EQ(Judge(Make(Command::kRead, 0, 512, wire::kFlagDf), kDisk, kAll).error, Error::kOk);
  EXPECT_EQ(Judge(Make(Command::kWrite, 0, 512, wire::kFlagNoHole), kDisk, kAll).error, Error::kInval);
  EXPECT_EQ(Judge(Make(Command::kBlockStatus, 0, 512), kDisk, {.structured = true}).error, Error::kInval);
  EXPECT_EQ(Judge(Make(Command::kBlockStatus, 0, 0), kDisk, kAll).error, Error::kInval);
  EXPECT_EQ(Judge(Make(Command::kTrim, 0, 512), kRom, kAll).error, Error::kPerm);
}

}  // namespace
}  // namespace jobcore::nbd
