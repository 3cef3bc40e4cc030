// SPDX-License-Identifier: Apache-2.0
//
// RandomTalk: lets bytes that nobody has thought of be a client's, without sockets: first its handshake, then its
// requests. What it checks holds for all clients.

#ifndef JOBCORE_TESTS_NBD_RANDOM_TALK_H_
#define JOBCORE_TESTS_NBD_RANDOM_TALK_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nbd/negotiation.h"
#include "nbd/request.h"
#include "nbd/wire.h"

namespace jobcore::nbd {

class RandomTalk final : private Catalog {
 public:
  // Ends the process, saying why, if something does not hold.
  static void Run(std::span<const std::byte> bytes) {
    RandomTalk talk;
    Negotiation negotiation(talk);
    size_t sent = Negotiation::Greeting().size(), received = 0;
    while (negotiation.state() == Negotiation::State::kTalking) {
      const size_t wanted = negotiation.wanted();
      Check(wanted >= 1 && wanted <= Negotiation::kMaxOption, "wants too much, or nothing");
      if (bytes.size() < wanted) return;
      sent += negotiation.Receive(bytes.first(wanted)).size();
      received += wanted;
      bytes = bytes.subspan(wanted);
      // One answer is a few times as long as its question at most, but for the list of exports.
      Check(sent <= 600 * (received + 1), "a short talk has a long answer");
    }
    const bool chosen = negotiation.state() == Negotiation::State::kTransmission;
    Check(chosen == (talk.claims_ == 1), "claims and states do not agree");
    Check(!negotiation.terms().base_allocation || negotiation.terms().structured, "contexts without structure");
    if (chosen) talk.Transmit(bytes, negotiation.terms());
  }

 private:
  void Transmit(std::span<const std::byte> bytes, const Terms& terms) const {
    while (bytes.size() >= wire::kRequestSize) {
      const std::optional<wire::Request> request = wire::DecodeRequest(bytes.first<wire::kRequestSize>());
      if (!request) return;
      bytes = bytes.subspan(wire::kRequestSize);
      const Verdict verdict = Judge(*request, facts_, terms);
      if (verdict.action == Verdict::Action::kServe) CheckServed(*request, terms);
      Check((verdict.error == wire::Error::kOk) ==
                (verdict.action == Verdict::Action::kServe || verdict.action == Verdict::Action::kHangUp),
            "an error for what is served, or none for what is not");
      if (verdict.action == Verdict::Action::kHangUp || verdict.action == Verdict::Action::kRefuseAndHangUp) return;
      const bool is_write = request->is(wire::Command::kWrite);
      Check(verdict.payload == (is_write ? request->length : 0), "the payload is not what it is");
      bytes = bytes.subspan(std::min<size_t>(bytes.size(), verdict.payload));
    }
  }
  void CheckServed(const wire::Request& request, const Terms& terms) const {
    using wire::Command;
    const bool changes = request.is(Command::kWrite) || request.is(Command::kTrim) || request.is(Command::kWriteZeroes);
    Check(!changes || facts_.writable, "writes to what is read-only");
    if (!request.is(Command::kFlush)) {
      Check(request.offset <= facts_.size && request.length <= facts_.size - request.offset, "beyond the end");
    }
    if (request.is(Command::kRead) || request.is(Command::kWrite)) Check(request.length <= kMaxPayload, "too large");
    Check(!request.is(Command::kBlockStatus) || terms.base_allocation, "a status that was not agreed upon");
    Check(request.command <= 7 && request.command != 5, "a command that is none");
  }

  std::vector<ExportFacts> List() override { return {facts_}; }
  std::optional<ExportFacts> Find(std::string_view name) override {
    return name == facts_.name || name.empty() ? std::optional(facts_) : std::nullopt;
  }
  std::optional<ExportFacts> Claim(std::string_view name) override {
    std::optional<ExportFacts> found = Find(name);
    if (found) {
      ++claims_;
      facts_.writable = name.empty();
    }
    return found;
  }
  static void Check(bool holds, const char* what) {
    if (holds) return;
    std::cerr << "NBD: " << what << std::endl;
    std::abort();
  }

  ExportFacts facts_ = {.name = "d", .description = "disk", .size = 1 << 20, .writable = true};
  int claims_ = 0;
};

// A sensible talk, for others to be made of by changing it.
inline std::string SensibleTalk() {
  std::string out("\0\0\0\3", 4);
  const auto option = [&](wire::Option which, std::string_view data) {
    wire::Put(out, wire::kOptionMagic);
    wire::Put(out, static_cast<uint32_t>(which));
    wire::Put(out, static_cast<uint32_t>(data.size()));
    out += data;
  };
  option(wire::Option::kStructuredReply, "");
  option(wire::Option::kList, "");
  const std::string context("\0\0\0\1d\0\0\0\1\0\0\0\17base:allocation", 28);
  option(wire::Option::kListMetaContext, context);
  option(wire::Option::kSetMetaContext, context);
  option(wire::Option::kInfo, std::string("\0\0\0\1d\0\1\0\3", 9));
  option(wire::Option::kStartTls, "");
  option(wire::Option::kGo, std::string("\0\0\0\1d\0\2\0\1\0\2", 11));
  for (uint16_t command = 0; command < 8; ++command) {
    if (command == 2) continue;
    std::string bytes(wire::kRequestSize, '\0');
    wire::EncodeRequest({.flags = 0, .command = command, .cookie = command, .offset = 4096, .length = 16},
                        std::as_writable_bytes(std::span(bytes)).first<wire::kRequestSize>());
    out += bytes;
    if (command == 1) out += std::string(16, 'x');
  }
  return out;
}

}  // namespace jobcore::nbd

#endif  // JOBCORE_TESTS_NBD_RANDOM_TALK_H_
