// SPDX-License-Identifier: Apache-2.0
//
// NbdClient: a client that blocks, for threads of a test. It can be as rude as the test wants: it sends what it is
// told to, and hangs up where it likes.

#ifndef JOBCORE_TESTS_NBD_NBD_CLIENT_H_
#define JOBCORE_TESTS_NBD_NBD_CLIENT_H_

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "block/unique_fd.h"
#include "nbd/wire.h"

namespace jobcore::nbd {

class NbdClient {
 public:
  struct OptionAnswer {
    uint32_t option = 0;
    wire::OptionReply type = {};
    std::string data;
  };
  // All chunks of one reply, put together.
  struct Answer {
    bool came = false;
    uint64_t cookie = 0;
    wire::Error error = wire::Error::kOk;
    std::string data = {};  // of a read, or the payload of a block status
    size_t hole_bytes = 0;  // of the data, that came as holes
    int content_chunks = 0;
    std::string message = {};  // of an error
  };

  explicit NbdClient(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.data(), path.size());
    connected_ = connect(fd_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0;
  }

  bool connected() const { return connected_; }
  int fd() const { return fd_.get(); }
  void HangUp() { fd_ = internal::UniqueFd(); }
  uint64_t size() const { return size_; }
  uint16_t flags() const { return flags_; }

