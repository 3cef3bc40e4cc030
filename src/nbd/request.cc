// SPDX-License-Identifier: Apache-2.0

#include "nbd/request.h"

namespace jobcore::inline JOBCORE_ABI::nbd {
namespace {

using Action = Verdict::Action;
using wire::Command;

bool IsWithin(const wire::Request& request, const ExportFacts& facts) {
  return request.offset <= facts.size && request.length <= facts.size - request.offset;
}

// The flags that a command may have, given what was agreed upon.
uint16_t FlagsOf(const wire::Request& request, const Terms& terms) {
  // FUA is for every command, whether it writes or not: clients are known to send it with others.
  if (request.is(Command::kRead)) return terms.structured ? wire::kFlagFua | wire::kFlagDf : wire::kFlagFua;
  if (request.is(Command::kWriteZeroes)) return wire::kFlagFua | wire::kFlagNoHole;
  if (request.is(Command::kBlockStatus)) return wire::kFlagFua | wire::kFlagReqOne;
  return wire::kFlagFua;
}

bool Changes(const wire::Request& request) {
  return request.is(Command::kWrite) || request.is(Command::kTrim) || request.is(Command::kWriteZeroes);
}

Verdict Refuse(wire::Error error, const char* why) { return {.action = Action::kRefuse, .error = error, .why = why}; }

Verdict JudgeContent(const wire::Request& request, const ExportFacts& facts, const Terms& terms) {
  if (request.command > static_cast<uint16_t>(Command::kBlockStatus) || request.is(Command::kCache)) {
    return Refuse(wire::Error::kInval, "this command is not known here");
  }
  if ((request.flags & ~FlagsOf(request, terms)) != 0) {
    return Refuse(wire::Error::kInval, "the command does not have these flags");
  }
  if (Changes(request) && !facts.writable) return Refuse(wire::Error::kPerm, "the export is read-only");
  if (request.is(Command::kFlush)) {
    // Both are reserved. Clients that fill them in get their flush nevertheless.
    return {};
  }
  if (request.is(Command::kBlockStatus)) {
    if (!terms.base_allocation) return Refuse(wire::Error::kInval, "no metadata context has been set");
    if (request.length == 0) return Refuse(wire::Error::kInval, "the status of no bytes");
  }
  if (!IsWithin(request, facts)) {
    const bool writes = request.is(Command::kWrite) || request.is(Command::kWriteZeroes);
    return Refuse(writes ? wire::Error::kNoSpc : wire::Error::kInval, "beyond the end of the export");
  }
  if (request.is(Command::kRead) && request.length > kMaxPayload) {
    return Refuse(wire::Error::kInval, "more bytes than can be read at a time");
  }
  return {};
}

}  // namespace

Verdict Judge(const wire::Request& request, const ExportFacts& facts, const Terms& terms) {
  if (request.is(Command::kDisconnect)) return {.action = Action::kHangUp};
  if (!request.is(Command::kWrite)) return JudgeContent(request, facts, terms);
  if (request.length > kMaxPayload) {
    return {.action = Action::kRefuseAndHangUp,
            .error = wire::Error::kInval,
            .why = "more bytes than can be written at a time"};
  }
  Verdict verdict = JudgeContent(request, facts, terms);
  verdict.payload = request.length;
  return verdict;
}

}  // namespace jobcore::inline JOBCORE_ABI::nbd
