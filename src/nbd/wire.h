// SPDX-License-Identifier: Apache-2.0
//
// What goes over the wire, in numbers and in bytes. No I/O; nothing here waits, or trusts what it reads.
// The protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md

#ifndef JOBCORE_NBD_WIRE_H_
#define JOBCORE_NBD_WIRE_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::nbd::wire {

// --- Handshake ---

inline constexpr uint64_t kServerMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454F5054;  // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;

inline constexpr uint16_t kFixedNewstyle = 1 << 0;
inline constexpr uint16_t kNoZeroes = 1 << 1;
inline constexpr uint32_t kClientFixedNewstyle = 1 << 0;
inline constexpr uint32_t kClientNoZeroes = 1 << 1;

enum class Option : uint32_t {
  kExportName = 1,
  kAbort = 2,
  kList = 3,
  kStartTls = 5,
  kInfo = 6,
  kGo = 7,
  kStructuredReply = 8,
  kListMetaContext = 9,
  kSetMetaContext = 10,
};

enum class OptionReply : uint32_t {
  kAck = 1,
  kServer = 2,
  kInfo = 3,
  kMetaContext = 4,
  kUnsupported = 0x80000001,
  kPolicy = 0x80000002,
  kInvalid = 0x80000003,
  kUnknown = 0x80000006,
  kShutdown = 0x80000007,
  kTooBig = 0x80000009,
};

enum class Info : uint16_t { kExport = 0, kName = 1, kDescription = 2, kBlockSize = 3 };

// Transmission flags, which describe an export.
inline constexpr uint16_t kHasFlags = 1 << 0;
inline constexpr uint16_t kReadOnly = 1 << 1;
inline constexpr uint16_t kSendFlush = 1 << 2;
inline constexpr uint16_t kSendFua = 1 << 3;
inline constexpr uint16_t kSendTrim = 1 << 5;
inline constexpr uint16_t kSendWriteZeroes = 1 << 6;
inline constexpr uint16_t kSendDf = 1 << 7;
inline constexpr uint16_t kCanMultiConn = 1 << 8;

// The only metadata context that there is, and the number by which clients know it.
inline constexpr std::string_view kBaseAllocation = "base:allocation";
inline constexpr uint32_t kBaseAllocationId = 1;
inline constexpr uint32_t kStateHole = 1 << 0;
inline constexpr uint32_t kStateZero = 1 << 1;

inline constexpr size_t kMaxString = 4096;  // bytes of a name, as the protocol has it

// --- Transmission ---

inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;

enum class Command : uint16_t {
  kRead = 0,
  kWrite = 1,
  kDisconnect = 2,
  kFlush = 3,
  kTrim = 4,
  kCache = 5,
  kWriteZeroes = 6,
  kBlockStatus = 7,
};

inline constexpr uint16_t kFlagFua = 1 << 0;
inline constexpr uint16_t kFlagNoHole = 1 << 1;
inline constexpr uint16_t kFlagDf = 1 << 2;
inline constexpr uint16_t kFlagReqOne = 1 << 3;
inline constexpr uint16_t kFlagFastZero = 1 << 4;

inline constexpr uint16_t kReplyDone = 1 << 0;
enum class Chunk : uint16_t {
  kNone = 0,
  kOffsetData = 1,
  kOffsetHole = 2,
  kBlockStatus = 5,
  kError = 0x8001,
};

enum class Error : uint32_t {
  kOk = 0,
  kPerm = 1,
  kIo = 5,
  kNoMem = 12,
  kInval = 22,
  kNoSpc = 28,
  kOverflow = 75,
  kNotSup = 95,
  kShutdown = 108,
};
// What a client is told of an errno; those that the protocol does not know are EIO.
Error ErrorOf(int error);

inline constexpr size_t kRequestSize = 28;
inline constexpr size_t kOptionHeaderSize = 16;
inline constexpr size_t kSimpleReplySize = 16;
inline constexpr size_t kChunkHeaderSize = 20;

struct Request {
  uint16_t flags = 0;
  uint16_t command = 0;  // as it came: perhaps no Command at all
  uint64_t cookie = 0;   // the client's name of the request
  uint64_t offset = 0;   // bytes
  uint32_t length = 0;   // bytes

  bool is(Command c) const { return command == static_cast<uint16_t>(c); }
};
// None: what came is no request.
std::optional<Request> DecodeRequest(std::span<const std::byte, kRequestSize> bytes);
void EncodeRequest(const Request& request, std::span<std::byte, kRequestSize> bytes);  // for clients: tests

struct OptionHeader {
  uint32_t option = 0;
  uint32_t length = 0;  // bytes that follow
};
// None: what came is no option.
std::optional<OptionHeader> DecodeOptionHeader(std::span<const std::byte, kOptionHeaderSize> bytes);

// --- Bytes ---

// Appends to a string: big-endian, as all numbers are.
template <std::unsigned_integral T>
void Put(std::string& out, T value) {
  for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(static_cast<unsigned char>(value >> shift)));
  }
}

template <std::unsigned_integral T>
std::byte* Store(std::byte* at, T value) {
  for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) {
    *at++ = static_cast<std::byte>(value >> shift);
  }
  return at;
}

// `bytes` has at least as many.
template <std::unsigned_integral T>
T Load(std::span<const std::byte> bytes) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(static_cast<uint64_t>(value) << 8 | std::to_integer<uint64_t>(bytes[i]));
  }
  return value;
}

// Takes things from the front of what a client has sent. After the first thing that was not all there, nothing is.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <std::unsigned_integral T>
  T Number() {
    const std::span<const std::byte> taken = Take(sizeof(T));
    return ok_ ? Load<T>(taken) : T{0};
  }
  // A string behind its length (32 bits).
  std::string_view String() { return Bytes(Number<uint32_t>()); }
  std::string_view Bytes(size_t size) {
    const std::span<const std::byte> taken = Take(size);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  size_t left() const { return bytes_.size(); }
  bool ok() const { return ok_; }
  // All was there, and nothing else.
  bool complete() const { return ok_ && bytes_.empty(); }

 private:
  std::span<const std::byte> Take(size_t size) {
    if (!ok_ || size > bytes_.size()) {
      ok_ = false;
      bytes_ = {};
      return {};
    }
    const std::span<const std::byte> taken = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return taken;
  }

  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

}  // namespace jobcore::inline JOBCORE_ABI::nbd::wire

#endif  // JOBCORE_NBD_WIRE_H_
