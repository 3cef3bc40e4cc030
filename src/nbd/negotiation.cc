// SPDX-License-Identifier: Apache-2.0

#include "nbd/negotiation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "aio/check.h"
#include "nbd/request.h"

namespace jobcore::inline JOBCORE_ABI::nbd {
namespace {

using wire::Put;

// How many queries for metadata contexts one option may have.
constexpr uint32_t kMaxQueries = 1024;
// Zero bytes behind the answer to the oldest way of choosing an export.
constexpr size_t kReserved = 124;

}  // namespace

std::string Negotiation::Greeting() {
  std::string out;
  Put(out, wire::kServerMagic);
  Put(out, wire::kOptionMagic);
  Put(out, static_cast<uint16_t>(wire::kFixedNewstyle | wire::kNoZeroes));
  return out;
}

uint16_t Negotiation::TransmissionFlags(const ExportFacts& facts, bool structured) {
  // One node is behind all connections: a flush through one of them is one for all.
  unsigned flags = wire::kHasFlags | wire::kSendFlush | wire::kSendFua | wire::kCanMultiConn;
  flags |= facts.writable ? wire::kSendTrim | wire::kSendWriteZeroes : wire::kReadOnly;
  if (structured) flags |= wire::kSendDf;
  return static_cast<uint16_t>(flags);
}

std::string Negotiation::Receive(std::span<const std::byte> bytes) {
  if (state_ != State::kTalking || bytes.size() != wanted_) {
    internal::Die(absl::StrCat("NBD: ", bytes.size(), " bytes for a handshake that is over, or wants ", wanted_));
  }
  switch (step_) {
    case Step::kClientFlags:
      OnClientFlags(wire::Load<uint32_t>(bytes));
      break;
    case Step::kOptionHeader:
      OnOptionHeader(bytes);
      break;
    case Step::kOptionData:
      OnOption(bytes);
      break;
  }
  return std::exchange(out_, {});
}

void Negotiation::OnClientFlags(uint32_t flags) {
  if ((flags & ~(wire::kClientFixedNewstyle | wire::kClientNoZeroes)) != 0) {
    state_ = State::kHangUp;
    return;
  }
  fixed_ = (flags & wire::kClientFixedNewstyle) != 0;
  no_zeroes_ = (flags & wire::kClientNoZeroes) != 0;
  step_ = Step::kOptionHeader;
  wanted_ = wire::kOptionHeaderSize;
}

void Negotiation::OnOptionHeader(std::span<const std::byte> bytes) {
  const std::optional<wire::OptionHeader> header = wire::DecodeOptionHeader(bytes.first<wire::kOptionHeaderSize>());
  if (!header) {
    state_ = State::kHangUp;
    return;
  }
  option_ = header->option;
  const bool is_export_name = option_ == static_cast<uint32_t>(wire::Option::kExportName);
  if (!fixed_ && !is_export_name) {  // a client of the old kind understands no answer to any other
    state_ = State::kHangUp;
    return;
  }
  if (header->length > kMaxOption) {
    if (!is_export_name) Reply(wire::OptionReply::kTooBig, "this option is too long");
    state_ = State::kHangUp;  // instead of reading all that somebody may send
    return;
  }
  if (header->length == 0) {
    OnOption({});
    return;
  }
  step_ = Step::kOptionData;
  wanted_ = header->length;
}

void Negotiation::OnOption(std::span<const std::byte> data) {
  step_ = Step::kOptionHeader;
  wanted_ = wire::kOptionHeaderSize;
  switch (static_cast<wire::Option>(option_)) {
    case wire::Option::kExportName:
      OnExportName({reinterpret_cast<const char*>(data.data()), data.size()});
      return;
    case wire::Option::kAbort:
      Reply(wire::OptionReply::kAck);
      state_ = State::kHangUp;
      return;
    case wire::Option::kList:
      OnList(data);
      return;
    case wire::Option::kStartTls:
      if (!data.empty()) {
        Reply(wire::OptionReply::kInvalid, "STARTTLS has no data");
      } else {
        Reply(wire::OptionReply::kPolicy, "this server has no TLS");
      }
      return;
    case wire::Option::kInfo:
    case wire::Option::kGo:
      OnInfoOrGo(data);
      return;
    case wire::Option::kStructuredReply:
      if (!data.empty() || terms_.structured) {
        Reply(wire::OptionReply::kInvalid, data.empty() ? "replies are structured already" : "this option has no data");
        return;
      }
      terms_.structured = true;
      Reply(wire::OptionReply::kAck);
      return;
    case wire::Option::kListMetaContext:
    case wire::Option::kSetMetaContext:
      OnMetaContext(data);
      return;
  }
  Reply(wire::OptionReply::kUnsupported, absl::StrCat("option ", option_, " is not known here"));
}

void Negotiation::OnExportName(std::string_view name) {
  const std::optional<ExportFacts> facts =
      name.size() <= wire::kMaxString ? catalog_.Claim(name) : std::optional<ExportFacts>();
  if (!facts) {  // this option has no way to say so
    state_ = State::kHangUp;
    return;
  }
  if (context_export_ != facts->name) terms_.base_allocation = false;
  Put(out_, facts->size);
  Put(out_, TransmissionFlags(*facts, terms_.structured));
  if (!no_zeroes_) out_.append(kReserved, '\0');
  state_ = State::kTransmission;
}

void Negotiation::OnList(std::span<const std::byte> data) {
  if (!data.empty()) {
    Reply(wire::OptionReply::kInvalid, "LIST has no data");
    return;
  }
  for (const ExportFacts& facts : catalog_.List()) {
    std::string entry;
    Put(entry, static_cast<uint32_t>(facts.name.size()));
    entry += facts.name;
    entry += facts.description;
    Reply(wire::OptionReply::kServer, entry);
  }
  Reply(wire::OptionReply::kAck);
}

void Negotiation::OnInfoOrGo(std::span<const std::byte> data) {
  const bool go = option_ == static_cast<uint32_t>(wire::Option::kGo);
  wire::Reader reader(data);
  const std::string_view name = reader.String();
  const uint16_t count = reader.Number<uint16_t>();
  if (!reader.ok() || reader.left() != size_t{count} * sizeof(uint16_t) || name.size() > wire::kMaxString) {
    Reply(wire::OptionReply::kInvalid, "this option is not as it should be");
    return;
  }
  std::vector<uint16_t> infos(count);
  for (uint16_t& info : infos) info = reader.Number<uint16_t>();
  const std::optional<ExportFacts> facts = go ? catalog_.Claim(name) : catalog_.Find(name);
  if (!facts) {
    Reply(wire::OptionReply::kUnknown, "there is no export of this name");
    return;
  }
  AppendExportInfos(*facts, infos);
  Reply(wire::OptionReply::kAck);
  if (!go) return;
  if (context_export_ != facts->name) terms_.base_allocation = false;
  state_ = State::kTransmission;
}

void Negotiation::AppendExportInfos(const ExportFacts& facts, std::span<const uint16_t> wanted) {
  const auto wants = [&](wire::Info info) {
    return std::find(wanted.begin(), wanted.end(), static_cast<uint16_t>(info)) != wanted.end();
  };
  if (wants(wire::Info::kName)) ReplyInfo(wire::Info::kName, facts.name);
  if (wants(wire::Info::kDescription) && !facts.description.empty()) {
    ReplyInfo(wire::Info::kDescription, facts.description);
  }
  // To everybody: who did not ask for it may ignore it, and any client may stay within the protocol's defaults.
  std::string block_size;
  Put(block_size, kMinBlock);
  Put(block_size, kPreferredBlock);
  Put(block_size, kMaxPayload);
  ReplyInfo(wire::Info::kBlockSize, block_size);
  std::string size_and_flags;
  Put(size_and_flags, facts.size);
  Put(size_and_flags, TransmissionFlags(facts, terms_.structured));
  ReplyInfo(wire::Info::kExport, size_and_flags);
}

void Negotiation::OnMetaContext(std::span<const std::byte> data) {
  const bool set = option_ == static_cast<uint32_t>(wire::Option::kSetMetaContext);
  if (set) {  // whatever comes of it, this replaces what was set before
    terms_.base_allocation = false;
    context_export_.clear();
  }
  if (!terms_.structured) {
    Reply(wire::OptionReply::kInvalid, "metadata contexts need structured replies");
    return;
  }
  wire::Reader reader(data);
  const std::string_view name = reader.String();
  const uint32_t count = reader.Number<uint32_t>();
  bool found = !set && count == 0;  // a list without a query is one of all
  for (uint32_t i = 0; i < count && i < kMaxQueries && reader.ok(); ++i) {
    const std::string_view query = reader.String();
    // In a list, "base:" stands for all that begins so.
    found = found || (reader.ok() && (query == wire::kBaseAllocation || (!set && query == "base:")));
  }
  if (!reader.complete() || name.size() > wire::kMaxString) {
    Reply(wire::OptionReply::kInvalid, "this option is not as it should be");
    return;
  }
  const std::optional<ExportFacts> facts = catalog_.Find(name);
  if (!facts) {
    Reply(wire::OptionReply::kUnknown, "there is no export of this name");
    return;
  }
  if (found) {
    std::string context;
    Put(context, set ? wire::kBaseAllocationId : uint32_t{0});
    context += wire::kBaseAllocation;
    Reply(wire::OptionReply::kMetaContext, context);
  }
  if (set) {
    terms_.base_allocation = found;
    context_export_ = facts->name;
  }
  Reply(wire::OptionReply::kAck);
}

void Negotiation::Reply(wire::OptionReply type, std::string_view payload) {
  Put(out_, wire::kOptionReplyMagic);
  Put(out_, option_);
  Put(out_, static_cast<uint32_t>(type));
  Put(out_, static_cast<uint32_t>(payload.size()));
  out_ += payload;
}

void Negotiation::ReplyInfo(wire::Info info, std::string_view payload) {
  std::string data;
  Put(data, static_cast<uint16_t>(info));
  data += payload;
  Reply(wire::OptionReply::kInfo, data);
}

}  // namespace jobcore::inline JOBCORE_ABI::nbd