  // --- Bytes ---
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  // Exactly so many; none: the other side has closed, or is silent for ten seconds.
  std::optional<std::string> Receive(size_t size) {
    std::string bytes(size, '\0');
    for (size_t done = 0; done < size;) {
      pollfd ready = {.fd = fd_.get(), .events = POLLIN, .revents = 0};
      if (poll(&ready, 1, 10'000) <= 0) return std::nullopt;
      const ssize_t n = recv(fd_.get(), bytes.data() + done, size - done, 0);
      if (n <= 0) return std::nullopt;
      done += static_cast<size_t>(n);
    }
    return bytes;
  }
  template <typename T>
  std::optional<T> ReceiveNumber() {
    const std::optional<std::string> bytes = Receive(sizeof(T));
    if (!bytes) return std::nullopt;
    return wire::Load<T>(std::as_bytes(std::span(*bytes)));
  }
  // The server has closed: waits for that, and drops what comes before.
  bool SeesEnd() {
    for (;;) {
      pollfd ready = {.fd = fd_.get(), .events = POLLIN, .revents = 0};
      if (poll(&ready, 1, 10'000) <= 0) return false;
      char bytes[4096];
      if (recv(fd_.get(), bytes, sizeof(bytes), 0) <= 0) return true;
    }
  }

  // --- Handshake ---
  bool Greet(uint32_t flags = wire::kClientFixedNewstyle | wire::kClientNoZeroes) {
    const std::optional<std::string> greeting = Receive(18);
    if (!greeting) return false;
    no_zeroes_ = (flags & wire::kClientNoZeroes) != 0;
    std::string out;
    wire::Put(out, flags);
    return Send(out);
  }
  bool SendOption(uint32_t option, std::string_view data = {}) {
    std::string out;
    wire::Put(out, wire::kOptionMagic);
    wire::Put(out, option);
    wire::Put(out, static_cast<uint32_t>(data.size()));
    out += data;
    return Send(out);
  }
  bool SendOption(wire::Option option, std::string_view data = {}) {
    return SendOption(static_cast<uint32_t>(option), data);
  }
  std::optional<OptionAnswer> ReceiveOption() {
    OptionAnswer answer;
    if (ReceiveNumber<uint64_t>() != wire::kOptionReplyMagic) return std::nullopt;
    answer.option = ReceiveNumber<uint32_t>().value_or(0);
    answer.type = static_cast<wire::OptionReply>(ReceiveNumber<uint32_t>().value_or(0));
    const std::optional<uint32_t> size = ReceiveNumber<uint32_t>();
    if (!size) return std::nullopt;
    std::optional<std::string> data = Receive(*size);
    if (!data) return std::nullopt;
    answer.data = *std::move(data);
    return answer;
  }
  // Up to and including the final one; empty: the server has closed.
  std::vector<OptionAnswer> Ask(wire::Option option, std::string_view data = {}) {
    std::vector<OptionAnswer> answers;
    if (!SendOption(option, data)) return answers;
    while (std::optional<OptionAnswer> answer = ReceiveOption()) {
      const auto type = static_cast<uint32_t>(answer->type);
      answers.push_back(*std::move(answer));
      if (type == static_cast<uint32_t>(wire::OptionReply::kAck) || type >= 0x80000000) return answers;
    }
    return {};
  }
  static std::string GoData(std::string_view name) {
    std::string data;
    wire::Put(data, static_cast<uint32_t>(name.size()));
    data += name;
    wire::Put(data, uint16_t{0});
    return data;
  }
  static std::string ContextData(std::string_view name, std::vector<std::string> queries) {
    std::string data;
    wire::Put(data, static_cast<uint32_t>(name.size()));
    data += name;
    wire::Put(data, static_cast<uint32_t>(queries.size()));
    for (const std::string& query : queries) {
      wire::Put(data, static_cast<uint32_t>(query.size()));
      data += query;
    }
    return data;
  }
  bool Go(std::string_view name) {
    const std::vector<OptionAnswer> answers = Ask(wire::Option::kGo, GoData(name));
    for (const OptionAnswer& answer : answers) {
      const std::span<const std::byte> data = std::as_bytes(std::span(answer.data));
      if (answer.type != wire::OptionReply::kInfo || wire::Load<uint16_t>(data) != 0) continue;
      size_ = wire::Load<uint64_t>(data.subspan(2));
      flags_ = wire::Load<uint16_t>(data.subspan(10));
    }
    return !answers.empty() && answers.back().type == wire::OptionReply::kAck;
  }
  // The whole handshake.
  bool Open(std::string_view name, bool structured = true) {
    if (!connected_ || !Greet()) return false;
    if (structured) {
      if (Ask(wire::Option::kStructuredReply).back().type != wire::OptionReply::kAck) return false;
      if (Ask(wire::Option::kSetMetaContext, ContextData(name, {"base:allocation"})).empty()) return false;
    }
    return Go(name);
  }

  // --- Requests ---
  static std::string Header(wire::Command command, uint64_t offset, uint32_t length, uint16_t flags = 0,
                            uint64_t cookie = 1) {
    std::string bytes(wire::kRequestSize, '\0');
    wire::EncodeRequest({.flags = flags,
                         .command = static_cast<uint16_t>(command),
                         .cookie = cookie,
                         .offset = offset,
                         .length = length},
                        std::as_writable_bytes(std::span(bytes)).first<wire::kRequestSize>());
    return bytes;
  }
  // One reply. `base`, `length`: of the read that it is to, if it is one.
  Answer ReceiveAnswer(uint64_t base = 0, uint32_t length = 0, bool is_read = false) {
    Answer answer;
    if (is_read) answer.data.assign(length, '?');
    for (;;) {
      const std::optional<uint32_t> magic = ReceiveNumber<uint32_t>();
      if (!magic) return {};
      if (*magic == wire::kSimpleReplyMagic) {
        answer.error = static_cast<wire::Error>(ReceiveNumber<uint32_t>().value_or(0));
        answer.cookie = ReceiveNumber<uint64_t>().value_or(0);
        if (is_read && answer.error == wire::Error::kOk) {
          const std::optional<std::string> data = Receive(length);
          if (!data) return {};
          answer.data = *data;
        }
        answer.came = true;
        return answer;
      }
      if (*magic != wire::kStructuredReplyMagic) return {};
      const std::optional<uint16_t> flags = ReceiveNumber<uint16_t>();
      const std::optional<uint16_t> type = ReceiveNumber<uint16_t>();
      answer.cookie = ReceiveNumber<uint64_t>().value_or(0);
      const std::optional<uint32_t> size = ReceiveNumber<uint32_t>();
      if (!flags || !type || !size) return {};
      const std::optional<std::string> payload = Receive(*size);
      if (!payload || !Take(static_cast<wire::Chunk>(*type), *payload, base, answer)) return {};
      if ((*flags & wire::kReplyDone) == 0) continue;
      answer.came = true;
      return answer;
    }
  }
  Answer Do(wire::Command command, uint64_t offset, uint32_t length, uint16_t flags = 0) {
    if (!Send(Header(command, offset, length, flags))) return {};
    return ReceiveAnswer(offset, length, command == wire::Command::kRead);
  }
  Answer Read(uint64_t offset, uint32_t length, uint16_t flags = 0) {
    return Do(wire::Command::kRead, offset, length, flags);
  }
  Answer Write(uint64_t offset, std::string_view data, uint16_t flags = 0) {
    if (!Send(Header(wire::Command::kWrite, offset, static_cast<uint32_t>(data.size()), flags))) return {};
    if (!Send(data)) return {};
    return ReceiveAnswer();
  }

 private:
  static bool Take(wire::Chunk type, std::string_view payload, uint64_t base, Answer& answer) {
    wire::Reader reader(std::as_bytes(std::span(payload)));
    switch (type) {
      case wire::Chunk::kNone:
        return payload.empty();
      case wire::Chunk::kOffsetData: {
        const uint64_t at = reader.Number<uint64_t>() - base;
        const std::string_view data = reader.Bytes(reader.left());
        if (at + data.size() > answer.data.size()) return false;
        answer.data.replace(at, data.size(), data);
        ++answer.content_chunks;
        return true;
      }
      case wire::Chunk::kOffsetHole: {
        const uint64_t at = reader.Number<uint64_t>() - base;
        const uint32_t size = reader.Number<uint32_t>();
        if (at + size > answer.data.size() || size == 0) return false;
        answer.data.replace(at, size, size, '\0');
        answer.hole_bytes += size;
        ++answer.content_chunks;
        return true;
      }
      case wire::Chunk::kBlockStatus:
        answer.data = payload;
        return true;
      case wire::Chunk::kError:
        answer.error = static_cast<wire::Error>(reader.Number<uint32_t>());
        answer.message = reader.Bytes(reader.Number<uint16_t>());
        return reader.complete();
    }
    return false;
  }

  internal::UniqueFd fd_;
  bool connected_ = false;
  bool no_zeroes_ = false;
  uint64_t size_ = 0;
  uint16_t flags_ = 0;
};

}  // namespace jobcore::nbd

#endif  // JOBCORE_TESTS_NBD_NBD_CLIENT_H_
